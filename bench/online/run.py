"""What does the victim buffer add to online minibatches, and one sweep for several of them? See README.md beside this
file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "policy"))

import environment
from peers import PEERS, peer_misses

import outcrop
from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.gnn_loader import ArrayGraph, FeatureTable, NeighborSampler, NodeSeeds, OnlineLoader, SeedBatches

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

# What each variant changes of the loader's options. All have the same memory.
VARIANTS: dict[str, dict[str, Any]] = {
    "cache alone": {"victim_memory": 0},
    "victim buffer in memory": {"longest_group": 1},
    "victim buffer on disk": {"longest_group": 1, "disk": True},
    "one sweep for several": {"disk": True},
}


def main() -> None:
    arguments = _parser().parse_args()
    workload = tomllib.loads(Path(__file__).with_name("workload.toml").read_text())
    small = workload.pop("small")
    workload |= small if arguments.small else {}
    if arguments.shares:
        workload["memory_shares"] = arguments.shares
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        graph_folder = arguments.graph or _generate(Path(scratch) / "graph", workload)
        sampler, batches = _sampling(graph_folder, workload)
        with outcrop.connect(Path(scratch) / "root") as database:
            features = np.load(graph_folder / "features.npy", mmap_mode="r")
            database.import_features("x", features).wait()
            with database.features("x") as table:
                result = _measure(table, sampler, batches, workload, Path(scratch), arguments.threads)
                result["environment"] = environment.describe(Path(scratch), 0.0 if arguments.small else 4.0)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{workload['name']}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json else _table(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small graph, to see that everything runs")
    parser.add_argument("--graph", type=Path, help="a folder of `outcrop graph make`; made when there is none")
    parser.add_argument("--folder", type=Path, help="on the device to measure; by default the system's temporary one")
    parser.add_argument("--shares", type=float, nargs="+", help="of memory, instead of the workload's")
    parser.add_argument("--threads", type=int, default=1, help="of the sampler")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="a folder for the JSON object")
    return parser


def _generate(folder: Path, workload: dict[str, Any]) -> Path:
    shape = GraphShape(workload["num_nodes"], workload["degree"], workload["dim"], seed=workload["seed"])
    make_graph(folder, shape, Split(train=workload["train_share"]))
    return folder


def _sampling(folder: Path, workload: dict[str, Any]) -> tuple[NeighborSampler, SeedBatches]:
    indptr, indices, seeds = (np.load(folder / f"{name}.npy") for name in ("indptr", "indices", "train_idx"))
    graph = ArrayGraph.homogeneous(indptr, indices.astype(np.uint32))
    sampler = NeighborSampler(graph, workload["fanouts"], seed=workload["seed"])
    return sampler, SeedBatches(NodeSeeds(seeds), workload["batch_size"], seed=workload["seed"])


def _measure(
    table: FeatureTable,
    sampler: NeighborSampler,
    batches: SeedBatches,
    workload: dict[str, Any],
    scratch: Path,
    threads: int,
) -> dict[str, Any]:
    trace = [minibatch.nodes["node"].copy() for minibatch in sampler.sample_many(batches, threads=threads)]
    feature_bytes = table.num_rows * table.row_bytes
    rows = [
        _run(table, sampler, batches, trace, share, variant, workload, scratch, threads)
        for share in workload["memory_shares"]
        for variant in VARIANTS
    ]
    peers = [
        {"share": share, "policy": name, "misses": int(peer_misses(name, trace, table.num_rows, capacity).sum())}
        for share in workload["memory_shares"]
        # All of the memory is theirs for rows: ours pays for its tables and the victim buffer.
        for capacity in [max(1, int(share * feature_bytes) // table.row_bytes)]
        for name in PEERS
    ]
    facts = {"minibatches": len(trace), "rows": sum(map(len, trace)), "feature_bytes": feature_bytes}
    return {"workload": workload, "trace": facts, "online": rows, "peers": peers}


def _run(
    table: FeatureTable,
    sampler: NeighborSampler,
    batches: SeedBatches,
    trace: list[Any],
    share: float,
    variant: str,
    workload: dict[str, Any],
    scratch: Path,
    threads: int,
) -> dict[str, Any]:
    feature_bytes = table.num_rows * table.row_bytes
    options = dict(VARIANTS[variant])
    if options.pop("disk", False):
        options |= {"victim_disk": int(workload["disk_share"] * feature_bytes), "scratch_folder": scratch}
    options |= {"cache_memory": int(share * feature_bytes), "window": workload["window"], "threads": threads}
    with OnlineLoader(sampler, batches, {"x": table}, **options) as loader:
        begin = time.perf_counter()
        for _ in zip(trace, loader, strict=True):  # one epoch
            pass
        seconds = time.perf_counter() - begin
        found = loader.statistics()
    tiers, victim = found.tiers["x"], found.tiers["x"].victim
    return {
        "share": share,
        "variant": variant,
        "seconds": round(seconds, 2),
        "rows": tiers.rows,
        "cache_misses": tiers.cache_misses,
        "master_rows": tiers.master_rows + tiers.ahead_rows,
        "sweeps": tiers.sweeps,
        "master_bytes": tiers.master_bytes,
        "written_bytes": victim.bytes_written,
        "read_back_bytes": victim.bytes_read,
        "refused_rows": victim.rows_refused,
        "device_bytes": tiers.device_bytes,
        "put_wait_seconds": round(victim.put_wait_us / 1e6, 2),
        "take_wait_seconds": round(victim.take_wait_us / 1e6, 2),
        "sampling_seconds": round(found.sampling_seconds, 2),
        "reading_seconds": round(found.reading_seconds, 2),
        "stall_seconds": round(found.stall_seconds, 2),
    }


def _table(result: dict[str, Any]) -> str:
    lines = [
        "| memory | variant | misses of the cache | rows from the file | sweeps | file GB | written GB | read back GB "
        "| device GB | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["online"]:
        gigabytes = [
            f"{row[name] / 1e9:.2f}" for name in ("master_bytes", "written_bytes", "read_back_bytes", "device_bytes")
        ]
        counts = [f"{row['cache_misses']:,}", f"{row['master_rows']:,}", str(row["sweeps"])]
        lines.append(
            "| " + " | ".join([f"{row['share']:.0%}", row["variant"], *counts, *gigabytes, str(row["seconds"])]) + " |"
        )
    lines += ["", "| memory | policy | misses |", "|---|---|---|"]
    lines += [f"| {peer['share']:.0%} | {peer['policy']} | {peer['misses']:,} |" for peer in result["peers"]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
