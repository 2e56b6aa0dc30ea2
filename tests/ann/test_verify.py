"""What verification finds in an index whose checksums are right: each rule is broken once, where the lists are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.ann import Index
from outcrop.embedded import Collection
from outcrop.store import Problem

Entries = tuple[Any, Any, int, int]
Change = Callable[[int, Any, Any, int], tuple[Any, Any, int]]


@pytest.fixture(params=["uint8", "float32"], ids=["raw", "sq8"])
def collection(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """1,000 numbered vectors with copies; lists hold the vectors, or codes of them."""
    rows = np.random.default_rng(3).integers(0, 200, (1000, 32)).astype(request.param)
    with outcrop.connect(tmp_path / "root", threads=1, reader="memory") as database:
        made = database.create_collection("made", dim=32, dtype=request.param)
        made.build(rows, memory="32MiB", num_centroids=40, copies=2, copy_rule="nearest").wait()
        yield made


def verify_changed(monkeypatch: pytest.MonkeyPatch, collection: Collection, change: Change) -> list[Problem]:
    """Verify with the entries of each list as `change(number, ids, rows, num_primary)` gives them."""
    honest = Index.entries

    def entries(self: Index, number: int, data: Any) -> Entries:
        ids, rows, num_primary, codes_at = honest(self, number, data)
        return *change(number, ids.copy(), rows.copy(), num_primary), codes_at

    monkeypatch.setattr(Index, "entries", entries)
    return list(collection.verify().problems)


def test_an_honest_index_has_no_problems(collection: Collection) -> None:
    report = collection.verify()

    assert report.problems == ()
    assert report.reachability_checked
    assert report.num_entries > report.num_rows == 1000


def test_little_memory_sorts_in_parts(collection: Collection) -> None:
    assert collection.verify(memory="3MiB").problems == ()


def test_a_repeated_and_thereby_missing_id_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    def change(number: int, ids: Any, rows: Any, num_primary: int) -> tuple[Any, Any, int]:
        if number == 5:
            ids[0] = ids[1]
        return ids, rows, num_primary

    texts = [problem.text for problem in verify_changed(monkeypatch, collection, change)]

    assert any("primary in two places" in text for text in texts)
    assert any("no list holds it" in text for text in texts)
    assert any("a copy without a primary" in text for text in texts)


def test_a_lost_row_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    def change(number: int, ids: Any, rows: Any, num_primary: int) -> tuple[Any, Any, int]:
        return (ids[1:], rows[1:], num_primary - 1) if number == 7 else (ids, rows, num_primary)

    problems = verify_changed(monkeypatch, collection, change)

    assert any("its first row is" in problem.text and "list 7" in problem.text for problem in problems)
    assert any("entries in all lists" in problem.text for problem in problems)
    assert {problem.file for problem in problems} <= {"postings.blk", "row_ids.blk"}


def test_a_copy_of_an_unknown_vector_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    def change(number: int, ids: Any, rows: Any, num_primary: int) -> tuple[Any, Any, int]:
        if number == 3 and len(ids) > num_primary:
            ids[-1] = 123_456
        return ids, rows, num_primary

    (problem,) = verify_changed(monkeypatch, collection, change)

    assert problem.file == "postings.blk"
    assert problem.block is not None
    assert "list 3: id 123456: a copy without a primary" in problem.text


def test_a_copy_of_another_vector_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    def change(number: int, ids: Any, rows: Any, num_primary: int) -> tuple[Any, Any, int]:
        if number == 3:
            ids[-1] = ids[0]
        return ids, rows, num_primary

    texts = [problem.text for problem in verify_changed(monkeypatch, collection, change)]

    assert any("a copy with another code" in text for text in texts)


def test_a_wrong_row_of_a_copy_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    if collection.spec.dtype == "uint8":
        pytest.skip("lists of raw vectors do not store rows of copies")

    def change(number: int, ids: Any, rows: Any, num_primary: int) -> tuple[Any, Any, int]:
        if number == 3:
            rows[-1] += 1
        return ids, rows, num_primary

    (problem,) = verify_changed(monkeypatch, collection, change)

    assert "a copy that names another row" in problem.text


def test_a_radius_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch, collection: Collection) -> None:
    honest = Index._open

    def shrunk(self: Index, num_threads: int, cache: bool) -> None:
        honest(self, num_threads, cache)
        self.directory.radius[:] *= 0.5

    monkeypatch.setattr(Index, "_open", shrunk)

    assert any("from the centroid, its radius is" in problem.text for problem in collection.verify().problems)


def test_given_ids_need_not_be_numbers_in_a_row(tmp_path: Path) -> None:
    rows = np.random.default_rng(4).standard_normal((50, 4)).astype(np.float32)
    with outcrop.connect(tmp_path, threads=1, reader="memory") as database:
        numbered = database.create_collection("numbers", dim=4)
        numbered.build(rows, np.arange(50) * 7 + 3, memory="32MiB").wait()
        named = database.create_collection("names", dim=4, id_type="string")
        named.build(rows, [f"name {n}" for n in range(50)], memory="32MiB").wait()

        assert numbered.verify().problems == ()
        assert named.verify().problems == ()
