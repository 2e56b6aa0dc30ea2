"""Where a command writes: its result on stdout, for people or as one JSON document; everything else on stderr."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from outcrop.cli.exit_codes import ExitCode, exit_code

# Wide enough that a table written to a file or a pipe is never cut; a terminal's own width is used on a terminal.
_PIPE_COLUMNS = 160


class Bar:
    """A progress bar, or nothing at all when stderr is not a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float | None = None, description: str | None = None) -> None:
        """Show `done` out of `total`; a total or description of None leaves the one before."""
        self._progress.update(self._task, completed=done, total=total, description=description)

    def advance(self, amount: float = 1) -> None:
        """Show `amount` more as done."""
        self._progress.advance(self._task, amount)


class Output:
    """What one run of one command prints.

    as_json: `result` prints one JSON document on stdout and nothing else goes there.
    quiet: notes and progress bars are left out. verbose: details are shown.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._stdout, self._stderr = _console(stderr=False), _console(stderr=True)

    def result(self, record: object, text: RenderableType | None = None) -> None:
        """Print what the command found out, once, at its end.

        record: a dataclass, mapping or list of plain values, paths and NumPy arrays, printed under --json.
        text: what a person sees instead, a string or a rich renderable; None prints nothing.
        """
        if self.as_json:
            sys.stdout.write(json.dumps(record, default=_plain, indent=2) + "\n")
        elif text is not None:
            self._stdout.print(text)

    def note(self, text: RenderableType) -> None:
        """Tell a person what is going on (stderr; not under --quiet)."""
        if not self.quiet:
            self._stderr.print(text)

    def detail(self, text: RenderableType) -> None:
        """Tell a curious person more (stderr; under --verbose only)."""
        if self.verbose:
            self._stderr.print(text)

    def failure(self, error: BaseException) -> ExitCode:
        """Print why the command failed, on stderr and under --json on stdout too. Return the exit code."""
        code = exit_code(error)
        name = getattr(error, "code", code.name.lower())
        message = str(error) or name
        self._stderr.print(f"error: {message}", style="red", soft_wrap=True)
        if self.as_json:
            self.result({"error": {"code": name, "message": message, "exit_code": int(code)}})
        return code

    @contextmanager
    def progress(self, description: str, total: float | None = None) -> Iterator[Bar]:
        """Show a bar on stderr while the block runs; a total of None is a spinner. It leaves no trace behind."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        hidden = self.quiet or not self._stderr.is_terminal
        with Progress(*columns, console=self._stderr, transient=True, disable=hidden) as progress:
            yield Bar(progress, progress.add_task(description, total=total))


def _console(*, stderr: bool) -> Console:
    # Markup is off because messages hold brackets that are meant: pip install 'outcrop[hdf5]'.
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=None if terminal else _PIPE_COLUMNS)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot print {type(value).__name__} as JSON")
