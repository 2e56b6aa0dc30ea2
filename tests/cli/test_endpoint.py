"""Commands give the same from a server as from its folder."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from tests.certificates import Authority
from tests.serving import Served, serving

Outcrop = Callable[..., Result]
Ok = Callable[..., Any]

# What depends on the clock, on who has searched before, or on chance (ids of objects).
_CHANGES = {"seconds", "load_seconds", "build_seconds", "peak_rss_bytes", "usage", "cost", "loader", "id"}


def steady(record: Any) -> Any:
    """Return a document without what differs from run to run."""
    if isinstance(record, dict):
        return {key: steady(value) for key, value in record.items() if key not in _CHANGES and not key.endswith("_us")}
    return [steady(value) for value in record] if isinstance(record, list) else record


@pytest.fixture(scope="module")
def files(files: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The files of all tests, with a root of one's own to put more into."""
    root = shutil.copytree(files.root, tmp_path_factory.mktemp("more") / "root")
    return SimpleNamespace(**vars(files) | {"root": root})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, files: SimpleNamespace, ok: Ok) -> Path:
    """The root with the collection `tiny`; now also a graph, its features, a plan and a snapshot."""
    folder = tmp_path_factory.mktemp("made") / "web"
    ok("graph", "make", folder, "--nodes", "300", "--degree", "4", "--dim", "8", "--classes", "3")
    ok("graph", "import", "web", folder, "--path", files.root)
    ok("features", "import", "rows", folder / "features.npy", "--path", files.root)
    planned = ("--graph", "web", "--features", "rows", "--seeds", folder / "train_idx.npy", "--fanouts", "3,3")
    ok("plan", "create", "p", *planned, "--batch-size", "10", "--cache", "0", "--path", files.root)
    ok("snapshot", "create", "before", "--path", files.root)
    return folder


@pytest.fixture(scope="module")
def server(made: Path, files: SimpleNamespace) -> Iterator[Served]:
    with serving(files.root, threads=2, memory="1GiB") as served:
        yield served


@pytest.mark.parametrize(
    "command",
    [
        ("search", "tiny", "QUERIES", "-k", "5", "--limit", "7"),
        ("search", "tiny", "QUERIES", "--exact", "--limit", "3"),
        ("search", "tiny", "QUERIES", "--nprobe", "4", "--rerank", "20"),
        ("inspect",),
        ("verify",),
        ("verify", "tiny"),
        ("verify", "web"),
        ("graph", "stats"),
        ("graph", "stats", "web"),
        ("features", "stats"),
        ("features", "stats", "rows"),
        ("plan", "explain"),
        ("plan", "explain", "p"),
        ("snapshot", "list"),
        ("snapshot", "list", "before"),
    ],
    ids=" ".join,
)
def test_what_is_read_is_the_same(command: tuple[str, ...], server: Served, files: SimpleNamespace, ok: Ok) -> None:
    given = [files.queries if word == "QUERIES" else word for word in command]

    embedded, served = (ok(*given, *place) for place in (("--path", files.root), ("--endpoint", server.url)))

    assert steady(served) == steady(embedded)
    assert served


def test_a_collection_in_detail_is_the_same_but_for_where_its_lists_lie(
    server: Served, files: SimpleNamespace, ok: Ok, outcrop: Outcrop
) -> None:
    embedded, served = (ok("inspect", "tiny", *p) for p in (("--path", files.root), ("--endpoint", server.url)))

    theirs = {"memory", "memory_budget"}  # of the process that has it open
    assert served.pop("list_bytes") is None
    assert embedded.pop("list_bytes")["longest"] > 0
    assert {k: v for k, v in served.items() if k not in theirs} == {
        k: v for k, v in embedded.items() if k not in theirs
    }
    assert "lengths of lists: with --path only" in outcrop("inspect", "tiny", "--endpoint", server.url).stdout


def test_an_evaluation_from_afar_finds_as_much_and_tells_the_way_from_the_work(
    server: Served, files: SimpleNamespace, ok: Ok
) -> None:
    asked = (
        "eval",
        "tiny",
        files.queries,
        "--ground-truth",
        files.ground_truth,
        "--recalls",
        "0.9",
        "--threads",
        "1,2",
    )

    embedded, served = (ok(*asked, *p) for p in (("--path", files.root, "--warm"), ("--endpoint", server.url)))

    assert [m["cache"] for m in served["measurements"]] == ["warm", "warm"]
    for ours, theirs in zip(embedded["measurements"], served["measurements"], strict=True):
        assert theirs["recall"] == ours["recall"]
        assert theirs["lists"] == ours["lists"]
        assert 0 < theirs["engine_us"] < theirs["p99_us"]


def test_what_is_made_is_the_same(server: Served, made: Path, files: SimpleNamespace, ok: Ok, tmp_path: Path) -> None:
    train = ("--graph", "g", "--features", "x", "--seeds", made / "train_idx.npy", "--fanouts", "3,3")
    commands = [
        ("build", "b", files.vectors, "--memory", "32MiB", "--threads", "2"),
        ("graph", "import", "g", made),
        ("features", "import", "x", made / "features.npy", "--codec", "float16"),
        ("plan", "create", "q", *train, "--batch-size", "10", "--cache", "0"),
        ("snapshot", "create", "all", "--object", "graphs/g", "--object", "features/x"),
        ("snapshot", "verify", "all"),
        ("snapshot", "export", "all", "ARCHIVE"),
        ("snapshot", "restore", "all", "--rename", "g=h", "--rename", "x=y"),
        ("snapshot", "restore", "ARCHIVE", "--object", "features/x", "--rename", "x=z"),
        ("features", "stats", "z"),
        ("snapshot", "delete", "all"),
        ("verify", "h"),
    ]
    places = {"embedded": ("--path", tmp_path / "root"), "served": ("--endpoint", server.url)}
    documents: dict[str, list[Any]] = {}
    for kind, place in places.items():
        archive = tmp_path / kind
        documents[kind] = [
            steady(ok(*(archive if word == "ARCHIVE" else word for word in command), *place)) for command in commands
        ]

    for command, embedded, served in zip(commands, *documents.values(), strict=True):
        if command[:2] in (("snapshot", "create"), ("snapshot", "export")):
            for record in (embedded, served):
                for changing in ("created_unix", "path", "etag", "size_bytes"):
                    record.pop(changing, None)
        assert served == embedded, command


def test_damage_in_a_server_ends_with_4(ok: Ok, outcrop: Outcrop, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((5_000, 4), np.float32))
    ok("features", "import", "x", tmp_path / "rows.npy", "--path", tmp_path / "root")
    [stored] = (tmp_path / "root").rglob("rows.blk")
    with stored.open("r+b") as file:
        file.seek(5_000)
        file.write(b"damaged")

    with serving(tmp_path / "root", threads=1) as served:
        result = outcrop("verify", "--endpoint", served.url)

    assert result.exit_code == 4, result.output
    assert "x (features), version 1: CORRUPT" in result.stdout
    assert "block 1" in result.stdout


def test_certificates_are_shown_and_asked_for(ok: Ok, outcrop: Outcrop, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, ours = authority.sign("server"), authority.sign("client")
    tls = {"cert": str(own.cert), "key": str(own.key), "client_ca": str(authority.cert), "client_role": "write"}
    with serving(tmp_path / "root", threads=1, tls=tls) as served:
        asked = ("doctor", "--seconds", "0.01", "--endpoint", f"grpcs://{served.address}")
        known = ("--ca", authority.cert)

        report = ok(*asked, *known, "--cert", ours.cert, "--key", ours.key)
        assert report["encrypted"]
        assert report["server"]["role"] == "write"
        for missing in (known, ("--cert", ours.cert, "--key", ours.key)):
            assert outcrop(*asked, *missing).exit_code == 5


@pytest.mark.parametrize("mode", ["online", "fresh", "fetch", "plan"])
def test_training_from_afar_loses_as_much(
    mode: str, server: Served, made: Path, files: SimpleNamespace, ok: Ok
) -> None:
    pytest.importorskip("torch")
    planned = ("--plan", "p") if mode == "plan" else ("--fanouts", "3,3", "--batch-size", "10")
    asked = ("train", "web", "rows", made, "--mode", mode, *planned, "--epochs", "2", "--hidden", "4")

    embedded, served = (ok(*asked, *place) for place in (("--path", files.root), ("--endpoint", server.url)))

    assert steady(served) == steady(embedded)
    assert len(served["epochs"]) == 2


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("search", "tiny", "QUERIES", "--memory", "8MiB"), "--memory"),
        (("search", "tiny", "QUERIES", "--reader", "pread"), "--reader"),
        (("search", "tiny", "QUERIES", "--threads", "2"), "--threads"),
        (("eval", "tiny", "QUERIES", "--exact-ground-truth", "--cold"), "--cold"),
        (("inspect", "tiny", "--memory", "8MiB"), "--memory"),
        (("plan", "verify", "p"), "plan verify"),
        (("doctor", "--size", "1MiB"), "--size"),
        (("demo",), "--endpoint"),
        (("key", "list"), "--endpoint"),
        (("serve",), "--endpoint"),
        (("dataset", "info", "QUERIES"), "--endpoint"),
        (("graph", "make", "folder"), "--endpoint"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_needs_the_files_says_so(
    command: tuple[str, ...], named: str, server: Served, files: SimpleNamespace, outcrop: Outcrop
) -> None:
    given = [files.queries if word == "QUERIES" else word for word in command]

    result = outcrop("--endpoint", server.url, *given)

    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert "--path" in result.stderr


def test_errors_of_a_server_are_those_of_its_folder(server: Served, files: SimpleNamespace, outcrop: Outcrop) -> None:
    for command, code in [
        (("search", "lost", files.queries), 3),
        (("graph", "stats", "lost"), 3),
        (("search", "tiny", files.queries, "-k", "0"), 2),
        (("snapshot", "create", "before"), 2),
    ]:
        embedded, served = (outcrop(*command, *p) for p in (("--path", files.root), ("--endpoint", server.url)))
        assert (served.exit_code, served.stderr) == (embedded.exit_code, embedded.stderr)
        assert served.exit_code == code


def test_a_server_is_examined(server: Served, ok: Ok, outcrop: Outcrop) -> None:
    report = ok("doctor", "--endpoint", server.url, "--seconds", "0.05")

    assert report["endpoint"] == server.url
    assert report["server"]["role"] == "admin"
    assert report["server"]["process"] == server.process.pid
    assert 0 < report["p50_us"] <= report["p99_us"]
    assert report["calls"] >= 1
    assert "messages of 16.0 MiB" in outcrop("doctor", "--endpoint", server.url, "--seconds", "0.01").stdout


def test_no_server_is_an_exit_code_of_its_own(outcrop: Outcrop) -> None:
    result = outcrop("doctor", "--endpoint", "grpc://127.0.0.1:1", "--json")

    assert result.exit_code == 5
    assert json.loads(result.stdout)["error"]["code"] == "unavailable"


def test_a_port_that_keeps_silent_is_given_up(outcrop: Outcrop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.cli.doctor_server._ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()

        result = outcrop("doctor", "--endpoint", f"grpc://127.0.0.1:{silent.getsockname()[1]}")

    assert result.exit_code == 5, result.output
    assert time.monotonic() - began < 5


def test_a_key_decides_what_is_done(tmp_path: Path, ok: Ok, outcrop: Outcrop) -> None:
    np.save(tmp_path / "rows.npy", np.ones((4, 2), np.float32))
    reading = ok("key", "create", "reader", "--path", tmp_path / "root")["key"]
    writing = ok("key", "create", "writer", "--role", "write", "--path", tmp_path / "root")["key"]
    with serving(tmp_path / "root", threads=1) as served:
        rows = ("features", "import", "x", tmp_path / "rows.npy", "--endpoint", served.url)

        assert outcrop(*rows).exit_code == 6
        assert outcrop(*rows, "--api-key", "oc_unknown_secret").exit_code == 6
        assert outcrop(*rows, "--api-key", reading).exit_code == 6
        assert outcrop(*rows, "--api-key", writing).exit_code == 0
        assert (
            ok("doctor", "--seconds", "0.01", "--endpoint", served.url, "--api-key", reading)["server"]["role"]
            == "read"
        )


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (("--path", "a", "--endpoint", "grpc://b"), {}, "expected --path or --endpoint, found both"),
        ((), {"OUTCROP_PATH": "a", "OUTCROP_ENDPOINT": "grpc://b"}, "OUTCROP_PATH and OUTCROP_ENDPOINT are both set"),
        (("--path", "a", "--api-key", "k"), {}, "are for servers: expected --endpoint"),
        (("--endpoint", "http://b"), {}, "endpoint: expected grpc://HOST:PORT"),
        (("--endpoint", "grpc://b", "--ca", "ca.pem"), {}, "are for grpcs://"),
        (("--endpoint", "grpcs://b", "--cert", "c.pem"), {}, "certificate and key go together"),
    ],
)
def test_where_a_command_works_is_said_once(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
    outcrop: Outcrop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    result = outcrop("inspect", *arguments)

    assert result.exit_code == 2, result.output
    assert expected in result.stderr


def test_options_win_over_variables(
    server: Served, files: SimpleNamespace, ok: Ok, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OUTCROP_ENDPOINT", server.url)
    assert ok("doctor", "--seconds", "0.01")["endpoint"] == server.url
    assert ok("inspect") == ok("inspect", "--path", files.root)

    monkeypatch.setenv("OUTCROP_PATH", str(tmp_path / "nowhere"))
    assert ok("inspect", "--endpoint", server.url) == ok("inspect", "--path", files.root)
