"""Random damage to the catalog is reported as CorruptFile or changes no record. No process dies of it."""

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from outcrop.store import Root

# Opens one damaged root after the other, so that a crash of this process shows as its exit status and its last line.
READER = """
import json, sys
from outcrop.errors import CorruptFile, OutcropError
from outcrop.store import Root

def content(path, read_only):
    with Root.open(path, read_only=read_only) as root:
        if not read_only:
            root.create("collections", "made-after-the-damage", {})
            root.drop("collections", "made-after-the-damage")
        return [
            [record.to_json(), [manifest.to_json() for manifest in root.list_versions(record.id)]]
            for record in root.list_objects("collections")
        ] + [job.to_json() for job in root.list_jobs()]

for line in sys.stdin:
    path, read_only = json.loads(line)
    print("open", path, flush=True)
    try:
        print("content", json.dumps(content(path, read_only)), flush=True)
    except CorruptFile as error:
        print("corrupt", json.dumps(str(error)), flush=True)
"""


def make_root(path: Path, write_file) -> None:
    """Several pages of every kind: overflow pages, freed pages, two versions of one collection, a job."""
    with Root.open(path) as root:
        for number in range(12):
            collection = root.create("collections", f"collection-{number}", {"text": "x" * (700 * number)})
        for number in range(3):
            with root.begin_version(collection.id) as writer:
                entry = write_file(writer.folder / "a.blk", b"payload")
                writer.commit([entry], {"number": number, "text": "y" * 9000})
        root.begin_version(collection.id, "job").close()
        root.drop("collections", "collection-3")


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_in_a_meta_page(data: bytearray, rng: random.Random) -> None:
    data[(4096 * rng.randrange(2) + rng.randrange(160)) % len(data)] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    begin, length = rng.randrange(len(data)), rng.choice([1, 8, 512, 4096])
    data[begin : begin + length] = rng.randbytes(len(data[begin : begin + length]))


def swap_pages(data: bytearray, rng: random.Random) -> None:
    a, b = (4096 * rng.randrange(1 + len(data) // 4096) for _ in range(2))
    data[a : a + 4096], data[b : b + 4096] = data[b : b + 4096], data[a : a + 4096]


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.choice([rng.randrange(len(data)), 4096 * rng.randrange(1 + len(data) // 4096)]) :]


def extend(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.choice([1, 4096, 40960]))


DAMAGES = [flip, flip, flip, flip_in_a_meta_page, flip_in_a_meta_page, overwrite, swap_pages, truncate, extend]


def run_reader(requests: list[tuple[str, bool]]) -> list[str]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([sys.executable, "-c", READER], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode} after {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    return [line for line in done.stdout.splitlines() if not line.startswith("open ")]


def damaged_copies(source: Path, name: str, count: int, rng: random.Random, into: Path):
    for number in range(count):
        damage = rng.choice(DAMAGES)
        path = into / f"{number}-{damage.__name__}"
        shutil.copytree(source, path)
        data = bytearray((source / name).read_bytes())
        damage(data, rng)
        (path / name).write_bytes(data)
        yield str(path), bool(rng.randrange(2))


@pytest.mark.parametrize(("name", "count"), [("catalog/data.mdb", 500), ("catalog/seal", 60), ("OUTCROP", 40)])
def test_damage_is_reported_naming_the_file_or_changes_no_record(tmp_path, seed, write_file, name, count):
    make_root(tmp_path / "root", write_file)
    (tmp_path / "damaged").mkdir()
    (undamaged,) = run_reader([(str(tmp_path / "root"), True)])

    requests = list(damaged_copies(tmp_path / "root", name, count, random.Random(seed), tmp_path / "damaged"))
    answers = run_reader(requests)

    assert len(answers) == count
    for request, answer in zip(requests, answers, strict=True):
        kind, _, text = answer.partition(" ")
        assert answer == undamaged or (kind == "corrupt" and Path(name).name in text), (request, answer[:500])
    counts = Counter(answer.partition(" ")[0] for answer in answers)
    assert counts["corrupt"] > count // 4, counts


def test_no_bit_of_a_meta_page_ends_the_process(tmp_path, write_file):
    """A database that a flipped bit gave sorted duplicates made LMDB fail an assertion, though it had verified."""
    make_root(tmp_path / "root", write_file)
    (undamaged,) = run_reader([(str(tmp_path / "root"), True)])
    whole = (tmp_path / "root" / "catalog" / "data.mdb").read_bytes()
    requests = []
    for bit in range(2 * 160 * 8):
        page, bit_of_page = divmod(bit, 160 * 8)
        data = bytearray(whole)
        data[4096 * page + bit_of_page // 8] ^= 1 << bit_of_page % 8
        path = tmp_path / f"{page}-{bit_of_page}"
        shutil.copytree(tmp_path / "root", path)
        (path / "catalog" / "data.mdb").write_bytes(data)
        requests.append((str(path), bool(bit % 2)))

    answers = run_reader(requests)

    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        assert answer == undamaged or (answer.startswith("corrupt") and "data.mdb" in answer), (request, answer[:500])
