"""What all commands share: the options --path, --endpoint, --json, --quiet, --verbose, and what happens when one fails.

A command is a function whose first parameter is a `Run`; the others are typer's. `add_command` puts it into a group:

    def info(run: Run, name: str, limit: Annotated[int, typer.Option(help="...")] = 10) -> None:
        with run.connect(read_only=True) as database:
            record = ...
        run.output.result(record, text="...")

    add_command(app, info)
"""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from outcrop.cli.exit_codes import EXPECTED
from outcrop.cli.output import Output
from outcrop.cli.place import Given, Place
from outcrop.errors import InvalidArgument

if TYPE_CHECKING:
    from outcrop.cli.place import Database

DEFAULT_PATH = Path("outcrop-data")
_SERVER = "Of a server"


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
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="A server instead: grpc://HOST:PORT, or grpcs:// with TLS [default: $OUTCROP_ENDPOINT].",
        metavar="URL",
        rich_help_panel=_SERVER,
    ),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="Seen by whoever lists processes: better in $OUTCROP_API_KEY.",
        metavar="KEY",
        rich_help_panel=_SERVER,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", help="Who signs the server's certificate.", metavar="PEM", rich_help_panel=_SERVER),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--cert", help="The client's certificate.", metavar="PEM", rich_help_panel=_SERVER),
]
PrivateKeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="The private key of --cert.", metavar="PEM", rich_help_panel=_SERVER),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress bars.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]


@dataclass(frozen=True, slots=True)
class Options:
    """The shared options as given so far; they may stand before the command, behind it, or both."""

    given: Given = field(default_factory=Given)
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def merged(self, later: "Options") -> "Options":
        """Return both together; the later place wins."""
        return Options(
            self.given.merged(later.given),
            later.as_json or self.as_json,
            later.quiet or self.quiet,
            later.verbose or self.verbose,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What every command is given: the root folder or the server, and where to write."""

    place: Place
    output: Output

    @property
    def path(self) -> Path:
        """The root folder, which need not exist. Raises InvalidArgument where a server was named."""
        return self.place.path

    @property
    def path_is_default(self) -> bool:
        """Whether nobody has named a folder."""
        return self.place.path_is_default

    @property
    def endpoint(self) -> str | None:
        """The URL of the server, None where the command works on a folder."""
        return self.place.endpoint

    def connect(self, **options: Any) -> "Database":
        """Return the folder or the server as a database. options: see `Place.connect`."""
        return self.place.connect(**options)

    def only_embedded(self, **options: object) -> None:
        """Raise InvalidArgument where the command works on a server and one of the options is given, which is then the
        server's choice. options: by their names; None and False are not given."""
        for name, value in options.items():
            if value not in (None, False) and self.endpoint is not None:
                option = f"--{name.replace('_', '-')}"
                raise InvalidArgument(f"{option}: is the server's choice; expected it with --path only")


_SHARED = [
    Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context),
    Parameter("path", Parameter.KEYWORD_ONLY, default=None, annotation=PathOption),
    Parameter("endpoint", Parameter.KEYWORD_ONLY, default=None, annotation=EndpointOption),
    Parameter("api_key", Parameter.KEYWORD_ONLY, default=None, annotation=ApiKeyOption),
    Parameter("ca", Parameter.KEYWORD_ONLY, default=None, annotation=CaOption),
    Parameter("certificate", Parameter.KEYWORD_ONLY, default=None, annotation=CertificateOption),
    Parameter("private_key", Parameter.KEYWORD_ONLY, default=None, annotation=PrivateKeyOption),
    Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=QuietOption),
    Parameter("verbose", Parameter.KEYWORD_ONLY, default=False, annotation=VerboseOption),
]
_GIVEN = [each.name for each in dataclasses.fields(Given)]


def add_command(
    group: typer.Typer,
    function: Callable[..., None],
    name: str | None = None,
    default_path: Path = DEFAULT_PATH,
    hidden: bool = False,
    local: bool = False,
) -> None:
    """Make `function` a command of `group` with the shared options added to its own.

    default_path: its root folder when neither --path nor OUTCROP_PATH names one. hidden: left out of the group's help.
    local: it works on this machine alone; options about servers are not shown, and refused.

    Errors that outcrop raises on purpose, and those of the operating system, become a message and an exit code
    (outcrop.cli.exit_codes); any other exception is a fault and shows its traceback.
    """

    def command(*, ctx: typer.Context, as_json: bool, quiet: bool, verbose: bool, **arguments: Any) -> None:
        given = Given(**{name: arguments.pop(name) for name in _GIVEN})
        options = (ctx.obj or Options()).merged(Options(given, as_json, quiet, verbose))
        output = Output(as_json=options.as_json, quiet=options.quiet, verbose=options.verbose)
        place = Place(options.given, default_path, local)
        try:
            place.check()
            function(Run(place, output), **arguments)
        except BrokenPipeError:
            raise  # the reader of our output left, as `| head` does; typer ends quietly
        except EXPECTED as error:
            raise typer.Exit(output.failure(error)) from error

    own = signature(function, eval_str=True)
    parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in list(own.parameters.values())[1:]]
    parameters += [_fitting(parameter, default_path, local) for parameter in _SHARED]
    command.__dict__["__signature__"] = own.replace(parameters=parameters)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = function.__doc__
    group.command(name or function.__name__.replace("_", "-"), hidden=hidden)(command)


def _fitting(shared: Parameter, default_path: Path, local: bool) -> Parameter:
    """Return a shared parameter as a command has it."""
    if shared.name == "path":
        return shared.replace(annotation=_path_option(default_path))
    if not local or shared.name not in _GIVEN:
        return shared
    kind, option = get_args(shared.annotation)
    hidden = copy.copy(option)
    hidden.hidden = True
    return shared.replace(annotation=Annotated[kind, hidden])
