"""What does a build take: time per stage, memory, bytes moved, disk; and what would other copies have cost to read?

Vectors are generated into a file first, by another process, and are not counted. See README.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment
from meter import Meter, Record, memory

from outcrop.ann import Builder, BuildOptions, CollectionSpec
from outcrop.datasets.vectors import open_vectors
from outcrop.store import Manifest, Root, format_bytes, parse_bytes
from outcrop.types import Progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

_WORKLOAD = Path(__file__).with_name("workload.toml")
_COLLECTION = "bench"
_PEER_ITERATIONS = 10


def main() -> None:
    """Parse, build, print, write."""
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="outcrop-bench-") as temporary:
        scratch = Path(arguments.scratch or temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        result = _run(arguments, scratch)
    if arguments.json:
        print(json.dumps(result))
    else:
        _print(result)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "build.json").write_text(json.dumps(result, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    workload = tomllib.loads(_WORKLOAD.read_text())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=workload["num_rows"])
    parser.add_argument("--dim", type=int, default=workload["dim"])
    parser.add_argument("--dtype", default=workload["dtype"])
    parser.add_argument("--metric", default=workload["metric"])
    parser.add_argument("--seed", type=int, default=workload["seed"])
    parser.add_argument("--memory", default="256MiB", help="what the build's arrays may take")
    parser.add_argument("--search-memory", help="what search will be given; by default 8 MiB or 5 %% of the vectors")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scratch", type=Path, help="folder for vectors and index; vectors found there are used again")
    parser.add_argument("--no-peers", action="store_true", help="leave faiss out, which holds all vectors in memory")
    parser.add_argument("--small", action="store_true", help="seconds, on few vectors: shows that it runs")
    parser.add_argument("--out", type=Path, help="folder for build.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.rows = workload["small"]["num_rows"]
    return arguments


def _run(arguments: argparse.Namespace, scratch: Path) -> Record:
    vectors = scratch / f"{arguments.dtype}-{arguments.rows}x{arguments.dim}-{arguments.seed}.npy"
    if not vectors.exists():
        _in_another_process(_generate, vectors, arguments.rows, arguments.dim, arguments.dtype, arguments.seed)
    index = scratch / f"index-{time.time_ns()}"
    before = memory()[0]
    with Meter() as meter:
        manifest = _build(arguments, vectors, index, meter)
    properties = manifest.properties
    disk = sum(entry.size_bytes for entry in manifest.files)
    result: Record = {
        "vectors": [arguments.rows, arguments.dim, arguments.dtype],
        "memory_bytes": parse_bytes(arguments.memory),
        "search_memory_bytes": properties["search_memory_bytes"],
        "threads": arguments.threads,
        "environment": environment.describe(scratch),
        "seconds": round(meter.total()["seconds"], 1),
        "resident_before_bytes": before,
        "peak_bytes": meter.peak_bytes,
        "peak_anonymous_bytes": meter.peak_anonymous_bytes,
        "stages": meter.stages,
        "total": meter.total(),
        "raw_bytes": properties["raw_bytes"],
        "disk_bytes": disk,
        "disk_multiple": round(disk / properties["raw_bytes"], 2),
        "files": {entry.name: entry.size_bytes for entry in manifest.files},
        "index": {
            name: properties[name] for name in ("code", "num_centroids", "num_lists", "num_entries", "copy_rule")
        },
        "trials": [_with_disk(trial, properties) for trial in properties["trials"]],
        "policies": [policy for policy in properties["policies"] if policy["k"] == 10],
    }
    if not arguments.no_peers:
        result["peers"] = [_in_another_process(_faiss_ivf, vectors, arguments.threads)]
    return result


def _build(arguments: argparse.Namespace, vectors: Path, index: Path, meter: Meter) -> Manifest:
    spec = CollectionSpec(arguments.dim, arguments.metric, arguments.dtype)
    options = BuildOptions(
        memory_bytes=parse_bytes(arguments.memory),
        search_memory_bytes=parse_bytes(arguments.search_memory) if arguments.search_memory else None,
        num_threads=arguments.threads,
    )
    shown = _ProgressLine()

    def report(progress: Progress) -> None:
        meter.enter(progress.stage)
        shown(progress)

    builder = Builder(spec, open_vectors(vectors), None, options)
    with Root.open(index) as root:
        record = root.create("collections", _COLLECTION, spec.to_json())
        with root.begin_version(record.id, builder.job_id(record.id)) as writer:
            manifest = builder.run(writer, report)
        meter.enter("commit")
        return manifest


class _ProgressLine:
    """One line on a terminal's standard error."""

    def __call__(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            left = "" if progress.seconds_left is None else f", about {progress.seconds_left:.0f} s left"
            sys.stderr.write(f"\r\x1b[K{progress.stage}: {progress.fraction:.0%}{left}")


def _with_disk(trial: Record, properties: Record) -> Record:
    """Add what the lists of a trial would take on disk, as a multiple of the raw vectors; raw rows beside codes too."""
    row = properties["raw_bytes"] / properties["num_rows"]
    beside = 0.0 if properties["code"] == "raw" else row + 8
    entry = properties["code_bytes"] + properties["id_bytes"] + properties["row_bytes"]
    return {**trial, "disk_multiple": round((trial["copies"] * entry + beside) / row, 2)}


# ---- other processes, so that their memory is not counted as the build's


def _in_another_process(work: Any, *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _generate(path: Path, rows: int, dim: int, dtype: str, seed: int) -> None:
    from outcrop.datasets.generate import make_vectors

    make_vectors(path, rows, dim, dtype, seed)


def _faiss_ivf(path: Path, threads: int) -> Record:
    """Train and fill an inverted file as faiss's guide has it: 4 sqrt(n) lists, every vector once, all in memory."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(threads)
    rows = np.load(path, mmap_mode="r")
    num_lists = int(4 * np.sqrt(len(rows)))
    byte = rows.dtype == np.uint8
    kind = faiss.ScalarQuantizer.QT_8bit_direct if byte else faiss.ScalarQuantizer.QT_8bit
    coarse = faiss.IndexFlatL2(rows.shape[1])
    index = faiss.IndexIVFScalarQuantizer(coarse, rows.shape[1], num_lists, kind, faiss.METRIC_L2, False)
    index.cp.niter, index.cp.min_points_per_centroid = _PEER_ITERATIONS, 1
    began = time.perf_counter()
    index.train(np.asarray(rows, np.float32))
    trained = time.perf_counter()
    for start in range(0, len(rows), 1 << 17):
        index.add(np.asarray(rows[start : start + (1 << 17)], np.float32))
    added = time.perf_counter()
    return {
        "system": f"faiss IVF{num_lists} in memory",
        "train_seconds": round(trained - began, 2),
        "add_seconds": round(added - trained, 2),
        "resident_bytes": memory()[1],
    }


# ---- printing


def _print(result: Record) -> None:
    rows, dim, dtype = result["vectors"]
    print(f"build of {rows} x {dim} {dtype}, --memory {format_bytes(result['memory_bytes'])}")
    print(json.dumps(result["environment"], indent=1))
    print("\n| stage | seconds | device read MB | device write MB | asked read MB | asked write MB | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for name, stage in [*result["stages"].items(), ("all", {**result["total"], "peak_bytes": result["peak_bytes"]})]:
        moved = [stage[c] for c in ("device_read", "device_write", "asked_to_read", "asked_to_write", "peak_bytes")]
        print(f"| {name} | {stage['seconds']:.1f} | " + " | ".join(f"{value / 1e6:.0f}" for value in moved) + " |")
    before, peak, anonymous = (
        format_bytes(result[name]) for name in ("resident_before_bytes", "peak_bytes", "peak_anonymous_bytes")
    )
    print(f"\npeak {peak}, {anonymous} of it backed by no file; the interpreter and its libraries began with {before}")
    index, disk = result["index"], format_bytes(result["disk_bytes"])
    print(f"{index['num_centroids']} centroids, {index['num_lists']} lists")
    print(f"{index['num_entries'] / rows:.2f} entries per vector ({index['copy_rule']})")
    print(f"{disk} on disk, {result['disk_multiple']:.2f} times the vectors")
    _print_trials(result["trials"])
    _print_policies(result["policies"])
    for peer in result.get("peers", []):
        train, add, held = peer["train_seconds"], peer["add_seconds"], format_bytes(peer["resident_bytes"])
        print(f"\n{peer['system']}: train {train} s, add {add} s, {held} resident")


def _print_trials(trials: list[Record]) -> None:
    print("\nCopies tried on held-out queries, at recall@10 0.95:\n")
    print("| rule | entries per vector | times raw on disk | lists | reads | KB | device us |")
    print("|---|---|---|---|---|---|---|")
    for t in sorted(trials, key=lambda trial: (trial["copies"], trial["device_us"])):
        rule = f"{t['rule'][0]} {t['rule'][1]}" if t["rule"][1] > 1 else "none"
        read = f"{t['nprobe']} | {t['reads']:.1f} | {t['bytes'] / 1000:.0f} | {t['device_us']:.0f}"
        print(f"| {rule} | {t['copies']:.2f} | {t['disk_multiple']:.2f} | {read} |")


def _print_policies(policies: list[Record]) -> None:
    print(
        "\nCalibrated, recall@10:\n\n| asked | measured | lists | reads | KB | device us |\n|---|---|---|---|---|---|"
    )
    for p in policies:
        read = f"{p['nprobe']} | {p['reads']:.1f} | {p['bytes'] / 1000:.0f} | {p['device_us']:.0f}"
        print(f"| {p['recall']} | {p['measured']:.4f} | {read} |")


if __name__ == "__main__":
    main()
