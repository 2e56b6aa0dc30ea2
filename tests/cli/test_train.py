"""`outcrop train` trains on a stored graph, and needs PyTorch only when it is called."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import outcrop as outcrop_package
from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, ok: Ok) -> SimpleNamespace:
    """A root with the graph `g`, its features `x`, and the folder they came from."""
    folder = tmp_path_factory.mktemp("train")
    arguments = ("--nodes", "1500", "--degree", "8", "--dim", "16", "--classes", "4", "--train", "0.4")
    ok("graph", "make", folder / "made", *arguments)
    made = {name: np.load(folder / "made" / f"{name}.npy") for name in ("indptr", "indices", "features")}
    with outcrop_package.connect(folder / "root") as database:
        database.import_graph("g", (made["indptr"], made["indices"])).wait()
        database.import_features("x", made["features"]).wait()
        train = np.load(folder / "made" / "train_idx.npy")
        options = {"fanouts": [3, 3], "batch_size": 200, "epochs": 2, "cache_memory": 20_000}
        database.create_plan("p", graph="g", features="x", seeds=train, **options).wait()
    return SimpleNamespace(root=folder / "root", task=folder / "made")


@pytest.mark.parametrize("mode", ["fetch", "online", "fresh"])
def test_a_model_learns_from_stored_rows(ok: Ok, stored: SimpleNamespace, mode: str) -> None:
    arguments = (
        "--mode",
        mode,
        "--fanouts",
        "5,5",
        "--batch-size",
        "100",
        "--epochs",
        "6",
        "--hidden",
        "32",
        "--learning-rate",
        "0.02",
    )

    report = ok("train", "g", "x", stored.task, *arguments, "--path", stored.root)

    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(6))
    assert report["epochs"][0]["num_batches"] == 6
    assert report["epochs"][-1]["loss"] < report["epochs"][0]["loss"]
    assert report["test_accuracy"] > 0.5  # a guess finds a quarter
    assert report["epochs"][-1]["val_accuracy"] > 0.5
    assert report["mode"] == mode
    assert report["loader"][{"fetch": "rows", "online": "minibatches", "fresh": "epochs"}[mode]]


def test_modes_train_on_the_same_minibatches(ok: Ok, stored: SimpleNamespace) -> None:
    # No dropout: a plan orders rows anew, and other places would be dropped.
    options = "--fanouts 3,3 --batch-size 200 --epochs 2 --hidden 8 --dropout 0 --path".split()  # noqa: SIM905

    def losses(*mode: str) -> list[float]:
        return [one["loss"] for one in ok("train", "g", "x", stored.task, *mode, *options, stored.root)["epochs"]]

    reference = losses("--mode", "fetch")
    assert losses("--mode", "online") == pytest.approx(reference, abs=1e-5)
    assert losses("--mode", "fresh") == pytest.approx(reference, abs=1e-5)
    assert losses("--mode", "plan", "--plan", "p") == pytest.approx(reference, abs=1e-5)


def test_a_plan_says_how_it_was_sampled(ok: Ok, stored: SimpleNamespace) -> None:
    report = ok("train", "g", "x", stored.task, "--mode", "plan", "--plan", "p", "--epochs", 3, "--path", stored.root)

    assert (report["fanouts"], report["batch_size"]) == ([3, 3], 200)
    assert report["loader"]["streams"]["x"]["log_rows"] > 0


def test_people_see_epochs_and_accuracy(outcrop: Outcrop, stored: SimpleNamespace) -> None:
    text = outcrop("train", "g", "x", stored.task, "--epochs", "1", "--hidden", "8", "--path", stored.root).stdout

    assert "600 nodes to train on, 4 classes, 1 minibatches an epoch of 1,024 seeds, fan-outs [10, 10]" in text
    assert "waited for minibatches" in text
    assert "test accuracy 0." in text


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({}, ExitCode.NOT_FOUND, "found no labels.npy"),
        ({"labels": np.zeros(1500, int)}, ExitCode.NOT_FOUND, "found no train_idx.npy"),
        ({"labels": np.zeros(9, int), "train_idx": [9]}, ExitCode.USAGE, "expected nodes from 0 to 8"),
        ({"labels": np.zeros(9, int), "train_idx": [1]}, ExitCode.USAGE, "one for each of 1500 nodes, found 9"),
        ({"labels": np.zeros(1500), "train_idx": [1]}, ExitCode.USAGE, "expected integers [n], found float64 [1500]"),
        ({"labels": np.full(1500, -1), "train_idx": [1]}, ExitCode.USAGE, "expected classes from 0"),
        ({"labels": np.zeros(1500, int), "train_idx": np.zeros(0, int)}, ExitCode.USAGE, "at least one node"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    outcrop: Outcrop, stored: SimpleNamespace, tmp_path: Path, files: dict[str, Any], code: ExitCode, words: str
) -> None:
    for name, values in files.items():
        np.save(tmp_path / f"{name}.npy", np.asarray(values))

    result = outcrop("train", "g", "x", tmp_path, "--path", stored.root)

    assert result.exit_code == code, result.output
    assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["g", "x", "--fanouts", "ten"], "--fanouts: expected whole numbers"),
        (["g", "x", "--mode", "magic"], "--mode: expected"),
        (["g", "x", "--mode", "plan"], "--mode plan and --plan NAME go together"),
        (["g", "x", "--plan", "p"], "--mode plan and --plan NAME go together"),
        (["g", "x", "--mode", "plan", "--plan", "nothing"], "nothing"),
        (["nothing", "x"], "nothing"),
        (["g", "nothing"], "nothing"),
    ],
)
def test_wrong_arguments_are_named(outcrop: Outcrop, stored: SimpleNamespace, arguments: list[str], words: str) -> None:
    graph, features, *options = arguments

    result = outcrop("train", graph, features, stored.task, *options, "--path", stored.root)

    assert result.exit_code in (ExitCode.USAGE, ExitCode.NOT_FOUND), result.output
    assert words in result.stderr


def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; sys.argv[0] = 'outcrop'; from outcrop.cli import main; main()"
    arguments = ["train", "g", "x", str(tmp_path), "--path", str(tmp_path)]

    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)

    assert done.returncode == ExitCode.USAGE
    assert done.stderr.strip() == "error: train needs PyTorch: pip install 'outcrop[torch]'"
