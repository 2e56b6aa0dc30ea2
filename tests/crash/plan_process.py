"""A process that makes versions of a plan until it is killed. Run by test_plan_killed.py.

Version n is made from n alone. It prints what it begins, each stage, and what is there.
"""

import sys

import numpy as np

import outcrop
from outcrop.gnn_loader.planning import pack, trace
from outcrop.types import Progress

NODES, DEGREE, ROW_BYTES = 12_000, 8, 2000
CACHE_BYTES = 1000 * ROW_BYTES


def rows() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (NODES, ROW_BYTES), dtype=np.uint8)


def graph() -> tuple[np.ndarray, np.ndarray]:
    sources = (np.random.default_rng(2).random(NODES * DEGREE) ** 2 * NODES).astype(np.int64)
    return np.arange(0, NODES * DEGREE + 1, DEGREE), sources


def arguments(version: int) -> dict[str, object]:
    return {
        "graph": "g",
        "features": "x",
        "seeds": np.arange(version % 3, NODES, 3),
        "fanouts": [5, 3],
        "batch_size": 256,
        "epochs": 2,
        "seed": version,
        "cache_memory": CACHE_BYTES,
        "pack_memory": "16MiB",
    }


def main(path: str) -> None:
    # Many checkpoints, and two levels of distribution, as a large plan has them.
    pack.LogPacker.__init__.__kwdefaults__ |= {"checkpoint_bytes": 4 << 20, "run_bytes": 1 << 20}
    trace.sample_trace.__defaults__ = (1 << 18,)
    stage = ""

    def show(found: Progress) -> None:
        nonlocal stage
        if found.stage != stage:
            stage = found.stage
            print("stage", stage, flush=True)

    with outcrop.connect(path) as database:
        print("ready", flush=True)
        while True:
            records = database.connection.root.list_objects("plans")
            version = 1 + ((records[0].current_version or 0) if records else 0)
            print("begun", version, flush=True)
            database.create_plan("p", **arguments(version)).wait(progress=show)
            print("there", version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
