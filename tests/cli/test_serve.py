"""`outcrop serve` says where it answers, drains on a signal, and tells its settings."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from tests.server.rpc import Rpc

from outcrop.cli.exit_codes import ExitCode
from outcrop.server.settings_sources import load_settings
from outcrop.v1 import admin_pb2, collection_pb2

Outcrop = Callable[..., Result]
QUIET = ["--listen", "127.0.0.1:0", "--metrics", "off"]


@contextlib.contextmanager
def started(path: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", "from outcrop.cli import main; main()", "serve", "--path", str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_says_where_answers_and_ends_with_a_signal(tmp_path: Path, number: signal.Signals, workers: str) -> None:
    with started(tmp_path / "root", "--workers", workers, *QUIET) as process:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert line[:3] == ["serving", str(tmp_path / "root"), "at"]
        process.send_signal(signal.SIGHUP)  # its terminal goes away
        with Rpc(line[3].removeprefix("grpc://")) as rpc:
            assert list(rpc.call(collection_pb2.ListCollectionsRequest()).collections) == []
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_serve_ends_when_a_client_asks_it_to_drain(tmp_path: Path) -> None:
    with started(tmp_path / "root", "--json", *QUIET) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            text += process.stdout.readline()
        found = json.loads(text)
        assert found["metrics"] is None
        with Rpc(found["url"].removeprefix("grpc://")) as rpc:
            assert rpc.call(admin_pb2.GetServerInfoRequest()).process in found["processes"].values()
            rpc.call(admin_pb2.DrainRequest())
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_what_keeps_a_server_from_starting_is_an_error_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for workers in ("1", "2"):
        with started(tmp_path, "--workers", workers, *QUIET) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == ExitCode.USAGE
        assert "expected an empty folder or a root, found 'thesis.tex'" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "nowhere"], "expected HOST:PORT"),
        (["--listen", "0.0.0.0:0"], "nobody would be asked who they are"),
        (["--workers", "0"], "workers"),
        (["--memory", "plenty"], "memory"),
        (["--tls-cert", "cert.pem"], "cert without key"),
        (["--metrics", "off", "--dashboard"], "dashboard"),
        (["--config", "/nowhere.toml"], "cannot be read"),
    ],
)
def test_wrong_settings_are_refused(outcrop: Outcrop, tmp_path: Path, arguments: list[str], said: str) -> None:
    result = outcrop("serve", "--path", tmp_path / "root", *arguments)

    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
    assert not (tmp_path / "root").exists()


def test_printed_settings_are_settings(outcrop: Outcrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_LIMITS__QUEUE", "8")
    config = tmp_path / "outcrop.toml"
    config.write_text('path = "from-file"\nthreads = 3\n[limits]\nqueue = 9\ncalls = 7\n')

    printed = outcrop("serve", "--config", config, "--threads", "2", "--print-config")

    assert printed.exit_code == 0
    config.write_text(printed.stdout)
    monkeypatch.delenv("OUTCROP_LIMITS__QUEUE")
    settings = load_settings(config)
    assert (settings.path, settings.threads, settings.limits.queue, settings.limits.calls) == (
        Path("from-file"),
        2,
        8,
        7,
    )


def test_the_root_is_that_of_the_flag_before_the_variable_before_the_file(
    outcrop: Outcrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "outcrop.toml"
    config.write_text('path = "from-file"\n')

    def path(*arguments: str) -> str:
        return str(json.loads(outcrop("serve", *arguments, "--print-config", "--json").stdout)["path"])

    assert path() == "outcrop-data"
    assert path("--config", str(config)) == "from-file"
    monkeypatch.setenv("OUTCROP_PATH", "from-variable")
    assert path("--config", str(config)) == "from-variable"
    assert path("--config", str(config), "--path", "outcrop-data") == "outcrop-data"
