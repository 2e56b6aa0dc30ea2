"""Uploads: appended in order, taken up where they broke off, used by jobs, removed."""

import asyncio
import os
import random

import numpy as np
import pytest

from outcrop.errors import InvalidArgument, NotFound, ResourceExhausted, StorageFailure, Unavailable
from outcrop.proto.chunks import Chunk, bytes_of
from outcrop.proto.tensors import wire_dtype
from outcrop.server import uploads as module
from outcrop.server.settings import Jobs as Settings
from outcrop.server.uploads import Uploads
from outcrop.store import os_calls
from outcrop.v1 import upload_pb2 as pb


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


async def opened(path, **settings):
    uploads = Uploads(path, Settings(**settings))
    await uploads.start()
    return uploads


def chunk(array, data, upload="u", row=0, byte=0, dtype="float32", shape=()):
    head = pb.UploadRequest(
        upload_id=upload, array=array, dtype=wire_dtype(dtype), row_shape=shape, start_row=row, start_byte=byte
    )
    return Chunk(head, memoryview(data))


def chunks_of(name, rows, sizes, upload="u", start=0):
    """The bytes of `rows` from `start` on, in chunks of these sizes, the last one repeated."""
    data, row_bytes = bytes_of(rows), rows[:1].nbytes
    sizes = list(sizes)
    while start < len(data):
        stop = min(start + (sizes.pop(0) if len(sizes) > 1 else sizes[0]), len(data))
        row, byte = divmod(start, row_bytes)
        yield chunk(name, data[start:stop], upload, row, byte, rows.dtype, rows.shape[1:])
        start = stop


async def stream(chunks, breaks=False):
    for one in chunks:
        yield one
    if breaks:
        raise asyncio.CancelledError


def received(arrays):
    return {one.array: (one.num_rows, one.partial_bytes) for one in arrays}


def test_what_was_uploaded_in_chunks_is_read_as_arrays(tmp_path, seed):
    rng = np.random.default_rng(seed)
    wanted = {
        "vectors": rng.normal(size=(500, 7)).astype(np.float16),
        "ids": rng.integers(0, 1 << 60, 500),
        "flags": rng.integers(0, 2, (100, 2, 3)).astype(bool),
        "none": np.empty((0, 4), np.uint8),
    }

    async def story():
        uploads = await opened(tmp_path)
        mixed = [one for name, rows in wanted.items() for one in chunks_of(name, rows, rng.integers(1, 999, 20))]
        mixed.append(chunk("none", b"", dtype="uint8", shape=(4,)))
        answer = await uploads.append(stream(mixed), "me")
        assert received(answer) == {name: (len(rows), 0) for name, rows in wanted.items()}
        for found in (uploads.get("u", "me"), (await opened(tmp_path)).get("u", "me")):
            for name, rows in wanted.items():
                array = found.array(name)
                assert array.dtype == rows.dtype
                assert np.array_equal(array, rows)
                assert not rows.size or not array.flags.writeable

    asyncio.run(story())


def test_arrays_may_take_turns_in_a_stream(tmp_path):
    a, b = np.arange(1000.0), np.arange(1000)
    pairs = zip(chunks_of("a", a, [800]), chunks_of("b", b, [800]), strict=True)

    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream(one for pair in pairs for one in pair), "me")
        assert np.array_equal(uploads.get("u", "me").array("a"), a)
        assert np.array_equal(uploads.get("u", "me").array("b"), b)

    asyncio.run(story())


def test_broken_streams_are_taken_up_where_the_server_says(tmp_path, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 3000)
    rows = rng.normal(size=(2000, 3))

    async def story():
        uploads = await opened(tmp_path)
        start, breaks = 0, 0
        while start < rows.nbytes:
            parts = list(chunks_of("x", rows, rng.integers(1, 700, 50), start=start))[: rng.integers(1, 40)]
            with pytest.raises(asyncio.CancelledError):
                await uploads.append(stream(parts, breaks=True), "me")
            if breaks % 3 == 0:
                uploads = await opened(tmp_path)  # and the server died
            [at] = await uploads.arrays("u", "me")
            start = at.num_rows * rows[0].nbytes + at.partial_bytes
            breaks += 1
        assert np.array_equal(uploads.get("u", "me").array("x"), rows)

    asyncio.run(story())


def test_a_killed_server_has_what_it_acknowledged(tmp_path):
    rows = np.arange(100, dtype=np.int32)

    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream(chunks_of("x", rows[:60], [100])), "me")
        [folder] = tmp_path.iterdir()
        with (folder / "0000.rows").open("ab") as file:
            file.write(b"never acknowledged")
        again = await opened(tmp_path)
        assert received(await again.arrays("u", "me")) == {"x": (60, 0)}
        await again.append(stream(chunks_of("x", rows, [64], start=240)), "me")
        assert np.array_equal(again.get("u", "me").array("x"), rows)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (chunk("x", b"1234", row=2), "expected to go on at row 1, byte 2; found row 2, byte 0"),
        (chunk("x", b"1234", row=0), "expected to go on at row 1, byte 2; found row 0, byte 0"),
        (chunk("x", b"1234", row=-1), "expected to go on"),
        (chunk("x", b"1234", row=1, byte=2, dtype="int32"), "expected rows of float32"),
        (chunk("x", b"1234", row=1, byte=2, shape=(1,)), "expected rows of float32"),
        (chunk("x", b"1234", row=1, byte=2, upload="v"), "throughout a stream"),
        (chunk("", b"1234"), "array: expected a name"),
        (chunk("y" * 256, b"1234"), "array: expected a name"),
        (chunk("y", b"", shape=(0,)), "row_shape: expected rows of 1 to"),
        (chunk("y", b"", shape=(-1, -1)), "row_shape: expected at most 8 dimensions of 0"),
        (chunk("y", b"", shape=(1 << 40, 1 << 40)), "row_shape: expected rows of 1 to"),
        (chunk("y", b"", shape=(1,) * 9), "at most 8 dimensions"),
        (Chunk(pb.UploadRequest(upload_id="u", array="y", dtype=99), memoryview(b"")), "known dtype"),
    ],
)
def test_wrong_chunks_are_refused_and_what_came_before_is_kept(tmp_path, wrong, said):
    async def story():
        uploads = await opened(tmp_path)
        with pytest.raises(InvalidArgument, match=said):
            await uploads.append(stream([chunk("x", b"123456"), wrong]), "me")
        assert received(await uploads.arrays("u", "me")) == {"x": (1, 2)}
        with pytest.raises(InvalidArgument, match="found 1 and 2 bytes of another one"):
            uploads.get("u", "me").array("x")
        with pytest.raises(InvalidArgument, match="expected an array 'vectors', found x"):
            uploads.get("u", "me").array("vectors")

    asyncio.run(story())


@pytest.mark.parametrize("upload_id", ["", "../u", ".u", "a/b", "u" * 65, "u\0", "ü"])
def test_ids_cannot_leave_the_folder(tmp_path, upload_id):
    async def story():
        uploads = await opened(tmp_path)
        with pytest.raises(InvalidArgument, match="upload_id"):
            await uploads.append(stream([chunk("x", b"1234", upload=upload_id)]), "me")
        assert list(tmp_path.iterdir()) == []

    asyncio.run(story())


def test_an_array_may_have_any_name(tmp_path):
    names = ["../../x", "/etc/passwd", "a b\n\0ü", "."]

    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream(chunk(name, b"1234") for name in names), "me")
        assert sorted((await opened(tmp_path)).get("u", "me").arrays) == sorted(names)
        [folder] = tmp_path.iterdir()
        assert sorted(entry.name for entry in folder.iterdir()) == [f"{n:04d}.rows" for n in range(4)] + ["upload"]
        assert all(entry.stat().st_mode & 0o077 == 0 for entry in folder.iterdir())

    asyncio.run(story())


def test_an_upload_is_its_owners_alone(tmp_path):
    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream([chunk("x", b"1234")]), "alice")
        await uploads.append(stream([chunk("x", b"12345678")]), "bob")
        assert received(await uploads.arrays("u", "alice")) == {"x": (1, 0)}
        assert received(await uploads.arrays("u", "bob")) == {"x": (2, 0)}
        with pytest.raises(NotFound, match="'u' of eve"):
            uploads.get("u", "eve")
        with pytest.raises(NotFound):
            await uploads.remove("u", "eve")
        await uploads.remove("u", "alice")
        assert received(await (await opened(tmp_path)).arrays("u", "bob")) == {"x": (2, 0)}

    asyncio.run(story())


def test_what_a_job_needs_stays_as_it_is(tmp_path):
    async def story():
        uploads = await opened(tmp_path, upload_expires_seconds=0.001)
        await uploads.append(stream([chunk("x", b"1234")]), "me")
        held = uploads.hold(["u"], "me")
        with pytest.raises(Unavailable, match="a job is using it"):
            await uploads.append(stream([chunk("x", b"1234", row=1)]), "me")
        with pytest.raises(Unavailable, match="a job needs it"):
            await uploads.remove("u", "me")
        await uploads.expire()
        assert len(uploads.get("u", "me").array("x")) == 1
        uploads.release(held)
        await asyncio.sleep(0.01)
        await uploads.expire()
        with pytest.raises(NotFound):
            uploads.hold(["u"], "me")
        assert list(tmp_path.iterdir()) == []

    asyncio.run(story())


def test_two_streams_do_not_append_to_one_array(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.1)
    let_go = asyncio.Event()

    async def slow():
        yield chunk("x", b"1234")
        await let_go.wait()

    async def story():
        uploads = await opened(tmp_path)
        first = asyncio.create_task(uploads.append(slow(), "me"))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="another stream"):
            await uploads.append(stream([chunk("x", b"1234", row=1)]), "me")
        with pytest.raises(Unavailable, match="still being appended"):
            uploads.hold(["u"], "me")
        await uploads.append(stream([chunk("y", b"1234")]), "me")
        let_go.set()
        assert received(await first) == {"x": (1, 0), "y": (1, 0)}
        await uploads.append(stream([chunk("x", b"1234", row=1)]), "me")

    asyncio.run(story())


def test_a_stream_whose_upload_is_removed_before_its_first_chunk_is_told_to_try_again(tmp_path, monkeypatch):
    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream([chunk("x", b"1234")]), "me")
        begin = uploads.begin

        async def begin_and_lose(upload_id, owner):
            upload = await begin(upload_id, owner)
            await uploads.remove(upload_id, owner)
            return upload

        monkeypatch.setattr(uploads, "begin", begin_and_lose)
        with pytest.raises(Unavailable, match="being removed"):
            await uploads.append(stream([chunk("x", b"1234", row=1)]), "me")

    asyncio.run(story())


def test_disk_for_uploads_is_bounded(tmp_path):
    async def story():
        uploads = await opened(tmp_path, upload_bytes=10)
        await uploads.append(stream([chunk("x", b"12345678")]), "me")
        with pytest.raises(ResourceExhausted, match="8 bytes wait to be used, and at most 10 may"):
            await uploads.append(stream([chunk("x", b"1234", upload="v")]), "you")
        await uploads.remove("u", "me")
        await uploads.append(stream([chunk("x", b"1234", upload="v")]), "you")

    asyncio.run(story())


@pytest.mark.parametrize("step", ["fsync", "write", "rename"])
def test_nothing_is_acknowledged_that_is_not_durable(tmp_path, step):
    def refuse(name, path, source):
        if name == step and path.name in ("0000.rows", "upload", "upload.new"):
            raise OSError(28, "No space left on device")

    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream([chunk("x", b"1234")]), "me")
        with os_calls.intercepted(refuse), pytest.raises(StorageFailure, match="No space left"):
            await uploads.append(stream([chunk("x", b"5678", row=1)]), "me")
        for after in (uploads, await opened(tmp_path)):
            assert received(await after.arrays("u", "me")) == {"x": (1, 0)}
        await uploads.append(stream([chunk("x", b"abcd", row=1)]), "me")
        assert uploads.get("u", "me").array("x").tobytes() == b"1234abcd"

    asyncio.run(story())


def test_a_full_disk_ends_the_stream_and_keeps_what_it_took(tmp_path, monkeypatch):
    """A file that takes 6 bytes more, as a device does that fills up."""

    async def story():
        uploads = await opened(tmp_path)
        await uploads.append(stream([chunk("x", b"1234")]), "me")
        real, left = os.write, 6

        class Full:
            def __init__(self, file):
                self.file = file

            async def write(self, data):
                nonlocal left
                if not left:
                    raise OSError(28, "No space left on device")
                taken = real(self.file.fileno(), data[:left])
                left -= taken
                return taken

            def __getattr__(self, name):
                return getattr(self.file, name)

        opens = module.aiofiles.open

        async def limited(*arguments, **named):
            return Full(await opens(*arguments, **named))

        monkeypatch.setattr(module.aiofiles, "open", limited)
        with pytest.raises(StorageFailure, match="No space left"):
            await uploads.append(stream([chunk("x", b"5678", row=1), chunk("x", b"9abc", row=2)]), "me")
        monkeypatch.undo()
        assert received(await uploads.arrays("u", "me")) == {"x": (2, 0)}
        await uploads.append(stream([chunk("x", b"wxyz", row=2)]), "me")
        assert uploads.get("u", "me").array("x").tobytes() == b"12345678wxyz"

    asyncio.run(story())


def test_damaged_uploads_are_removed_at_start(tmp_path):
    async def story():
        uploads = await opened(tmp_path)
        for name in ("cut", "gone", "good", "line"):
            await uploads.append(stream([chunk("x", b"12345678", upload=name)]), "me")
        folders = {folder.name.partition(".")[2]: folder for folder in tmp_path.iterdir()}
        os.truncate(folders["cut"] / "0000.rows", 7)
        (folders["gone"] / "0000.rows").unlink()
        (folders["line"] / "upload").write_bytes(b"00000000 {}\n")
        (tmp_path / f".{folders['good'].name}").mkdir()
        again = await opened(tmp_path)
        assert list(tmp_path.iterdir()) == [folders["good"]]
        assert len(again.get("good", "me").array("x")) == 2

    asyncio.run(story())


def test_texts_are_read_by_their_offsets(tmp_path):
    texts = ["a", "", "zwölf", "日本"]
    data = "".join(texts).encode()
    ends = np.cumsum([0, *(len(text.encode()) for text in texts)])

    async def story():
        uploads = await opened(tmp_path)
        parts = [chunk("id_bytes", data, dtype="uint8"), chunk("id_offsets", ends.tobytes(), dtype="int64")]
        await uploads.append(stream(parts), "me")
        assert uploads.get("u", "me").texts("id") == texts
        for name, offsets, told in [
            ("short", ends[:-1], "ascend from 0 to"),
            ("down", ends[::-1], "ascend from 0 to"),
            ("cut", np.array([0, 4, len(data)]), "UTF-8"),
        ]:
            parts = [
                chunk("id_bytes", data, name, dtype="uint8"),
                chunk("id_offsets", offsets.tobytes(), name, dtype="int64"),
            ]
            await uploads.append(stream(parts), "me")
            with pytest.raises(InvalidArgument, match=told):
                uploads.get(name, "me").texts("id")

    asyncio.run(story())
