"""What every command has in common: options, the two ways of printing, and exit codes."""

import errno
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from outcrop import __version__, errors
from outcrop.cli.app import app
from outcrop.cli.command import Run, add_command
from outcrop.cli.exit_codes import ExitCode, exit_code
from outcrop.cli.output import Output

ROOT = Path(__file__).parents[2]
runner = CliRunner()


@dataclass(frozen=True)
class Greeting:
    name: str
    folder: Path
    counts: object


def greet(run: Run, name: str, times: Annotated[int, typer.Option(help="How often.")] = 1) -> None:
    """Say hello."""
    run.output.note("thinking")
    run.output.detail("hard")
    with run.output.progress("greeting", total=times) as bar:
        bar.advance(times)
    run.output.result(Greeting(name, run.path, np.arange(times)), text=f"hello {name} [plot]")


def fail(run: Run, kind: str) -> None:
    """Fail in the way asked."""
    failures: dict[str, BaseException] = {
        "corrupt": errors.CorruptFile("postings-000.blk: block 812 is damaged"),
        "bug": RuntimeError("a fault"),
        "ctrl-c": KeyboardInterrupt(),
    }
    raise failures[kind]


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An app with the real shared options and two commands of the test's own."""
    monkeypatch.delenv("OUTCROP_PATH", raising=False)
    sample = typer.Typer()
    assert app.registered_callback is not None
    assert app.registered_callback.callback is not None
    sample.callback()(app.registered_callback.callback)
    add_command(sample, greet)
    add_command(sample, fail)
    return sample


def test_a_result_goes_to_stdout_and_notes_go_to_stderr(sample: typer.Typer) -> None:
    result = runner.invoke(sample, ["greet", "ada"])

    assert result.exit_code == ExitCode.OK
    assert result.stdout == "hello ada [plot]\n"
    assert result.stderr == "thinking\n"


def test_json_is_one_document_with_plain_values(sample: typer.Typer) -> None:
    result = runner.invoke(sample, ["greet", "ada", "--times", "2", "--json", "--path", "/some/root"])

    assert json.loads(result.stdout) == {"name": "ada", "folder": "/some/root", "counts": [0, 1]}


def test_shared_options_may_stand_before_the_command_or_behind_it(sample: typer.Typer) -> None:
    before = runner.invoke(sample, ["--path", "/r", "--json", "-q", "greet", "ada"])
    behind = runner.invoke(sample, ["greet", "ada", "--path", "/r", "--json", "-q"])

    assert before.stdout == behind.stdout
    assert before.stderr == behind.stderr == ""


def test_path_comes_from_the_option_then_the_environment_then_the_default(sample: typer.Typer) -> None:
    def folder(*arguments: str, **environment: str) -> str:
        result = runner.invoke(sample, [*arguments, "--json"], env=environment)
        return str(json.loads(result.stdout)["folder"])

    assert folder("greet", "ada") == "outcrop-data"
    assert folder("greet", "ada", OUTCROP_PATH="/env") == "/env"
    assert folder("--path", "/option", "greet", "ada", OUTCROP_PATH="/env") == "/option"


def test_verbose_adds_details(sample: typer.Typer) -> None:
    assert runner.invoke(sample, ["greet", "ada", "-v"]).stderr == "thinking\nhard\n"


def test_an_outcrop_error_is_a_message_and_a_code_without_a_traceback(sample: typer.Typer) -> None:
    result = runner.invoke(sample, ["fail", "corrupt", "--json"])

    assert result.exit_code == ExitCode.CORRUPT
    assert result.stderr == "error: postings-000.blk: block 812 is damaged\n"
    assert json.loads(result.stdout) == {
        "error": {"code": "corrupt_file", "message": "postings-000.blk: block 812 is damaged", "exit_code": 4}
    }


def test_a_fault_of_our_own_keeps_its_traceback(sample: typer.Typer) -> None:
    assert isinstance(runner.invoke(sample, ["fail", "bug"]).exception, RuntimeError)


def test_ctrl_c_ends_with_the_code_that_shells_use(sample: typer.Typer) -> None:
    assert runner.invoke(sample, ["fail", "ctrl-c"]).exit_code == 130


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError(), 1),
        (errors.InvalidArgument("dim 3, expected 4"), 2),
        (errors.AlreadyExists("docs"), 2),
        (errors.NotFound("docs"), 3),
        (FileNotFoundError(errno.ENOENT, "no such file"), 3),
        (errors.CorruptFile("block 1"), 4),
        (errors.UnsupportedFormat("version 9"), 4),
        (errors.Unavailable("locked by process 7"), 5),
        (errors.ResourceExhausted("budget"), 5),
        (errors.StorageFailure(errno.ENOSPC, "disk full"), 5),
        (errors.StorageFailure(errno.EACCES, "not yours"), 6),
        (PermissionError(errno.EPERM, "not yours"), 6),
        (errors.DeadlineExceeded("50 ms are over"), 5),
        (errors.Unauthenticated("no key"), 6),
        (errors.PermissionDenied("a key to read"), 6),
        (errors.Cancelled("stopped"), 130),
    ],
)
def test_exit_codes_are_stable(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_every_error_class_has_an_exit_code_of_its_own_choice() -> None:
    for kind in errors.OutcropError.__subclasses__():
        assert exit_code(kind("text")) != ExitCode.UNEXPECTED, kind.__name__


def test_a_wrong_option_is_a_usage_error() -> None:
    assert runner.invoke(app, ["--no-such-option"]).exit_code == ExitCode.USAGE


def test_progress_bars_vanish_when_stderr_is_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("building", total=10) as bar:
        bar.update(5)

    assert capsys.readouterr().err == ""


def test_version_is_that_of_the_package() -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"outcrop {__version__}\n"


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("outcrop")

    finished = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)

    assert "--path" in finished.stdout


def test_every_command_named_in_the_readme_is_listed_by_help() -> None:
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)outcrop ([a-z]+)", readme, re.MULTILINE))

    listed = runner.invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout

    assert {name for name in named if not re.search(rf"^\W*{name}\b", listed, re.MULTILINE)} == set()


def test_every_make_target_named_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE))
        assert named
        assert named <= targets, document
