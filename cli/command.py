"""What all commands share: the options --path, --json, --quiet, --verbose, and what happens when one fails.

A command is a function whose first parameter is a `Run`; the others are typer's. `add_command` puts it into a group:

    def info(run: Run, name: str, limit: Annotated[int, typer.Option(help="...")] = 10) -> None:
        record = ...
        run.output.result(record, text="...")

    add_command(app, info)
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from outcrop.cli.exit_codes import EXPECTED
from outcrop.cli.output import Output

DEFAULT_PATH = Path("outcrop-data")


def _path_option(default: Path) -> Any:
    """Return the annotation of --path."""
    text = f"Root folder of the data [default: $OUTCROP_PATH, else {default}]."
    return Annotated[Path | None, typer.Option("--path", help=text, metavar="DIR")]


PathOption = Annotated[
    Path | None,
    typer.Option(
        "--path", help=f"Root folder of the data [default: $OUTCROP_PATH, else {DEFAULT_PATH}].", metavar="DIR"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress bars.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]


@dataclass(frozen=True, slots=True)
class Options:
    """The shared options as given so far; they may stand before the command, behind it, or both."""

    path: Path | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def merged(self, later: "Options") -> "Options":
        """Return both together; the later path wins."""
        return Options(
            later.path or self.path,
            later.as_json or self.as_json,
            later.quiet or self.quiet,
            later.verbose or self.verbose,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What every command is given: the root folder, and where to write. The folder need not exist. path_is_default:
    nobody has named it."""

    path: Path
    output: Output
    path_is_default: bool = False


def _default_path(default: Path) -> Path:
    return Path(os.environ.get("OUTCROP_PATH") or default)


_SHARED = [
    Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context),
    Parameter("path", Parameter.KEYWORD_ONLY, default=None, annotation=PathOption),
    Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=QuietOption),
    Parameter("verbose", Parameter.KEYWORD_ONLY, default=False, annotation=VerboseOption),
]


def add_command(
    group: typer.Typer,
    function: Callable[..., None],
    name: str | None = None,
    default_path: Path = DEFAULT_PATH,
    hidden: bool = False,
) -> None:
    """Make `function` a command of `group` with the shared options added to its own.

    default_path: its root folder when neither --path nor OUTCROP_PATH names one. hidden: left out of the group's help.

    Errors that outcrop raises on purpose, and those of the operating system, become a message and an exit code
    (outcrop.cli.exit_codes); any other exception is a fault and shows its traceback.
    """

    def command(
        *, ctx: typer.Context, path: Path | None, as_json: bool, quiet: bool, verbose: bool, **arguments: Any
    ) -> None:
        options = (ctx.obj or Options()).merged(Options(path, as_json, quiet, verbose))
        output = Output(as_json=options.as_json, quiet=options.quiet, verbose=options.verbose)
        try:
            unnamed = options.path is None and not os.environ.get("OUTCROP_PATH")
            function(Run(options.path or _default_path(default_path), output, unnamed), **arguments)
        except BrokenPipeError:
            raise  # the reader of our output left, as `| head` does; typer ends quietly
        except EXPECTED as error:
            raise typer.Exit(output.failure(error)) from error

    own = signature(function, eval_str=True)
    parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in list(own.parameters.values())[1:]] + _SHARED
    parameters = [p.replace(annotation=_path_option(default_path)) if p.name == "path" else p for p in parameters]
    command.__dict__["__signature__"] = own.replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    group.command(name or function.__name__.replace("_", "-"), hidden=hidden)(command)
