"""The benchmark of cache policies: its peers are what their papers say, and ours miss less than they do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench" / "policy"


def lru_misses(keys: list[int], capacity: int) -> int:
    cached: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in keys:
        misses += key not in cached
        cached[key] = None
        cached.move_to_end(key)
        if len(cached) > capacity:
            cached.popitem(last=False)
    return misses


def sieve_misses(keys: list[int], capacity: int) -> int:
    queue: list[int] = []  # the oldest first
    visited: dict[int, bool] = {}
    hand, misses = 0, 0
    for key in keys:
        if key in visited:
            visited[key] = True
            continue
        misses += 1
        if len(queue) == capacity:
            while visited[queue[hand % len(queue)]]:
                visited[queue[hand % len(queue)]] = False
                hand = (hand + 1) % len(queue)
            del visited[queue.pop(hand % (len(queue) or 1))]
            # At the newest key the hand begins again with the oldest, before the new one comes.
            hand = 0 if hand >= len(queue) else hand
        queue.append(key)
        visited[key] = False
    return misses


def s3_fifo_misses(keys: list[int], capacity: int) -> int:
    small: deque[int] = deque()
    main: deque[int] = deque()
    ghosts: list[int] = []  # the latest last
    frequency: dict[int, int] = {}
    small_capacity, misses = max(1, capacity // 10), 0

    def evict_main() -> None:
        while frequency[main[0]] > 0:
            frequency[main[0]] -= 1
            main.rotate(-1)
        del frequency[main.popleft()]

    def evict_small() -> None:
        while small:
            key = small.popleft()
            if frequency[key] <= 1:
                del frequency[key]
                ghosts.append(key)
                return
            main.append(key)
            if len(main) > capacity - small_capacity:
                evict_main()
                return

    for key in keys:
        if key in frequency:
            frequency[key] = min(3, frequency[key] + 1)
            continue
        misses += 1
        while len(frequency) >= capacity:
            if not main or len(small) >= small_capacity:
                evict_small()
            else:
                evict_main()
        remembered = key in ghosts[len(ghosts) - min(len(ghosts), capacity - small_capacity) :]
        (main if remembered else small).append(key)
        if remembered:
            ghosts[:] = [other if other != key else -1 for other in ghosts]
        frequency[key] = 0
    return misses


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = util.spec_from_file_location("policy_peers", BENCH / "peers.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "oracle"), [("lru", lru_misses), ("sieve", sieve_misses), ("s3_fifo", s3_fifo_misses)]
)
@pytest.mark.parametrize("capacity", [1, 2, 7, 30, 99, 100])
def test_a_peer_misses_what_its_description_misses(
    peers: ModuleType, name: str, oracle: Callable[[list[int], int], int], capacity: int
) -> None:
    rng = np.random.default_rng(capacity)
    requests = [(100 * rng.random(n) ** 2).astype(np.uint32) for n in rng.integers(0, 60, 60)]

    misses = peers.peer_misses(name, requests, 100, capacity)

    keys = np.concatenate(requests).tolist()
    assert misses.sum() == oracle(keys, capacity)
    assert misses[:3].sum() == oracle(np.concatenate(requests[:3]).tolist(), capacity)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, str(BENCH / "run.py"), "--small", "--json", "--out", str(out)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found == json.loads((out / "generated-4m.json").read_text())
    found["plots"] = sorted(path.name for path in out.glob("*.png"))
    return found


def curves_of(result: dict[str, Any]) -> dict[str, Any]:
    return {curve["policy"]: np.array([sum(misses) for misses in curve["misses"]]) for curve in result["curves"]}


def test_online_misses_less_than_any_policy_without_a_future_at_every_size(result: dict[str, Any]) -> None:
    curves = curves_of(result)
    online = [name for name in curves if name.startswith("online")]

    assert len(online) == 2
    assert result["workload"]["cache_shares"][0] == 0.01
    assert result["workload"]["cache_shares"][-1] == 0.5
    for ours in online:
        for peer in ("lru", "sieve", "s3_fifo"):
            assert (curves[ours] < curves[peer]).all(), (ours, curves[ours], peer, curves[peer])


def test_nothing_beats_belady_from_an_empty_cache(result: dict[str, Any]) -> None:
    curves = curves_of(result)

    assert all((curves["belady"] <= curves[name]).all() for name in curves if name != "static")
    assert (curves["belady"] >= result["trace"]["different_rows"]).all()
    assert curves["belady"][-1] == result["trace"]["different_rows"]


def test_pinned_rows_save_what_a_replayed_plan_would_miss_again(result: dict[str, Any]) -> None:
    misses = {line["begins"]: np.array(line["misses"]) for line in result["replay"]}

    assert (misses["as the pass before ended"] <= misses["pinned"] * 1.01).all()
    assert (misses["pinned"] <= misses["empty"] * 1.01).all()
    assert misses["pinned"][-1] < 0.6 * misses["empty"][-1]


def test_a_score_is_better_than_none_and_the_curves_are_drawn(result: dict[str, Any]) -> None:
    misses = {row["score"]: sum(row["misses"]) for row in result["scores"]}

    assert max(misses["frequency"], misses["pagerank"], misses["out_degree"]) < misses[None]
    pytest.importorskip("matplotlib")
    assert result["plots"] == ["generated-4m.png"]
