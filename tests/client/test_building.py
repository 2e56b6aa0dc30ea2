"""Uploads and jobs: nothing is sent twice, nothing is built twice, and a broken connection is no broken build."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving import serving

import outcrop
from outcrop.client import Database, connect
from outcrop.client import uploading as uploading_module
from outcrop.client.job import RemoteJob
from outcrop.client.rpcs import uploads
from outcrop.client.script import Call, Send, run
from outcrop.client.uploading import identity, once, upload, whole
from outcrop.errors import Cancelled, InvalidArgument, NotFound, Unavailable
from outcrop.types import AnyArray

RNG = np.random.default_rng(5)
VECTORS = RNG.random((2000, 8), np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with serving(tmp_path / "root", threads=1, log={"level": "error"}) as server, connect(server.url) as found:
        yield found


def sizes(database: Database, upload_id: str) -> dict[str, int]:
    return {name: array.size_bytes for name, array in database._channel.call(uploads.get(upload_id)).items()}


@pytest.mark.parametrize("row_shape", [(), (3,), (2, 5), (300_000,)])
@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_chunks_carry_all_bytes_in_order(row_shape: tuple[int, ...], num_rows: int) -> None:
    rows = RNG.random((num_rows, *row_shape))

    chunks = list(uploads.chunks("u", "a", rows, 5))

    row_bytes = rows.itemsize * int(np.prod(row_shape))
    begins = [uploads.begin_of(chunk) - 5 * row_bytes for chunk in chunks]
    assert b"".join(chunk.data for chunk in chunks) == rows.tobytes()
    assert begins == np.cumsum([0, *(len(chunk.data) for chunk in chunks[:-1])]).tolist()
    assert all(len(chunk.data) <= 1 << 20 for chunk in chunks)
    if row_bytes <= 1 << 20:
        assert all(chunk.head.start_byte == 0 for chunk in chunks)


def test_what_the_server_has_is_not_sent_again(database: Database) -> None:
    rows = RNG.random((30, 7)).astype(np.float32)
    array = whole("rows", rows)
    run(upload("u", [whole("rows", rows[:20])], lambda name, num_rows: None), database._channel)

    sent = []
    script = upload("u", [array, whole("ids", np.arange(30))], lambda name, num_rows: None)
    step = script.send(None)
    while True:
        if isinstance(step, Send):
            sent += [(chunk.head.array, chunk.head.start_row, len(chunk.data)) for chunk in step.messages]
        try:
            if isinstance(step, Send):
                came = database._channel.send(step.messages, step.request)
            else:
                assert isinstance(step, Call)
                came = database._channel.call(step.rpc)
            step = script.send(came)
        except StopIteration:
            break

    assert sent == [("rows", 20, 10 * 28), ("ids", 0, 30 * 8)]
    assert sizes(database, "u") == {"rows": 30 * 28, "ids": 30 * 8}


def test_a_segment_that_broke_is_sent_from_where_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has two of four chunks when the stream breaks."""
    rows = RNG.integers(0, 255, (4, 1 << 20), dtype=np.uint8)
    script = upload("u", [once("rows", iter([rows]))], lambda name, num_rows: None)
    script.send(None)
    first = script.throw(NotFound("no such upload"))
    assert isinstance(first, Send)
    assert len(first.messages) == 4

    pause = script.throw(Unavailable("gone"))
    asked = script.send(None)
    second = script.send({"rows": uploads.Received(1 << 20, 2 << 20)})

    assert pause.seconds > 0  # type: ignore[union-attr]
    assert isinstance(asked, Call)
    assert isinstance(second, Send)
    assert list(second.messages) == list(first.messages)[2:]
    with pytest.raises(StopIteration):
        script.send(None)


def test_an_upload_of_empty_arrays_keeps_their_types(database: Database) -> None:
    run(upload("u", [whole("a", np.empty((0, 3), np.int8))], lambda name, num_rows: None), database._channel)

    assert sizes(database, "u") == {"a": 0}


def test_an_input_is_known_by_its_content_or_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    changed = VECTORS.copy()
    changed[-1, -1] += 1

    assert identity(VECTORS) == identity(VECTORS.copy())
    assert identity(VECTORS) != identity(changed)
    assert identity(mapped) == identity(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert identity(mapped) != identity(mapped[1:])
    assert identity(iter([VECTORS])) is None
    before = identity(mapped)
    np.save(tmp_path / "a.npy", changed)
    assert identity(np.load(tmp_path / "a.npy", mmap_mode="r")) != before


@pytest.mark.parametrize("given", ["array", "map", "batches", "ids", "texts"])
def test_a_build_from_anything_is_searched_as_the_embedded_one(database: Database, tmp_path: Path, given: str) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    ids = {"ids": np.arange(2000) * 3, "texts": [f"ü{row}" for row in range(2000)]}.get(given)

    def vectors() -> object:
        if given == "batches":
            return (VECTORS[row : row + 300] for row in range(0, 2000, 300))
        return np.load(tmp_path / "v.npy", mmap_mode="r") if given == "map" else VECTORS

    with outcrop.connect(tmp_path / "embedded", threads=1) as embedded:
        found = []
        for place in (embedded, database):
            id_type = "string" if given == "texts" else "int64"
            collection = place.create_collection("c", dim=8, id_type=id_type)  # type: ignore[attr-defined]
            manifest = collection.build(vectors(), ids, memory="64MiB").wait()
            assert manifest.version == 1
            hits = collection.search(VECTORS[:50], 5)
            scanned = list(collection.scan(700))
            found.append((hits, scanned))
    assert np.array_equal(found[0][0].ids, found[1][0].ids)
    assert np.array_equal(found[0][0].distances, found[1][0].distances)
    for (ids_1, vectors_1), (ids_2, vectors_2) in zip(found[0][1], found[1][1], strict=True):
        assert np.array_equal(ids_1, ids_2)
        assert np.array_equal(vectors_1, vectors_2)
        assert ids_1.dtype == ids_2.dtype


def test_the_same_build_again_is_another_version(database: Database) -> None:
    collection = database.create_collection("c", dim=8)

    versions = [collection.build(VECTORS, memory="64MiB").wait().version for _ in range(3)]

    assert versions == [1, 2, 3]
    assert [job.state for job in database.list_jobs(ended=True)] == ["succeeded"] * 3
    assert database.list_jobs() == []


def test_progress_covers_upload_and_build(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading_module, "_SEGMENT_BYTES", 1 << 12)
    monkeypatch.setattr(uploading_module, "_READ_BYTES", 1 << 12)
    told: list[float] = []
    stages: set[str] = set()
    job = database.create_collection("c", dim=8).build(VECTORS, memory="64MiB")
    while not job.done:
        told.append(job.progress.fraction)
        stages.add(job.progress.stage)
        time.sleep(0.002)
    job.wait()

    assert told == sorted(told)
    assert job.progress.fraction == 1.0
    assert "upload" in stages
    assert job.id is not None
    assert database.job(job.id).wait().version == 1


def test_a_build_outlives_the_server(tmp_path: Path) -> None:
    """Killed while it builds; the client finds the next one, whose job goes on."""
    root = tmp_path / "root"
    vectors = RNG.random((20_000, 32), np.float32)
    with serving(root, threads=1) as server:
        database = connect(server.url)
        job = database.create_collection("c", dim=32).build(vectors, memory="64MiB")
        while job.progress.stage not in ("cluster", "assign", "pack"):
            assert not job.done
            time.sleep(0.01)
        server.kill()
    with serving(root, threads=1, listen=server.address):
        assert job.wait(60).version == 1
        assert database.collection("c").count() == 20_000
    database.close()


def test_a_second_process_goes_on_with_what_the_first_began(database: Database) -> None:
    vectors = RNG.random((20_000, 32), np.float32)
    collection = database.create_collection("c", dim=32)
    with connect(database.endpoint.url) as first:
        left = first.collection("c").build(vectors, memory="64MiB")
        while left.id is None:
            time.sleep(0.005)
        taken_up = collection.build(vectors.copy(), memory="64MiB")
        assert taken_up.wait().version == 1
        assert left.wait().version == 1
    assert taken_up.id == left.id
    assert [job.kind for job in database.list_jobs(ended=True)] == ["build"]


def test_a_cancelled_upload_and_a_cancelled_build_say_so_and_can_be_resumed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = RNG.random((20_000, 32), np.float32)
    collection = database.create_collection("c", dim=32)
    job = collection.build(vectors, memory="64MiB")
    while job.progress.stage not in ("cluster", "assign", "pack", "calibrate"):
        assert not job.done
        time.sleep(0.01)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()

    again = collection.build(vectors, memory="64MiB")

    assert again.wait().version == 1
    assert again.id == job.id

    held = threading.Event()

    def slow() -> Iterator[AnyArray]:
        yield vectors[:10]
        held.wait(10)
        yield vectors[10:]

    monkeypatch.setattr(uploading_module, "_SEGMENT_BYTES", 1)
    uploading: RemoteJob[object] = collection.build(slow())  # type: ignore[assignment]
    uploading.cancel()
    held.set()
    with pytest.raises(Cancelled, match=r"build of c: cancelled at 0%; the same call resumes it"):
        uploading.wait()
    assert len(database.list_jobs(ended=True)) == 1


def test_what_is_wrong_is_refused_before_anything_is_sent(database: Database) -> None:
    collection = database.create_collection("c", dim=8)
    database._channel.close()

    with pytest.raises(InvalidArgument, match="vectors: expected dimension 8, found 3"):
        collection.build(VECTORS[:, :3])
    with pytest.raises(InvalidArgument, match="ids: expected one for each of the 2000 vectors"):
        collection.build(VECTORS, [1])
    with pytest.raises(InvalidArgument, match="copy_rule: expected nearest"):
        collection.build(VECTORS, copy_rule="x")
