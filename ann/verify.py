"""Can every vector be found? Reads all posting lists of a version and holds them against each other.

The checksums of `store` say that the bytes are those that were written; this says that what was written is an index:
every row is primary in exactly one list, ids occur once, copies agree with their primaries, and the bounds that search
prunes by are true. Entries are sorted by id on disk, in a scratch folder, so memory stays within its budget.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.ann.index import Index
from outcrop.errors import CorruptFile
from outcrop.store import Field, Problem, SortedRuns, StoredFile
from outcrop.types import AnyArray, Int64Array, UInt8Array, as_float32

_BLOCK_BYTES = 4096
_CHUNK_BYTES = 1 << 20
# Lists whose codes are decoded and whose distances to the centroid are computed.
_MOST_SAMPLED = 512
# A partition is concatenated, sorted and taken apart: so many times its records.
_SORT_COPIES = 6
# Of one kind of problem the first few tell enough.
_MOST_OF_A_KIND = 16
# float32 sums of a few thousand squares.
_ROUNDING = 1e-3

_FIELDS = (
    Field("id", "int64"),
    Field("row", "int64"),
    Field("list", "uint32"),
    Field("copy", "uint8"),
    Field("hash", "uint64"),
)
_RECORD_BYTES = sum(field.item_bytes for field in _FIELDS)


def verify_index(
    index: Index, centroids: StoredFile, scratch: Path, memory_bytes: int, progress: Callable[[float], object]
) -> Iterator[Problem]:
    """Yield what is wrong with the lists of an open index, whose checksums have been verified before.

    centroids: centroids.blk. scratch: an empty folder for about 30 bytes per entry. memory_bytes: for the sort of the
    entries. progress: called with the fraction done. Raises StorageFailure.
    """
    yield from _counts(index)
    runs = _entry_runs(index, scratch, memory_bytes)
    walk = _Walk(index, centroids, runs)
    yield from _first_of_each_kind(walk.problems(lambda done: progress(0.8 * done)))
    runs.flush()
    yield from _first_of_each_kind(_id_problems(index, runs, walk, lambda done: progress(0.8 + 0.2 * done)))
    if "strings.blk" in index.file_names:
        yield from _string_problems(index.file("strings.blk"), index.num_rows)


def _counts(index: Index) -> Iterator[Problem]:
    found = {"num_rows": index.num_rows, "num_centroids": index.directory.num_centroids}
    found["num_lists"] = index.directory.num_lists
    for name, value in found.items():
        if value != index.properties[name]:
            yield _problem("directory.blk", None, f"{name} is {value}, the manifest says {index.properties[name]}")


def _entry_runs(index: Index, scratch: Path, memory_bytes: int) -> SortedRuns:
    num_entries = int(index.properties["num_entries"])
    partitions = max(1, -(-num_entries * _RECORD_BYTES * _SORT_COPIES // memory_bytes))
    return SortedRuns(scratch / "entries", _FIELDS, partitions, memory_bytes // 4)


class _Walk:
    """Goes through all lists in order, and hands every entry on to be sorted by id."""

    def __init__(self, index: Index, centroids: StoredFile, runs: SortedRuns) -> None:
        self._index = index
        self._centroids = centroids
        self._runs = runs
        self._offsets = index.directory.list_offsets.astype(np.int64)
        self._sample_step = max(1, index.directory.num_lists // _MOST_SAMPLED)
        self._hash_factors = _hash_factors(index.properties["code_bytes"])
        self._next_row = 0
        self._num_entries = 0

    def block_of(self, number: int) -> int:
        """Return the block of postings.blk in which a list begins."""
        return 1 + int(self._offsets[number]) // _BLOCK_BYTES

    def problems(self, progress: Callable[[float], object]) -> Iterator[Problem]:
        """Yield what is wrong with single lists."""
        offsets, num_lists = self._offsets, self._index.directory.num_lists
        first = 0
        while first < num_lists:
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES, side="right")) - 1)
            begin, end = int(offsets[first]), int(offsets[last])
            data = self._index.file("postings.blk").read(begin, end - begin)
            for number in range(first, last):
                yield from self._list(number, data[offsets[number] - begin : offsets[number + 1] - begin])
            progress(end / max(1, int(offsets[-1])))
            first = last
        properties = self._index.properties
        if self._next_row != properties["num_rows"]:
            yield self._of_list(
                num_lists - 1, f"the lists end at row {self._next_row}, expected {properties['num_rows']}"
            )
        if self._num_entries != properties["num_entries"]:
            text = f"{self._num_entries} entries in all lists, the manifest says {properties['num_entries']}"
            yield _problem("postings.blk", None, text)

    def _list(self, number: int, data: UInt8Array) -> Iterator[Problem]:
        index, width = self._index, self._index.properties["code_bytes"]
        try:
            ids, rows, num_primary, codes_at = index.entries(number, data)
        except CorruptFile as error:
            yield Problem("postings.blk", self.block_of(number), str(error))
            return
        codes = data[codes_at : codes_at + len(ids) * width].reshape(len(ids), width)
        self._num_entries += len(ids)
        yield from self._primary_rows(number, ids[:num_primary], rows[:num_primary])
        self._append(number, ids, rows, num_primary, codes)
        if number % self._sample_step == 0 and len(ids):
            yield from self._sampled(number, codes, num_primary)

    def _primary_rows(self, number: int, ids: Int64Array, rows: npt.NDArray[np.uint64]) -> Iterator[Problem]:
        """Row after row, each row is primary in the list that comes next: so it is in exactly one."""
        if not len(ids):
            return
        first = int(rows[0])
        if first != self._next_row:
            yield self._of_list(number, f"its first row is {first}, the lists before end at {self._next_row}")
        self._next_row = first + len(ids)
        if self._index.lossless or self._next_row > self._index.num_rows:
            return
        stored = self._index.file("row_ids.blk").read(first * 8, len(ids) * 8).view(np.int64)
        wrong = np.flatnonzero(stored != ids)
        if wrong.size:
            row = first + int(wrong[0])
            text = f"row {row}: id {stored[wrong[0]]}, list {number} of postings.blk says {ids[wrong[0]]}"
            yield _problem("row_ids.blk", 1 + row * 8 // _BLOCK_BYTES, text)

    def _append(
        self, number: int, ids: Int64Array, rows: npt.NDArray[np.uint64], num_primary: int, codes: UInt8Array
    ) -> None:
        copy = (np.arange(len(ids)) >= num_primary).astype(np.uint8)
        known = rows.astype(np.int64)
        if not self._index.properties["row_bytes"]:
            known[num_primary:] = -1
        columns: list[AnyArray] = [
            ids,
            known,
            np.full(len(ids), number, np.uint32),
            copy,
            _hashes(codes, self._hash_factors),
        ]
        self._runs.append(ids % self._runs.num_partitions, columns, number)

    def _sampled(self, number: int, codes: UInt8Array, num_primary: int) -> Iterator[Problem]:
        index, directory = self._index, self._index.directory
        decoded = self._decoded(codes)
        if not index.lossless and num_primary:
            raw = self._raw_rows(self._next_row - num_primary, num_primary)
            worst = float(np.linalg.norm(raw - decoded[:num_primary], axis=1).max())
            if worst > directory.code_error * (1 + _ROUNDING) + 1e-6:
                yield self._of_list(
                    number, f"a code is {worst:.6g} from its vector, expected at most {directory.code_error:.6g}"
                )
        if directory.radius.size:
            centroid = int(np.searchsorted(directory.first_list, number, side="right")) - 1
            center = self._center(centroid)
            farthest = float(np.linalg.norm(decoded - center, axis=1).max())
            bound = float(directory.radius[centroid])
            if farthest > (bound + directory.code_error) * (1 + _ROUNDING) + 1e-6:
                yield self._of_list(number, f"an entry is {farthest:.6g} from the centroid, its radius is {bound:.6g}")

    def _decoded(self, codes: UInt8Array) -> npt.NDArray[np.float32]:
        spec, directory = self._index.spec, self._index.directory
        if self._index.lossless:
            return as_float32(np.ascontiguousarray(codes).view(spec.dtype))
        return directory.lower + directory.step * codes.astype(np.float32)

    def _raw_rows(self, first: int, count: int) -> npt.NDArray[np.float32]:
        spec = self._index.spec
        data = self._index.file("vectors.blk").read(first * spec.row_bytes, count * spec.row_bytes)
        return as_float32(data.view(spec.dtype).reshape(count, spec.dim))

    def _center(self, centroid: int) -> npt.NDArray[np.float32]:
        dtype = np.dtype(self._index.spec.centroid_dtype)
        width = dtype.itemsize * self._index.spec.dim
        return as_float32(self._centroids.read(centroid * width, width).view(dtype))

    def _of_list(self, number: int, text: str) -> Problem:
        return _problem("postings.blk", self.block_of(number), f"list {number}: {text}")


def _id_problems(index: Index, runs: SortedRuns, walk: _Walk, progress: Callable[[float], object]) -> Iterator[Problem]:
    """Yield ids that occur twice or are missing, and copies that disagree with their primaries."""
    numbered = bool(index.properties.get("numbered_ids", index.spec.id_type == "string"))
    for part in range(runs.num_partitions):
        ids, rows, lists, copy, hashes = runs.read(part)
        order = np.lexsort((copy, ids))
        ids, rows, lists, copy, hashes = (column[order] for column in (ids, rows, lists, copy, hashes))
        is_primary = copy == 0

        def of_entry(kind: str, wrong: Any, ids: Int64Array = ids, lists: AnyArray = lists) -> Iterator[Problem]:
            for entry in np.flatnonzero(wrong).tolist():
                number = int(lists[entry])
                text = f"list {number}: id {ids[entry]}: {kind}"
                yield _problem("postings.blk", walk.block_of(number), text)

        same_as_before = np.concatenate([[False], ids[1:] == ids[:-1]]) if len(ids) else np.empty(0, bool)
        yield from of_entry("primary in two places", is_primary & same_as_before)
        # The first entry of each id is its primary, when it has one.
        leader = np.maximum.accumulate(np.where(same_as_before, 0, np.arange(len(ids)))) if len(ids) else ids
        yield from of_entry("a copy without a primary", ~is_primary & ~is_primary[leader])
        led = ~is_primary & is_primary[leader]
        yield from of_entry("a copy that names another row", led & (rows >= 0) & (rows != rows[leader]))
        yield from of_entry("a copy with another code", led & (hashes != hashes[leader]))
        if numbered:
            yield from _missing_ids(ids[is_primary], part, runs.num_partitions, index.num_rows)
        progress((part + 1) / runs.num_partitions)


def _missing_ids(found: Int64Array, part: int, num_parts: int, num_rows: int) -> Iterator[Problem]:
    expected = np.arange(part, num_rows, num_parts, dtype=np.int64)
    if np.array_equal(found, expected):
        return
    for id in np.setdiff1d(expected, found).tolist():
        yield _problem("postings.blk", None, f"id {id}: no list holds it")
    for id in np.setdiff1d(found, expected).tolist():
        yield _problem("postings.blk", None, f"id {id}: vectors were numbered 0 to {num_rows - 1}")


def _string_problems(file: StoredFile, num_strings: int) -> Iterator[Problem]:
    """Offsets of text that begin at 0, go forward, and end with the file."""
    text_bytes = file.payload_bytes - 8 * (num_strings + 1)
    previous = 0
    for first in range(0, num_strings + 1, _CHUNK_BYTES // 8):
        count = min(_CHUNK_BYTES // 8, num_strings + 1 - first)
        offsets = file.read(first * 8, count * 8).view(np.uint64)
        ordered = np.concatenate([np.array([previous], np.uint64), offsets])
        if (ordered[1:] < ordered[:-1]).any() or (first == 0 and offsets[0]) or int(offsets[-1]) > text_bytes:
            yield _problem("strings.blk", 1 + first * 8 // _BLOCK_BYTES, "offsets of text do not go forward")
            return
        previous = int(offsets[-1])
    if previous != text_bytes:
        yield _problem("strings.blk", None, f"{text_bytes} bytes of text, the offsets end at {previous}")


def _hash_factors(code_bytes: int) -> npt.NDArray[np.uint64]:
    random = np.random.default_rng(0)
    odd: npt.NDArray[np.uint64] = random.integers(0, 1 << 63, -(-code_bytes // 8), dtype=np.uint64) * 2 + 1
    return odd


def _hashes(codes: UInt8Array, factors: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a hash of each code, uint64 [n]: equal codes are equal, others almost never."""
    width = len(factors) * 8
    if codes.shape[1] != width or codes.ctypes.data % 8:
        padded = np.zeros((len(codes), width), np.uint8)
        padded[:, : codes.shape[1]] = codes
        codes = padded
    hashes: npt.NDArray[np.uint64] = (np.ascontiguousarray(codes).view(np.uint64) * factors).sum(axis=1)
    return hashes


def _problem(file: str, block: int | None, text: str) -> Problem:
    where = file if block is None else f"{file}: block {block}"
    return Problem(file, block, f"{where}: {text}")


def _first_of_each_kind(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Yield the first problems of each kind, told apart by their words without numbers, and how many more there are."""

    def kind(problem: Problem) -> str:
        return "".join(character for character in problem.text if not character.isdigit())

    counts: dict[str, int] = {}
    files: dict[str, str] = {}
    for problem in problems:
        name = kind(problem)
        counts[name] = counts.get(name, 0) + 1
        files[name] = problem.file
        if counts[name] <= _MOST_OF_A_KIND:
            yield problem
    for name, count in counts.items():
        if count > _MOST_OF_A_KIND:
            yield Problem(files[name], None, f"{files[name]}: {count - _MOST_OF_A_KIND} more like the last ones")
