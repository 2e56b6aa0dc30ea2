"""The arithmetic of the status page, run by Node.js and compared with NumPy's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.requirements import required

from outcrop.server.metrics import LATENCY_SECONDS

MODULE = (Path(__file__).parents[2] / "server" / "dashboard" / "numbers.js").as_uri()
SHARES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)


@pytest.fixture(scope="module")
def node() -> str:
    return required("node", programs=("node",))


def evaluated(node: str, expression: str) -> Any:
    script = f"import * as numbers from {json.dumps(MODULE)}; console.log(JSON.stringify({expression}))"
    done = subprocess.run(
        [node, "--input-type=module", "--eval", script], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_are_right_within_a_bucket(node: str, seed: int) -> None:
    print("seed", seed)
    seconds = np.random.default_rng(seed).lognormal(-6, 1.5, 5000).clip(1e-4, 80)
    buckets = [[bound, int((seconds <= bound).sum())] for bound in LATENCY_SECONDS]

    expression = f"{json.dumps(SHARES)}.map((share) => numbers.percentile({json.dumps(buckets)}, 5000, share))"
    found = evaluated(node, expression)

    for share, value in zip(SHARES, found, strict=True):
        assert value == pytest.approx(np.quantile(seconds, share), rel=0.61, abs=1e-4)
    assert found == sorted(found)


def test_percentiles_of_nothing_and_of_what_is_above_all_buckets(node: str) -> None:
    assert evaluated(
        node, "[numbers.percentile([[1, 0], [2, 0]], 0, 0.5), numbers.percentile([[1, 0], [2, 1]], 4, 0.9)]"
    ) == [
        None,
        2,
    ]


def test_rates_are_of_what_grew_and_a_new_server_starts_from_nothing(node: str) -> None:
    grown = evaluated(node, "numbers.bucketGrowth([[1, 5], [2, 9]], [[1, 7], [2, 12], [4, 1]])")
    anew = evaluated(node, "numbers.bucketGrowth([[1, 5], [2, 9]], [[1, 2], [2, 3]])")

    assert grown == [[1, 2], [2, 3], [4, 1]]
    assert anew == [[1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("seconds(null)", "–"),
        ("seconds(0)", "0"),
        ("seconds(0.00025)", "250 µs"),
        ("seconds(0.00345)", "3.45 ms"),
        ("seconds(0.0345)", "34.5 ms"),
        ("seconds(0.345)", "345 ms"),
        ("seconds(12.345)", "12.3 s"),
        ("count(3)", "3"),
        ("count(3.14)", "3.1"),
        ("count(12345)", "12,345"),
        ("count(1.5e9)", "1.50 G"),
        ("bytes(812)", "812 B"),
        ("bytes(1536)", "1.5 KiB"),
        ("bytes(3 * 2 ** 40)", "3.0 TiB"),
        ("age(5)", "5 s"),
        ("age(600)", "10 min"),
        ("age(7200)", "2 h"),
        ("age(259200)", "3 days"),
    ],
)
def test_numbers_are_written_as_people_read_them(node: str, expression: str, text: str) -> None:
    assert evaluated(node, f"numbers.{expression}") == text
