"""One system in a process of its own: prepared, limited, run for some epochs; prints one JSON object."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import cgroup
import ours
import peers
from workload import System, Workload

SYSTEMS: dict[str, type[System]] = {**ours.SYSTEMS, **peers.SYSTEMS}


def main() -> None:
    """Run what the one argument, a JSON object, says."""
    task = json.loads(sys.argv[1])
    paths = {name: Path(task["workload"][name]) for name in ("folder", "root", "scratch")}
    workload = Workload(**{**task["workload"], **paths, "fanouts": tuple(task["workload"]["fanouts"])})
    if task.get("train"):
        import training  # imports torch's optimisers and DGL's layers, which loading does without

        epochs = training.TRAINERS[task["system"]](workload, task["epochs"])
        print(json.dumps({"system": task["system"], "training": epochs}))
        return
    group = None if task["group"] is None else cgroup.Group(Path(task["group"]))
    if group is not None:
        group.enter()
    system = SYSTEMS[task["system"]](workload)
    began = time.perf_counter()
    system.prepare()
    result: dict[str, Any] = {"system": task["system"], "prepare_seconds": time.perf_counter() - began}
    system.open_graph()
    if group is not None and task["allowance_bytes"] is not None:
        cgroup.drop_page_cache()
        result["limit_bytes"] = group.used_bytes() + task["allowance_bytes"]
        group.limit(result["limit_bytes"])
    system.open_rows()
    result["epochs"] = [_run(system, number, task["batches"]) for number in range(task["epochs"])]
    result["resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["group_peak_bytes"] = None if group is None else group.peak_bytes()
    system.close()
    print(json.dumps(result))


def _run(system: System, number: int, most_batches: int | None) -> dict[str, Any]:
    """Load one epoch, or its first minibatches. read_bytes: from the device, by the system's count or the kernel's."""
    rows = batches = 0
    before = _read_bytes(system)
    began = time.perf_counter()
    for _, features in system.epoch(number):
        rows += len(features)
        batches += 1
        if batches == most_batches:
            break
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": rows, "batches": batches, "read_bytes": _read_bytes(system) - before}


def _read_bytes(system: System) -> int:
    own = system.read_bytes()
    if own is not None:
        return own
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


if __name__ == "__main__":
    main()
