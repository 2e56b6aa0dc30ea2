import contextlib
import random

import pytest

from outcrop.errors import CorruptFile
from outcrop.store import Accountant, StorageReader, verify_file, verify_version

PAYLOAD = random.Random(5).randbytes(200_000)


@pytest.fixture
def reader():
    with StorageReader(Accountant(8 << 20)) as reader:
        yield reader


@pytest.fixture
def version(root, write_file):
    collection = root.create("collections", "c", {})
    with root.begin_version(collection.id) as writer:
        entries = [write_file(writer.folder / name, PAYLOAD) for name in ("a.blk", "b.blk")]
        writer.commit(entries, {})
    with root.open_version(collection.id) as version:
        yield version


def change(path, offset: int, new: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(new)


def test_a_good_version_has_no_problems_and_progress_reaches_the_end(version, reader):
    seen = []
    assert list(verify_version(version, reader, seen.append)) == []
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= version.manifest.size_bytes


def test_all_bad_blocks_of_all_files_are_found(version, reader):
    change(version.path("a.blk"), 4096 * 3 + 9, b"?")
    change(version.path("a.blk"), 4096 * 40, b"?????")
    change(version.path("b.blk"), 4096 * 49 + 4095, b"?")
    found = list(verify_version(version, reader))
    assert [(problem.file, problem.block) for problem in found] == [("a.blk", 3), ("a.blk", 40), ("b.blk", 49)]
    assert "a.blk: block 3 at offset 12288: checksum 0x" in found[0].text


def test_more_bad_blocks_than_are_detailed_are_all_reported(version, reader):
    change(version.path("a.blk"), 4096, bytes(4096 * 30))
    assert [problem.block for problem in verify_version(version, reader)] == list(range(1, 31))


def test_swapped_missing_resized_and_stray_files_are_found(version, reader):
    a, b = version.path("a.blk"), version.path("b.blk")
    a.rename(a.with_name("x"))
    b.rename(a)
    (version.folder / "lease").write_bytes(b"?")
    found = {problem.file: problem.text for problem in verify_version(version, reader)}
    assert "expected" in found["a.blk"]
    assert "no such file" in found["b.blk"]
    assert "does not list" in found["x"]
    assert "empty" in found["lease"]


def test_padding_that_no_checksum_covers_is_checked(version, reader):
    path = version.path("a.blk")
    change(path, path.stat().st_size - 1, b"\1")
    (problem,) = verify_version(version, reader)
    assert problem.file == "a.blk"
    assert "checksum table" in problem.text


def test_every_random_damage_is_found_or_the_bytes_are_equal(tmp_path, seed, reader, write_file):
    rng = random.Random(seed)
    path = tmp_path / "a.blk"
    for size in (0, 1, 4096, 30_000):
        entry = write_file(path, PAYLOAD[:size])
        good = path.read_bytes()
        for _ in range(60):
            data = bytearray(good)
            kind = rng.randrange(4)
            if kind == 0:
                data = data[: rng.randrange(len(data))]
            elif kind == 1:
                data += rng.randbytes(rng.choice([1, 4096]))
            else:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            assert list(verify_file(path, entry, reader)), f"{size=} {kind=}"
            with contextlib.suppress(CorruptFile), reader.open(path, entry) as file:
                assert file.read(0, size).tobytes() == PAYLOAD[:size]
