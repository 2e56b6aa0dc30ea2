"""`outcrop doctor` measures, explains and leaves nothing behind."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outcrop.cli.app import app
from outcrop.cli.doctor import Cpu, Device, Limits, Reader, Report, advice
from outcrop.cli.exit_codes import ExitCode

runner = CliRunner()
QUICK = ["--seconds", "0.1", "--size", "4MiB"]

HEALTHY = Report(
    versions={"outcrop": "0.1.0"},
    reader=Reader("io_uring", "works", ""),
    cpu=Cpu("avx2", ["avx2", "sse4.2"]),
    device=Device(Path("/data"), "ext4", True, 64, 10_000, 90_000, 60_000, 17_000, 1.1e9, 12_222),
    limits=Limits(None, 4096, 0),
    advice=[],
)


def test_doctor_reports_the_device_the_reader_and_the_merge_gap(tmp_path: Path) -> None:
    result = runner.invoke(app, ["doctor", *QUICK, "--path", str(tmp_path / "not" / "yet"), "--json"])

    report = json.loads(result.stdout)
    device = report["device"]
    assert result.exit_code == ExitCode.OK
    assert report["reader"]["kind"] in {"io_uring", "pread"}
    assert report["reader"]["reason"]
    assert device["folder"] == str(tmp_path)
    assert device["iops"] > 0
    assert device["merge_gap_bytes"] == pytest.approx(device["sequential_bytes_per_s"] / device["iops"], abs=1)
    assert set(report["versions"]) == {"kernel", "outcrop", "faiss", "numpy", "lmdb"}


def test_doctor_removes_its_scratch_file(tmp_path: Path) -> None:
    runner.invoke(app, ["doctor", *QUICK, "--path", str(tmp_path)])

    assert list(tmp_path.iterdir()) == []


def test_doctor_explains_to_a_person(tmp_path: Path) -> None:
    text = runner.invoke(app, ["doctor", *QUICK, "--path", str(tmp_path)]).stdout

    for word in ("reader", "cpu", "random reads", "bandwidth", "merge gap", "limits", "advice"):
        assert word in text


def test_doctor_measures_on_a_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "vectors.bin"
    file.write_bytes(bytes(2 << 20))

    result = runner.invoke(app, ["doctor", "--seconds", "0.1", "--file", str(file), "--json"])

    assert result.exit_code == ExitCode.OK
    assert file.stat().st_size == 2 << 20


def test_doctor_names_the_reader_that_was_asked_for(tmp_path: Path) -> None:
    result = runner.invoke(app, ["doctor", *QUICK, "--path", str(tmp_path), "--json"], env={"OUTCROP_READER": "pread"})

    assert json.loads(result.stdout)["reader"]["kind"] == "pread"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--file", "/no/such/file"], ExitCode.NOT_FOUND),
        (["--size", "1KiB"], ExitCode.USAGE),
        (["--size", "a lot"], ExitCode.USAGE),
        (["--seconds", "0"], ExitCode.USAGE),
    ],
)
def test_doctor_refuses_what_it_cannot_measure(arguments: list[str], code: ExitCode) -> None:
    assert runner.invoke(app, ["doctor", *arguments]).exit_code == code


def test_a_healthy_machine_gets_no_advice() -> None:
    assert list(advice(HEALTHY)) == []


@pytest.mark.parametrize(
    ("part", "change", "word"),
    [
        ("device", {"direct": False, "file_system": "tmpfs"}, "tmpfs refuses O_DIRECT"),
        ("device", {"iops": 11_000}, "hardly faster"),
        ("reader", {"kind": "pread", "reason": "built without liburing"}, "liburing-dev"),
        ("reader", {"kind": "pread", "reason": "setup refused"}, "seccomp"),
        ("limits", {"memlock_bytes": 64 << 10}, "ulimit -l"),
        ("limits", {"open_files": 256}, "ulimit -n"),
        ("cpu", {"isa": "scalar"}, "OUTCROP_CPU"),
    ],
)
def test_advice_says_what_to_change(
    part: str, change: dict[str, object], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTCROP_READER", raising=False)
    report = dataclasses.replace(HEALTHY, **{part: dataclasses.replace(getattr(HEALTHY, part), **change)})

    [found] = advice(report)

    assert word in found
