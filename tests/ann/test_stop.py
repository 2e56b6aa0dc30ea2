"""A search ends when its time is over or its caller has gone, and the next one is as good as ever."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.ann import exact, stored_rows
from outcrop.embedded import Collection
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument
from outcrop.stop import Stop

Built = Callable[..., Collection]
Vectors = Callable[..., np.ndarray]

# More centroids than any collection here has: every list is probed.
ALL = 1 << 20
HOWS: list[dict[str, Any]] = [{}, {"exact": True}, {"nprobe": ALL}]


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("id_type", ["int64", "string"])
def test_a_search_past_its_deadline_reads_nothing(
    built: Built, vectors: Vectors, how: dict[str, Any], id_type: str
) -> None:
    rows = vectors(400, 40)
    ids = [f"row {i}" for i in range(400)] if id_type == "string" else None
    collection = built(rows, id_type=id_type, ids=ids)
    collection.open()
    before = collection.statistics().reader.reads

    with pytest.raises(DeadlineExceeded, match="time allowed for the call is over"):
        collection.search(rows[:5], 3, timeout=0, **how)

    assert collection.statistics().reader.reads == before
    assert collection.search(rows[:5], 3, timeout=60, **how).ids[:, 0].tolist() == (ids or list(range(400)))[:5]


def test_a_search_that_is_cancelled_before_it_begins_reads_nothing(built: Built, vectors: Vectors) -> None:
    rows = vectors(400, 40)
    collection = built(rows)
    before = collection.statistics().reader.reads
    stop = Stop()
    stop.set()

    with pytest.raises(Cancelled):
        collection.search(rows[:5], 3, stop=stop)

    assert collection.statistics().reader.reads == before


def test_a_search_takes_a_timeout_or_a_stop(built: Built, vectors: Vectors) -> None:
    collection = built(vectors(40, 8))

    with pytest.raises(InvalidArgument, match="exclude each other"):
        collection.search(np.zeros(8), timeout=1, stop=Stop())
    with pytest.raises(InvalidArgument, match="timeout"):
        collection.search(np.zeros(8), timeout=-1)


def test_an_exact_search_that_is_cancelled_reads_no_further_chunk(
    built: Built, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_rows, "_CHUNK_BYTES", 4096)
    rows = vectors(2000, 40)
    collection = built(rows)
    whole = collection.search(rows[:2], 3, exact=True)
    before = collection.statistics().reader.read_bytes
    stop, chunks = Stop(), exact.stored_chunks

    def stopping(index: Any, stop: Stop) -> Any:
        for number, chunk in enumerate(chunks(index, stop)):
            if number == 2:
                stop.set()
            yield chunk

    monkeypatch.setattr(exact, "stored_chunks", stopping)
    with pytest.raises(Cancelled):
        collection.search(rows[:2], 3, exact=True, stop=stop)

    assert collection.statistics().reader.read_bytes - before < whole.usage.bytes / 4
    monkeypatch.undo()
    assert collection.search(rows[:2], 3, exact=True).ids.tolist() == whole.ids.tolist()


def test_a_running_search_that_is_cancelled_ends_early(built: Built, vectors: Vectors) -> None:
    rows = vectors(3000, 40)
    collection = built(rows)
    queries = np.tile(rows, (3, 1))
    looked_up = lambda: _lists_looked_up(collection)  # noqa: E731
    expected = collection.search(queries, 10, nprobe=ALL, share_reads=False)
    whole, stop = looked_up(), Stop()

    def watch() -> None:
        while looked_up() < whole * 1.05:
            time.sleep(0.001)
        stop.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with pytest.raises(Cancelled):
        collection.search(queries, 10, nprobe=ALL, share_reads=False, stop=stop)
    watcher.join()

    assert looked_up() < whole * 1.7
    found = collection.search(queries[:100], 10, nprobe=ALL, timeout=60)
    assert found.ids.tolist() == expected.ids[:100].tolist()


def _lists_looked_up(collection: Collection) -> int:
    statistics = collection.statistics().index
    return statistics.cache_hits + statistics.cache_misses


@pytest.mark.parametrize("id_type", ["int64", "string"])
def test_searches_that_are_stopped_anywhere_hurt_no_others(
    tmp_path: Path, vectors: Vectors, seed: int, id_type: str
) -> None:
    rows = vectors(3000, 40)
    ids = [f"row {i}" for i in range(3000)] if id_type == "string" else None
    failures: list[BaseException] = []
    stopped = []

    def search(number: int) -> None:
        random = np.random.default_rng([seed, number])
        try:
            for _ in range(60):
                first, exact = int(random.integers(0, 2900)), bool(random.random() < 0.2)
                stop = Stop(float(random.exponential(0.004)) if random.random() < 0.7 else None)
                timer = threading.Timer(float(random.exponential(0.004)), stop.set)
                timer.start()
                try:
                    found = collection.search(rows[first : first + 20], 1, nprobe=None if exact else ALL, exact=exact)
                    assert found.ids[:, 0].tolist() == names[first : first + 20]
                    collection.search(rows, 10, nprobe=None if exact else ALL, exact=exact, stop=stop)
                except (Cancelled, DeadlineExceeded) as error:
                    stopped.append(type(error))
                finally:
                    timer.join()
        except BaseException as error:
            failures.append(error)

    names = ids or list(range(3000))
    with outcrop.connect(tmp_path / "small", memory="2MiB", threads=2) as database:
        collection = database.create_collection("c", dim=40, id_type=id_type)
        collection.build(rows, ids, memory="64MiB", calibration_queries=rows[:6], code="sq8").wait()
        threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert not failures
        assert set(stopped) == {Cancelled, DeadlineExceeded}
        assert collection.statistics().reader.buffer_in_use_bytes == 0
        assert collection.search(rows[:50], 1, nprobe=ALL).ids[:, 0].tolist() == names[:50]
