"""What `--help` says is part of the interface."""

import re
from collections.abc import Callable

import pytest
from click.testing import Result

Outcrop = Callable[..., Result]


def test_help_lists_the_commands_in_the_order_of_a_first_visit(outcrop: Outcrop) -> None:
    text = outcrop("--help").stdout

    commands = [
        "demo",
        "build",
        "search",
        "eval",
        "inspect",
        "verify",
        "doctor",
        "train",
        "serve",
        "graph",
        "features",
        "plan",
        "snapshot",
        "dataset",
        "key",
    ]
    listed = re.findall(rf"^[^\w-]*({'|'.join(commands)}) ", text, re.MULTILINE)
    assert listed == commands


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("demo", "--rows --generated"),
        (
            "build",
            "--ids --metric --dtype --memory --search-memory --threads --code --copies --copy-rule --num-centroids "
            "--calibration-queries --limit",
        ),
        ("search", "-k --recall --nprobe --rerank --exact --limit --output --memory --threads --reader"),
        (
            "eval",
            "--ground-truth --distances --exact-ground-truth -k --recalls --nprobes --threads --memory --cold --warm "
            "--limit --plot --reader",
        ),
        ("inspect", "--memory"),
        ("verify", "--memory"),
        ("graph import", "--nodes --columns --part --edge-ids --undirected --memory"),
        ("features import", "--codec --part --dtype --row-shape --memory"),
        ("graph make", "--nodes --degree --dim --classes --dtype --train --val --test --seed"),
        (
            "train",
            "--mode --plan --fanouts --batch-size --epochs --hidden --dropout --learning-rate --memory "
            "--cache-memory --device --seed",
        ),
        (
            "plan create",
            "--graph --features --seeds --seed-type --fanouts --batch-size --epochs --cache --memory --disk --shards "
            "--seed",
        ),
        ("plan explain", "--plot --measure"),
        ("plan verify", "--memory"),
        ("dataset make graph", "--nodes --degree --dim --classes --dtype --train --val --test --seed"),
        ("dataset make", "--rows --dim --dtype --seed --queries -k --metric"),
        ("dataset convert", "--dtype --rounded --limit --part"),
        ("dataset info", "--part"),
        ("dataset fetch", "--into --most"),
    ],
)
def test_options_keep_their_names(outcrop: Outcrop, command: str, options: str) -> None:
    text = outcrop(*command.split(), "--help").stdout

    for option in [*options.split(), "--path", "--json", "--quiet", "--verbose"]:
        assert option in text, option


def test_help_tells_what_a_command_does(outcrop: Outcrop) -> None:
    words = " ".join(outcrop("verify", "--help").stdout.split())

    assert (
        "Read every byte of a collection, or of all, and say what is wrong; the exit code is 4 when something is. "
        "Checked are all checksums, that each vector is in exactly one list as its primary, that ids occur once, and "
        "that copies and bounds are true."
    ) in words
