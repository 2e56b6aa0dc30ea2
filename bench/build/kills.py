"""Kill a build at random moments, again and again, while searches of the version before go on; then let it finish.

    python bench/build/kills.py VECTORS --kills 20 --memory 256MiB

Every kill is SIGKILL. After each one the old version must answer as before; a search process runs all the time and
compares every answer with its first one. At the end the build must come to its end, `outcrop verify` must find nothing
wrong, and no scratch file may be left.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import outcrop
from outcrop.datasets.vectors import open_vectors

_OLD_ROWS = 50_000
_OUTCROP = str(Path(sys.executable).parent / "outcrop")
_READER = """
import sys, numpy as np, outcrop
queries = np.load(sys.argv[2])
with outcrop.connect(sys.argv[1], memory="64MiB", read_only=True, threads=1) as db:
    collection, answers = db.collection("kills"), 0
    first = collection.search(queries, 10)
    print("ready", flush=True)
    while sys.stdin.readline().strip() != "stop":
        collection.refresh()
        found = collection.search(queries, 10)
        assert np.array_equal(found.ids, first.ids) and np.array_equal(found.distances, first.distances)
        answers += 1
        print(answers, flush=True)
"""


def command(root: Path, vectors: Path, memory: str) -> list[str]:
    return [
        _OUTCROP,
        "--path",
        str(root),
        "build",
        "kills",
        str(vectors),
        "--memory",
        memory,
    ]


def reader_answers(reader: subprocess.Popen[str]) -> None:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("go\n")
    reader.stdin.flush()
    if not reader.stdout.readline():
        raise SystemExit("the reader of the old version failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--memory", default="256MiB")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--expected-seconds", type=float, default=120.0, help="of an undisturbed build")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder) / "root"
        source = open_vectors(options.vectors)
        queries = Path(folder) / "queries.npy"
        np.save(queries, source.read(0, 20))
        with outcrop.connect(root) as db:
            collection = db.create_collection("kills", dim=source.dim, dtype=str(source.dtype))
            collection.build(source.read(0, _OLD_ROWS)).wait()
        reader = subprocess.Popen(
            [sys.executable, "-c", _READER, str(root), str(queries)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert reader.stdout is not None
        reader.stdout.readline()
        began, kills, running = time.time(), [], 0.0
        while True:
            build = subprocess.Popen(command(root, options.vectors, options.memory), stdout=subprocess.DEVNULL)
            # Moments spread over the whole build: each attempt resumes where the one before was stopped.
            limit = moments.uniform(0.5, 2 * options.expected_seconds / options.kills)
            started = time.time()
            try:
                code = build.wait(limit if len(kills) < options.kills else None)
            except subprocess.TimeoutExpired:
                build.kill()
                build.wait()
                running += time.time() - started
                kills.append(round(running, 1))
                with outcrop.connect(root, read_only=True) as db:
                    if db.collection("kills").info().version != 1:
                        code = 0  # killed between its commit and its exit
                        break
                reader_answers(reader)
                print(f"kill {len(kills)} after {limit:.1f} s; the old version answers", flush=True)
                continue
            break
        assert code == 0, f"the build failed with exit code {code}"
        assert reader.stdin is not None
        reader.stdin.write("stop\n")
        reader.stdin.flush()
        assert reader.wait() == 0, "the reader failed"
        with outcrop.connect(root, read_only=True) as db:
            info = db.collection("kills").info()
        verify = subprocess.run(
            [_OUTCROP, "--path", str(root), "verify", "kills"],
            check=True,
            capture_output=True,
        )
        left = [str(path) for path in (root / "tmp").rglob("*") if path.is_file()]
        assert not left, left
        assert info.num_rows == source.num_rows
        record = {"kills": len(kills), "seconds": round(time.time() - began, 1), "rows": info.num_rows}
        print(json.dumps(record), verify.stdout.decode().strip(), sep="\n")


if __name__ == "__main__":
    main()
