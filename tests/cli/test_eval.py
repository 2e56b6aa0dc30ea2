"""`outcrop eval` measures recall against cost, whatever form the true neighbours come in."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from rich.console import Console

import outcrop as engine
from outcrop.cli.eval import measurements_table
from outcrop.cli.exit_codes import ExitCode
from outcrop.cli.measurement import Measurement
from outcrop.cli.truth import Truth, exact_truth, read_truth
from outcrop.datasets.ground_truth import GroundTruth, read_ground_truth, write_ground_truth

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


def test_every_recall_is_measured_cold_and_warm_for_every_number_of_threads(ok: Ok, files: SimpleNamespace) -> None:
    command = ("eval", "tiny", files.queries, "--ground-truth", files.ground_truth, "--path", files.root)
    report = ok(*command, "--recalls", "0.9,0.99")

    found = [(m["threads"], m["asked"], m["cache"]) for m in report["measurements"]]
    assert found == [
        (threads, asked, cache)
        for threads in (1, 2)
        for cache in ("cold", "warm")
        for asked in ("recall 0.9", "recall 0.99")
    ]
    assert report["compared"] == "squared Euclidean distances"
    assert report["memory_bytes"] == 8 << 20
    for m in report["measurements"]:
        assert m["recall"] >= float(m["asked"].split()[1]) - 0.05
        assert 0 < m["p50_us"] <= m["p99_us"]
        assert m["num_queries"] == 40
    single = [m for m in report["measurements"] if m["threads"] == 1 and m["asked"] == "recall 0.99"]
    assert {m["cache_hits"] for m in report["measurements"] if m["cache"] == "cold"} == {0}
    assert single[0]["reads"] > single[1]["reads"]
    assert single[1]["cache_hits"] > 0


def test_probing_every_list_finds_everything(ok: Ok, files: SimpleNamespace) -> None:
    command = ("eval", "tiny", files.queries, "--exact-ground-truth", "--path", files.root, "--cold", "--threads", "1")
    (measured,) = ok(*command, "--nprobes", "100000", "--limit", "5")["measurements"]

    assert measured["recall"] == 1
    assert measured["asked"] == "nprobe 100000"


def test_the_plot_is_a_png(ok: Ok, files: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = ("eval", "tiny", files.queries, "--ground-truth", files.ground_truth, "--path", files.root)

    ok(*command, "--limit", "3", "--threads", "1", "--plot", tmp_path / "curve.png")

    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_measurements_are_a_table() -> None:
    cost = 1433.0, 25.31, 476_160, 441.2, 42.0, 0.0
    cold = Measurement("recall 0.95", 2, "cold", 500, 0.95624, 1257.3, 1512.0, 2451.0, *cost)
    cost = 1401.0, 24.1, 440_320, 409.0, 42.0, 3.3
    warm = Measurement("recall 0.95", 2, "warm", 500, 0.95624, 1266.1, 1480.0, 2580.0, *cost)
    text = io.StringIO()
    Console(file=text, width=120).print(measurements_table([cold, warm], 2))

    assert [line.rstrip() for line in text.getvalue().splitlines()] == [
        "2 threads",
        " asked        cache  recall    QPS  p50 ms  p99 ms  engine ms  reads   KB  device us  lists  cached",
        " recall 0.95  cold   0.9562  1,257    1.51    2.45       1.43   25.3  476        441   42.0     0.0",
        " recall 0.95  warm   0.9562  1,266    1.48    2.58       1.40   24.1  440        409   42.0     3.3",
    ]


def rows_of(dtype: str, count: int = 400, dim: int = 12) -> Any:
    return np.random.default_rng(2).standard_normal((count, dim)).astype(dtype)


@pytest.mark.parametrize(
    ("metric", "kind", "given"),
    [
        ("l2", "squared Euclidean distances", lambda d: d),
        ("l2", "Euclidean distances", np.sqrt),
        ("ip", "negated inner products", lambda d: d),
        ("ip", "inner products", lambda d: -d),
        ("cosine", "cosine distances", lambda d: d),
        ("cosine", "cosine similarities", lambda d: 1 - d),
        ("cosine", "squared Euclidean distances of unit vectors", lambda d: 2 * d),
    ],
)
def test_whatever_distances_a_file_holds_are_recognised(
    tmp_path: Path, metric: str, kind: str, given: Callable[[Any], Any]
) -> None:
    rows = rows_of("float32")
    with engine.connect(tmp_path / "root", threads=1, reader="memory") as database:
        collection = database.create_collection("made", dim=12, metric=metric)
        collection.build(rows, memory="32MiB").wait()
        exact = collection.search(rows[:50] + 0.01, 10, exact=True)
        write_ground_truth(tmp_path / "truth.gt", GroundTruth(exact.ids, given(exact.distances).astype(np.float32)))

        truth = read_truth(collection, rows[:50] + 0.01, 10, tmp_path / "truth.gt", None)

    assert truth.kind == kind
    np.testing.assert_allclose(truth.distances, exact.distances, rtol=1e-4, atol=1e-5)
    assert truth.recall(exact).mean() == 1


def test_ids_alone_count_ties_as_misses_and_text_ids_need_distances(tmp_path: Path) -> None:
    rows = rows_of("float32")
    with engine.connect(tmp_path / "root", threads=1, reader="memory") as database:
        named = database.create_collection("named", dim=12, id_type="string")
        named.build(rows, [f"n{i}" for i in range(400)], memory="32MiB").wait()
        exact = named.search(rows[:9], 5, exact=True)
        numbers = np.array([[int(name[1:]) for name in query] for query in exact.ids])
        write_ground_truth(tmp_path / "ids.npy", GroundTruth(numbers, None))
        write_ground_truth(tmp_path / "both.gt", GroundTruth(numbers, exact.distances))

        with pytest.raises(engine.errors.InvalidArgument, match="distances are needed"):
            read_truth(named, rows[:9], 5, tmp_path / "ids.npy", None)
        assert read_truth(named, rows[:9], 5, tmp_path / "both.gt", None).recall(exact).mean() == 1
        assert exact_truth(named, rows[:9], 5).recall(exact).mean() == 1


def test_a_result_as_near_as_the_last_true_one_is_right(files: SimpleNamespace) -> None:
    truth = read_ground_truth(files.ground_truth)
    found = engine.connect(files.root, read_only=True).collection("tiny").search(np.ones(32), 2, exact=True)
    tied = Truth(found.ids[:, ::-1] + 1_000_000, found.distances, "distances")

    assert truth.k == 20
    assert tied.recall(found).tolist() == [1.0]
    assert Truth(tied.ids, None, "ids").recall(found).tolist() == [0.0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--ground-truth", "no/such.gt"], ExitCode.NOT_FOUND, "no/such.gt"),
        ([], ExitCode.USAGE, "either --ground-truth FILE or --exact-ground-truth"),
        (["--ground-truth", "{truth}", "-k", "50"], ExitCode.USAGE, "expected 50 neighbours"),
        (["--exact-ground-truth", "--recalls", "0.9,high"], ExitCode.USAGE, "'high'"),
        (["--exact-ground-truth", "--recalls", "95"], ExitCode.USAGE, "'95'"),
        (["--exact-ground-truth", "--threads", "0"], ExitCode.USAGE, "--threads"),
        (["--exact-ground-truth", "--nprobes", "1.5"], ExitCode.USAGE, "'1.5'"),
        (["--exact-ground-truth", "--plot", "x.svg"], ExitCode.USAGE, ".png"),
        (["--ground-truth", "{other}"], ExitCode.USAGE, "do not belong"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, files: SimpleNamespace, tmp_path: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    truth = read_ground_truth(files.ground_truth)
    assert truth.distances is not None
    write_ground_truth(tmp_path / "other.gt", GroundTruth(truth.ids, truth.distances * 3))
    given = [argument.format(truth=files.ground_truth, other=tmp_path / "other.gt") for argument in arguments]

    result = outcrop("eval", "tiny", files.queries, *given, "--path", files.root)

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
