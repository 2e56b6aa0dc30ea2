"""Random damage to any file of an index is reported, with the file's name, or provably changes no result.

No process dies or hangs of it, and no search returns a wrong neighbour.
"""

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import outcrop

WORKER = Path(__file__).with_name("damage_process.py")
NUM_WORKERS = 2
BLOCK_BYTES = 4096
# Empty files: they are locks.
LOCKS = {"lease", "writer", "lock"}
# Of a block file, all bytes are covered by a checksum. The catalog has pages that nothing refers to, the marker is text
# whose spaces mean nothing.
MAY_BE_UNNOTICED = {"data.mdb", "OUTCROP", "lock"}


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


@pytest.fixture(scope="module", params=["float32 sq8 string", "float32 raw int64"])
def root(request, tmp_path_factory):
    """An index of every kind of file."""
    dtype, code, id_type = request.param.split()
    rows = np.random.default_rng(0).normal(size=(400, 24)).astype(dtype)
    path = tmp_path_factory.mktemp("index") / "root"
    with outcrop.connect(path, memory="64MiB", reader="memory", threads=1) as database:
        collection = database.create_collection("c", dim=24, id_type=id_type)
        ids = [f"vector {n}" for n in range(400)] if id_type == "string" else None
        for _ in range(2):  # the catalog has pages of an older version
            options = {"num_centroids": 25, "copies": 2, "copy_rule": "soar", "calibration_queries": rows[:8]}
            collection.build(rows, ids, code=code, **options).wait()
    return path


def make_cases(root, rng, count):
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.stat().st_size and p.name not in LOCKS)
    cases = []
    for number in range(count):
        path = files[number % len(files)]
        size = path.stat().st_size
        kind = rng.choices(["flip", "truncation", "zeros"], [7, 2, 1])[0]
        case = {"file": str(path.relative_to(root)), "kind": kind, "at": rng.randrange(size)}
        if kind == "flip":
            case["bits"] = 1 << rng.randrange(8)
            if path.suffix == ".blk" and rng.random() < 0.3:
                case["at"] = rng.randrange(128)  # the header's fields are a small part of a file
        case["length"] = rng.choice([1, 64, BLOCK_BYTES])
        if kind == "zeros" and not any(path.read_bytes()[case["at"] : case["at"] + case["length"]]):
            case["kind"], case["bits"] = "flip", 1  # zeros over zeros are no damage
        case["after_open"] = path.suffix == ".blk" and rng.random() < 0.5
        cases.append(case)
    return cases


def run_cases(root, cases, copy):
    """Return (answers of the undamaged root, what happened in each case)."""
    shutil.copytree(root, copy)
    with subprocess.Popen(
        [sys.executable, str(WORKER), str(copy)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        lines, errors = process.communicate("".join(json.dumps(case) + "\n" for case in cases))
    found = [json.loads(line) for line in lines.splitlines()]
    assert process.returncode == 0, f"died of {cases[len(found) - 1]}: status {process.returncode}\n{errors[-3000:]}"
    assert len(found) == len(cases) + 1
    return found[0], found[1:]


def judge(case, found, expected):
    """Return what became of a case. Asserts that it was one of the allowed ends."""
    name = Path(case["file"]).name
    block_file = name.endswith(".blk")
    for when in ("later", "search", "verify"):
        if found[when] is None:
            continue
        outcome, result = found[when]
        if outcome in ("corrupt", "unsupported"):
            names = (name, "collections/", "catalog", "OUTCROP") if not block_file else (name,)
            assert any(part in result for part in names), f"{case}: {when} does not name the file: {result}"
        else:
            assert outcome == "fine", f"{case}: {when}: {outcome}: {result}"
        if outcome == "fine" and when != "verify":
            assert result == expected, f"{case}: {when}: a wrong answer"
    if found["search"][0] != "fine":
        return f"{found['search'][0]} at search"
    outcome, problems = found["verify"]
    if outcome == "fine" and not problems:
        assert name in MAY_BE_UNNOTICED, f"{case}: nobody noticed"
        return "no result changed"
    texts = problems if outcome == "fine" else [problems]
    assert any(name in text for text in texts), f"{case}: verify does not name the file: {texts}"
    if block_file and case["kind"] == "flip" and in_data(case, found):
        block = case["at"] // BLOCK_BYTES
        assert any(f"block {block} " in text for text in texts), f"{case}: verify does not name the block: {texts}"
    return "reported by verify"


def in_data(case, found):
    """Whether a flip hit a block of the payload: neither header nor checksum table."""
    return BLOCK_BYTES <= case["at"] < case["table_at"]


@pytest.mark.crash
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_damage_is_reported_or_changes_no_result(root, tmp_path, seed, count):
    cases = make_cases(root, random.Random(seed), count)
    for case in cases:
        header = (root / case["file"]).read_bytes()[:BLOCK_BYTES]
        case["table_at"] = int.from_bytes(header[48:56], "little") if case["file"].endswith(".blk") else 0
    shares = [cases[number::NUM_WORKERS] for number in range(NUM_WORKERS)]
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        copies = [tmp_path / f"copy-{number}" for number in range(NUM_WORKERS)]
        runs = list(pool.map(lambda share, copy: run_cases(root, share, copy), shares, copies))
    table = Counter()
    unnoticed = []
    for share, (expected, results) in zip(shares, runs, strict=True):
        for case, found in zip(share, results, strict=True):
            outcome = judge(case, found, expected)
            table[Path(case["file"]).name, case["kind"], outcome] += 1
            if outcome == "no result changed":
                unnoticed.append(case)
    for (name, kind, outcome), number in sorted(table.items()):
        print(f"{name:20} {kind:10} {outcome:20} {number:4}")
    for case in unnoticed:
        print(f"no result changed: {case['file']}, {case['kind']} at byte {case['at']}")
