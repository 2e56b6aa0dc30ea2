"""`outcrop plan` makes plans, explains and verifies them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import outcrop as api
from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]

NUM_NODES = 2000
CREATE = ("plan", "create", "p", "--graph", "g", "--features", "x", "--fanouts", "4,3", "--batch-size", "50")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chance = np.random.default_rng(1)
    indices = (chance.random(NUM_NODES * 5) ** 2 * NUM_NODES).astype(np.int64)
    with api.connect(tmp_path / "root") as database:
        database.import_graph("g", (np.arange(0, NUM_NODES * 5 + 1, 5), indices)).wait()
        database.import_features("x", chance.standard_normal((NUM_NODES, 8)).astype(np.float32)).wait()
    np.save(tmp_path / "seeds.npy", np.arange(0, NUM_NODES, 10))
    return tmp_path / "root"


def _create(root: Path) -> tuple[object, ...]:
    return (*CREATE, "--seeds", root.parent / "seeds.npy", "--cache", "10000", "--path", root)


def test_create_reports_what_it_made(ok: Ok, root: Path) -> None:
    report = ok(*_create(root), "--epochs", "2", "--shards", "2")

    assert (report["num_epochs"], report["num_minibatches"], report["num_shards"]) == (2, 8, 2)
    (stream,) = report["streams"]
    assert stream["cache_rows"] == 312
    assert 0 < stream["hit_ratio"] < 1
    with api.connect(root, read_only=True) as database, database.plan("p") as plan, plan.loader(shard=1) as loader:
        assert len(list(loader)) == 2


def test_explain_prints_the_curve_and_draws_it(ok: Ok, outcrop: Outcrop, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ok(*_create(root))

    shown = outcrop("plan", "explain", "p", "--plot", tmp_path / "curve.png", "--path", root)

    assert shown.exit_code == 0, shown.output
    assert "from the log" in shown.stdout
    assert "caches of other sizes" in shown.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert ok("plan", "explain", "--path", root) == ["p"]
    assert ok("plan", "explain", "p", "--path", root)["name"] == "p"


def test_verify_tells_good_plans_from_damaged_ones(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    ok(*_create(root))
    report = ok("plan", "verify", "p", "--path", root)
    assert (report["problems"], report["num_minibatches"]) == ([], 4)
    assert report["rows_compared"] > 1000

    (log,) = root.rglob("log-0.blk")
    with log.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    damaged = outcrop("plan", "verify", "p", "--path", root)
    assert damaged.exit_code == ExitCode.CORRUPT
    assert "log-0.blk" in damaged.stdout


def test_a_stale_plan_is_refused_by_name(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    ok(*_create(root))
    with api.connect(root) as database:
        database.import_features("x", np.zeros((NUM_NODES, 8), np.float32)).wait()

    refused = outcrop("plan", "explain", "p", "--path", root)

    assert refused.exit_code == ExitCode.USAGE
    assert "stale: feature table 'x'" in " ".join(refused.stderr.split())
    (report,) = [found for found in ok("verify", "p", "--path", root) if found["kind"] == "plans"]
    assert (report["problems"], report["contents_checked"]) == ([], False)


def test_verify_of_a_root_compares_a_plans_rows(ok: Ok, root: Path) -> None:
    ok(*_create(root))

    reports = {report["name"]: report for report in ok("verify", "--path", root)}

    assert reports["p"]["contents_checked"]
    assert reports["p"]["problems"] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--disk", "1000"), ExitCode.UNAVAILABLE, "the limit is 1000"),
        (("--memory", "1MiB"), ExitCode.UNAVAILABLE, "memory for making it"),
        (("--fanouts", "a"), ExitCode.USAGE, "--fanouts"),
        (("--graph", "none"), ExitCode.NOT_FOUND, "none"),
        (("--features", "a=b", "--features", "c"), ExitCode.USAGE, "TYPE=TABLE"),
        (("--seed-type", "paper"), ExitCode.USAGE, "paper"),
    ],
)
def test_what_cannot_be_planned_is_told(
    outcrop: Outcrop, root: Path, options: tuple[str, ...], code: ExitCode, message: str
) -> None:
    result = outcrop(*_create(root), *options)

    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
