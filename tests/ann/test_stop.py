"""A search ends when its time is over or its caller has gone, and the next one is as good as ever."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

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
    queries = np.tile(rows, (8, 1))
    began = time.perf_counter()
    expected = collection.search(queries, 10, nprobe=ALL, share_reads=False)
    whole = time.perf_counter() - began
    stop = Stop()
    timer = threading.Timer(whole / 20, stop.set)
    timer.start()

    began = time.perf_counter()
    with pytest.raises(Cancelled):
        collection.search(queries, 10, nprobe=ALL, share_reads=False, stop=stop)
    taken = time.perf_counter() - began

    timer.join()
    assert taken < whole / 2
    found = collection.search(queries[:100], 10, nprobe=ALL, timeout=60)
    assert found.ids.tolist() == expected.ids[:100].tolist()
