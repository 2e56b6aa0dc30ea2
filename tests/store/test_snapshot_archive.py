"""The archive of a snapshot: one stream of bytes, the same each time; damaged or cut, it is refused."""

import importlib.util
import json
import random
import struct
from pathlib import Path

import pytest

from outcrop import native
from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument, NotFound, UnsupportedFormat
from outcrop.store.format import snapshot_archive as layout
from outcrop.store.snapshots import ArchiveFile, SnapshotArchive, verify_source, write_archive

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_module():
    spec = importlib.util.spec_from_file_location("make_snapshot_v1", GOLDEN / "make_snapshot_v1.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def snapshot(root, write_file):
    """A collection of two files, a graph of one, and a plan without files, as the snapshot `monday`."""
    payloads = {
        ("collections", "docs"): [b"x" * 3_000_000, b""],
        ("graphs", "papers"): [bytes(range(256)) * 40],
        ("plans", "empty"): [],
    }
    for (kind, name), files in payloads.items():
        with root.begin_version(root.create(kind, name, {"of": name}).id) as writer:
            entries = [write_file(writer.folder / f"{n}.blk", payload) for n, payload in enumerate(files)]
            writer.commit(entries, {"rows": 3})
    return root.create_snapshot("monday")


@pytest.fixture
def exported(root, snapshot, tmp_path):
    with SnapshotArchive(root, "monday") as archive:
        write_archive(archive, tmp_path / "monday.snapshot", lambda done: None)
    return tmp_path / "monday.snapshot"


def problems(path):
    return [problem.text for problem in verify_source(ArchiveFile(path), lambda done: None)]


@pytest.mark.usefixtures("snapshot")
def test_any_range_of_the_archive_is_that_of_the_exported_file(root, exported, seed):
    whole, rng = exported.read_bytes(), random.Random(seed)
    with SnapshotArchive(root, "monday") as archive:
        assert archive.size_bytes == len(whole)
        assert archive.read(0, len(whole)) == whole
        for _ in range(200):
            offset, length = rng.randrange(len(whole) + 10), rng.randrange(20_000)
            assert archive.read(offset, length) == whole[offset : offset + length]
        assert archive.read(len(whole), 10) == archive.read(5, 0) == b""
        for wrong in ((-1, 5), (5, -1)):
            with pytest.raises(InvalidArgument, match="offset and length from 0"):
                archive.read(*wrong)


@pytest.mark.usefixtures("snapshot")
def test_the_archive_is_the_same_whenever_it_is_opened_and_wherever_it_lies(root, exported):
    with SnapshotArchive(root, "monday") as first, SnapshotArchive(root, "monday") as second:
        assert first.etag == second.etag == ArchiveFile(exported).etag
        assert first.header == ArchiveFile(exported).header
        assert len(first.etag) == 64
    root.delete_snapshot("monday")
    root.create_snapshot("monday")
    with SnapshotArchive(root, "monday") as again:
        assert again.etag != first.etag, "another instant is another archive"


def test_an_open_archive_outlives_its_snapshot(root, snapshot, exported):
    with SnapshotArchive(root, "monday") as archive:
        for pinned in snapshot.objects:
            root.drop(pinned.kind, pinned.name)
        root.delete_snapshot("monday")
        root.gc()
        assert archive.read(0, archive.size_bytes) == exported.read_bytes()
    root.gc()
    assert not any((root.path / "graphs").iterdir())
    with pytest.raises(NotFound, match="no snapshot 'monday'"):
        SnapshotArchive(root, "monday")


def test_a_good_archive_has_no_problems(exported):
    seen = []
    assert list(verify_source(ArchiveFile(exported), seen.append)) == []
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_the_golden_archive_is_what_the_format_page_says_and_what_is_packed():
    golden, module = (GOLDEN / "snapshot_v1.bin").read_bytes(), golden_module()
    assert golden == module.golden_archive()
    archive = ArchiveFile(GOLDEN / "snapshot_v1.bin")
    assert [(each.kind, each.name, each.spec) for each in archive.header.objects] == [
        fields[:3] for fields in module.OBJECTS
    ]
    assert archive.header.objects[1].manifest.version == 7
    assert list(verify_source(archive, lambda done: None)) == []
    head = layout.pack_head(archive.header)
    assert head == golden[: len(head)]


def test_an_archive_cut_anywhere_is_refused_naming_both_lengths(tmp_path, seed):
    whole, rng = (GOLDEN / "snapshot_v1.bin").read_bytes(), random.Random(seed)
    for length in [0, 1, 63, 64, 4095, 4096, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(50))]:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match=f"found {length}|cut: {length} bytes of {len(whole)}"):
            ArchiveFile(tmp_path / "cut")
    (tmp_path / "long").write_bytes(whole + b"\0")
    with pytest.raises(CorruptFile, match="too long"):
        ArchiveFile(tmp_path / "long")


def test_no_flipped_byte_goes_unnoticed(tmp_path, seed):
    whole, rng = (GOLDEN / "snapshot_v1.bin").read_bytes(), random.Random(seed)
    offsets = [*range(64), *rng.sample(range(64, len(whole)), 1500)]
    for offset in offsets:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << rng.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            found = problems(tmp_path / "damaged")
        except (CorruptFile, UnsupportedFormat) as error:
            found = [str(error)]
        assert found, f"offset {offset}"


def test_a_damaged_block_is_named(exported):
    data = bytearray(exported.read_bytes())
    data[-3 * 4096 - 1] ^= 1  # three blocks of payload, then one of checksums: the second
    exported.write_bytes(data)
    (text,) = problems(exported)
    assert "monday.snapshot: graphs/papers/0.blk: block 1 at offset 4096: checksum 0x" in text


def reworked(change) -> bytes:
    """The golden archive with another header, all checksums of which are right."""
    whole = (GOLDEN / "snapshot_v1.bin").read_bytes()
    prefix = layout.unpack_prefix(whole, "golden")
    fields = json.loads(whole[64 : 64 + prefix.header_bytes])
    change(fields)
    text = json.dumps(fields, sort_keys=True).encode()
    begin = -(-(64 + len(text)) // 4096) * 4096
    files = whole[prefix.files_offset_bytes :]
    head = struct.pack("<8sIIQQ", b"OUTCSNAP", 1, native.crc32c(text), len(text), begin + len(files)).ljust(60, b"\0")
    head += struct.pack("<I", native.crc32c(head))
    return (head + text).ljust(begin, b"\0") + files


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("name",), "../monday"),
        (("objects", 0, "kind"), "tables"),
        (("objects", 0, "name"), "../../etc"),
        (("objects", 0, "name"), 5),
        (("objects", 0, "spec"), None),
        (("objects", 0, "manifest", "files", 0, "name"), "../a.blk"),
        (("objects", 0, "manifest", "files", 0, "name"), "lease"),
        (("objects", 0, "manifest", "files", 0, "name"), "b.blk"),
        (("objects", 0, "manifest", "files", 0, "size_bytes"), -4096),
        (("objects", 0, "manifest", "files", 0, "size_bytes"), 4097),
        (("objects", 0, "manifest", "files", 0, "size_bytes"), 1 << 60),
        (("objects", 0, "manifest", "files", 0, "file_id"), "zz"),
        (("objects", 0, "manifest", "files"), 7),
        (("objects", 0, "manifest"), []),
        (("objects",), []),
        (("objects",), "no list"),
        (("created_unix",), "yesterday"),
    ],
)
def test_a_header_that_says_what_cannot_be_is_refused(tmp_path, where, value):
    def change(fields):
        for key in where[:-1]:
            fields = fields[key]
        fields[where[-1]] = value

    (tmp_path / "lies").write_bytes(reworked(change))
    with pytest.raises(CorruptFile, match="lies: header"):
        ArchiveFile(tmp_path / "lies")


def test_an_object_that_is_there_twice_is_refused(tmp_path):
    def change(fields):
        fields["objects"][1] |= {"kind": "collections", "name": "docs"}

    (tmp_path / "twice").write_bytes(reworked(change))
    with pytest.raises(CorruptFile, match="each once"):
        ArchiveFile(tmp_path / "twice")


def test_deeply_nested_json_is_refused(tmp_path):
    text = b'{"objects":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    begin = -(-(64 + len(text)) // 4096) * 4096
    head = struct.pack("<8sIIQQ", b"OUTCSNAP", 1, native.crc32c(text), len(text), begin).ljust(60, b"\0")
    head += struct.pack("<I", native.crc32c(head))
    (tmp_path / "deep").write_bytes((head + text).ljust(begin, b"\0"))
    with pytest.raises(CorruptFile, match="deep: header: RecursionError"):
        ArchiveFile(tmp_path / "deep")


@pytest.mark.parametrize(("version", "header_bytes"), [(2, 100), (1, 1 << 40)])
def test_another_version_and_a_huge_header_are_refused_before_they_are_read(tmp_path, version, header_bytes):
    head = struct.pack("<8sIIQQ", b"OUTCSNAP", version, 0, header_bytes, 64).ljust(60, b"\0")
    (tmp_path / "other").write_bytes(head + struct.pack("<I", native.crc32c(head)))
    with pytest.raises(UnsupportedFormat if version == 2 else CorruptFile, match=r"version 2|at most"):
        ArchiveFile(tmp_path / "other")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello " * 100)
    with pytest.raises(CorruptFile, match="not a snapshot's archive"):
        ArchiveFile(tmp_path / "text")
    with pytest.raises(NotFound, match="no such file"):
        ArchiveFile(tmp_path / "missing")


@pytest.mark.usefixtures("snapshot")
def test_an_export_goes_on_from_what_is_there_and_mends_it(root, exported, tmp_path, seed):
    whole, rng = exported.read_bytes(), random.Random(seed)
    target = tmp_path / "again"
    for partial in (whole[: rng.randrange(len(whole))], b"\0" * (len(whole) + 5000)):
        (tmp_path / "again.partial").write_bytes(partial)
        with SnapshotArchive(root, "monday") as archive:
            write_archive(archive, target, lambda done: None)
        assert target.read_bytes() == whole
        assert not (tmp_path / "again.partial").exists()
        target.unlink()


@pytest.mark.usefixtures("snapshot")
def test_an_export_replaces_nothing(root, exported, tmp_path):
    with SnapshotArchive(root, "monday") as archive:
        with pytest.raises(AlreadyExists, match="replaces nothing"):
            write_archive(archive, exported, lambda done: None)
        with pytest.raises(NotFound, match="no such folder"):
            write_archive(archive, tmp_path / "missing" / "x", lambda done: None)


def test_a_damaged_version_is_not_exported(root, snapshot, tmp_path):
    with root.open_pinned(snapshot.objects[1]) as lease:
        path = lease.path("0.blk")
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    refused = pytest.raises(CorruptFile, match=r"graphs/papers/0\.blk: block 1")
    with SnapshotArchive(root, "monday") as archive, refused:
        write_archive(archive, tmp_path / "bad", lambda done: None)
    assert not (tmp_path / "bad").exists()
