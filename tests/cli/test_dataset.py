"""`outcrop dataset` makes, converts, describes and fetches files of vectors."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from outcrop.cli.exit_codes import ExitCode
from outcrop.datasets import registry
from outcrop.datasets.generate import VectorGenerator
from outcrop.datasets.ground_truth import read_ground_truth
from outcrop.datasets.vectors import open_vectors, write_vectors

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


def test_make_writes_vectors_queries_and_their_true_neighbours(ok: Ok, tmp_path: Path) -> None:
    made = ok("dataset", "make", tmp_path / "a.u8bin", "--rows", "500", "--dim", "16", "--queries", "7", "-k", "5")

    assert (made["vectors"]["num_rows"], made["vectors"]["dim"], made["vectors"]["dtype"]) == (500, 16, "uint8")
    assert made["queries"]["path"] == str(tmp_path / "a.queries.u8bin")
    base, queries = open_vectors(tmp_path / "a.u8bin"), open_vectors(tmp_path / "a.queries.u8bin")
    distances = ((queries.read(0, 7)[:, None].astype(int) - base.read(0, 500)[None].astype(int)) ** 2).sum(axis=2)
    truth = read_ground_truth(tmp_path / "a.neighbors.gt")
    np.testing.assert_array_equal(truth.distances, np.sort(distances, axis=1)[:, :5])


def test_the_same_seed_makes_the_same_vectors(ok: Ok, tmp_path: Path) -> None:
    for name in ("a.fbin", "b.fbin"):
        ok("dataset", "make", tmp_path / name, "--rows", "50", "--dim", "8", "--dtype", "float32", "--seed", "3")

    assert (tmp_path / "a.fbin").read_bytes() == (tmp_path / "b.fbin").read_bytes()


def test_convert_changes_format_and_type(ok: Ok, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(12, dtype=np.float32).reshape(4, 3) + 0.25)

    written = ok(
        "dataset", "convert", tmp_path / "a.npy", tmp_path / "a.u8bin", "--rounded", "--dtype", "uint8", "--limit", "2"
    )

    assert (written["format"], written["num_rows"], written["dtype"]) == ("u8bin", 2, "uint8")
    assert open_vectors(tmp_path / "a.u8bin").read(0, 2).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_info_is_a_table(outcrop: Outcrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((1000, 24), np.float16))

    lines = [line.rstrip() for line in outcrop("dataset", "info", "a.npy").stdout.splitlines()]

    assert lines == [
        " file   format  vectors  dim  type         size",
        " a.npy  npy       1,000   24  float16  47.0 KiB",
    ]


def test_info_lists_the_standard_sets(ok: Ok, outcrop: Outcrop) -> None:
    assert {"sift-1m", "bigann-1b"} <= {known["name"] for known in ok("dataset", "info")}
    assert "sift-1m" in outcrop("dataset", "info").stdout


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    source = VectorGenerator(200, 8, "uint8")
    write_vectors(folder / "base.u8bin", source)
    write_vectors(folder / "queries.u8bin", source.queries(5))
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_fetch_downloads_a_set(ok: Ok, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = registry.RemoteFile(f"{server}/base.u8bin", "u8bin", "base.u8bin")
    queries = registry.RemoteFile(f"{server}/queries.u8bin", "u8bin", "queries.u8bin")
    known = registry.StandardSet("toy", "l2", "uint8", 8, 200, base, queries, None)
    monkeypatch.setitem(registry.SETS, "toy", known)

    downloads = ok("dataset", "fetch", "toy", "--into", tmp_path / "sets")

    assert [Path(download["path"]).name for download in downloads] == ["queries.u8bin", "base.u8bin"]
    assert open_vectors(tmp_path / "sets" / "toy" / "base.u8bin").num_rows == 200


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "no/such.npy"], ExitCode.NOT_FOUND, "no/such.npy"),
        (["info", "{folder}/a.txt"], ExitCode.USAGE, "extension"),
        (["fetch", "no-such-set"], ExitCode.NOT_FOUND, "no-such-set"),
        (["fetch", "bigann-1b"], ExitCode.USAGE, "--most"),
        (["make", "{folder}/m.u8bin", "--dtype", "complex64"], ExitCode.USAGE, "complex64"),
        (["make", "{folder}/m.fbin", "--rows", "9"], ExitCode.USAGE, "fbin"),
        (["make", "{folder}/m.u8bin", "--rows", "9", "--queries", "1", "--metric", "x"], ExitCode.USAGE, "--metric"),
        (["convert", "{folder}/f.npy", "{folder}/f.u8bin"], ExitCode.USAGE, "row 0"),
        (["convert", "{folder}/f.npy", "{folder}/f.npy"], ExitCode.USAGE, "choose another name"),
        (["convert", "{folder}/short.fbin", "{folder}/s.npy"], ExitCode.CORRUPT, "short.fbin"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, tmp_path: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    np.save(tmp_path / "f.npy", np.full((2, 2), 0.5, np.float32))
    (tmp_path / "a.txt").write_text("1 2 3")
    (tmp_path / "short.fbin").write_bytes(np.array([9, 9], "<u4").tobytes())

    result = outcrop("dataset", *(argument.format(folder=tmp_path) for argument in arguments))

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
