"""Lay the lists out, distribute the entries to groups of lists, and pack them.

The number of entries of every list is known after the assignment, and with it the place of every list and row. Entries
then go to groups of lists that fit in memory (an external sort), and each group is packed and appended: one sequential
write.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.ann.build.assignment_file import AssignmentFile
from outcrop.ann.build.options import Sizes
from outcrop.ann.build.scan import Tick
from outcrop.ann.codes import Code
from outcrop.store import BlockWriter, Field, FileEntry, SortedRuns
from outcrop.types import AnyArray, CollectionSpec, Int32Array, Int64Array, UInt8Array

# Vectors taken at once. What is distributed is marked at the end of such a batch, and goes on there when resumed.
BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes. Per centroid: primary, copies, first_row, first_list (one more). Per list: the rest."""

    primary: Int64Array
    copies: Int64Array
    first_row: Int64Array
    first_list: npt.NDArray[np.uint32]
    list_entries: npt.NDArray[np.uint32]
    list_primary: npt.NDArray[np.uint32]
    list_first_row: npt.NDArray[np.uint64]
    list_offsets: npt.NDArray[np.uint64]
    group_of_list: npt.NDArray[np.int32]
    max_list_entries: int

    @property
    def num_groups(self) -> int:
        """Groups of consecutive lists that are packed together."""
        return int(self.group_of_list[-1]) + 1


def lay_out(primary: Int64Array, copies: Int64Array, sizes: Sizes) -> Layout:
    """Return the layout that follows from the entries of each centroid."""
    most = sizes.max_list_entries
    entries = primary + copies
    pieces = np.maximum(1, -(-entries // most))
    first_list = np.concatenate([[0], np.cumsum(pieces)])
    owner = np.repeat(np.arange(len(primary)), pieces)
    before = (np.arange(first_list[-1]) - first_list[owner]) * most
    list_entries = np.minimum(entries[owner] - before, most)
    list_primary = np.clip(primary[owner] - before, 0, list_entries)
    first_row = np.concatenate([[0], np.cumsum(primary)])[:-1]
    lengths = native.list_lengths(
        sizes.code_bytes,
        sizes.id_bytes,
        sizes.row_bytes,
        list_entries.astype(np.uint32),
        list_primary.astype(np.uint32),
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    groups = (offsets[:-1] // max(1, sizes.chunk_bytes // 2)).astype(np.int64)
    _, group_of_list = np.unique(groups, return_inverse=True)
    return Layout(
        primary,
        copies,
        first_row,
        first_list.astype(np.uint32),
        list_entries.astype(np.uint32),
        list_primary.astype(np.uint32),
        (first_row[owner] + np.minimum(primary[owner], before)).astype(np.uint64),
        offsets,
        group_of_list.astype(np.int32),
        most,
    )


def entry_runs(folder: Path, sizes: Sizes, layout: Layout) -> SortedRuns:
    """Return the files that entries are distributed to, one partition per group of lists."""
    fields = [
        Field("list", "uint32"),
        Field("copy", "uint8"),
        Field("id", "int64"),
        Field("code", "uint8", sizes.code_bytes),
    ]
    fields += [Field("row", "uint64")] if sizes.row_bytes else []
    return SortedRuns(folder / "entries", fields, layout.num_groups, sizes.chunk_bytes // 2)


def scatter_entries(
    runs: SortedRuns, assignment: AssignmentFile, layout: Layout, code: Code, out: SortedRuns, sizes: Sizes, tick: Tick
) -> None:
    """Distribute an entry for each vector and each of its centroids. Goes on behind the last chunk written."""
    mark = out.mark or {"position": 0, "code_error": 0.0}
    code.error = max(code.error, mark["code_error"])
    primary, copies = assignment.counts(0, mark["position"], len(layout.primary))
    places = _Places(layout, primary, copies)
    position = 0
    for bucket in range(runs.num_partitions):
        for ids, rows in runs.batches(bucket, BATCH_ROWS):
            start, position = position, position + len(ids)
            if position > mark["position"]:
                assert start >= mark["position"], "a chunk ends with a batch"
                columns = _entries(assignment.read(start, position), ids, code.encode(rows), places, sizes)
                out.append(layout.group_of_list[columns[0]], columns, {"position": position, "code_error": code.error})
            tick(position / assignment.num_rows)
    out.flush()


def _entries(chosen: Int32Array, ids: Int64Array, codes: UInt8Array, places: "_Places", sizes: Sizes) -> list[AnyArray]:
    """Return the columns of `entry_runs` for a batch of vectors."""
    row, primary_list = places.next_primary(chosen[:, 0])
    which, column = np.nonzero(chosen[:, 1:] >= 0)
    copy_list = places.next_copy(chosen[which, column + 1])
    every = np.concatenate([np.arange(len(ids)), which])
    columns: list[AnyArray] = [
        np.concatenate([primary_list, copy_list]).astype(np.uint32),
        np.repeat(np.array([0, 1], np.uint8), [len(ids), len(which)]),
        ids[every],
        codes[every],
    ]
    return columns + ([row[every].astype(np.uint64)] if sizes.row_bytes else [])


class _Places:
    """Hands out the next places in each centroid, to vectors in bucket order: first come the primaries, then the
    copies."""

    def __init__(self, layout: Layout, primary: Int64Array, copies: Int64Array) -> None:
        """primary, copies: int64 [num_centroids], how many places are taken already."""
        self._layout = layout
        self._primary = primary
        self._copies = layout.primary + copies

    def next_primary(self, centroids: Int32Array) -> tuple[Int64Array, Int64Array]:
        """Return (row, list) of the next primary entry in each of the centroids."""
        place = _next_places(self._primary, centroids)
        return self._layout.first_row[centroids] + place, self._list_of(centroids, place)

    def next_copy(self, centroids: Int32Array) -> Int64Array:
        """Return the list of the next copy in each of the centroids."""
        return self._list_of(centroids, _next_places(self._copies, centroids))

    def _list_of(self, centroids: Int32Array, place: Int64Array) -> Int64Array:
        return self._layout.first_list[centroids].astype(np.int64) + place // self._layout.max_list_entries


def _next_places(taken: Int64Array, centroids: Int32Array) -> Int64Array:
    """Return taken[c] and count it up, for each c of `centroids` in turn."""
    if not len(centroids):
        return np.empty(0, np.int64)
    order = np.argsort(centroids, kind="stable")
    ordered = centroids[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(begins, len(ordered)))
    places = np.empty(len(centroids), np.int64)
    places[order] = np.arange(len(ordered)) - np.repeat(begins, lengths) + taken[ordered]
    taken[ordered[begins]] += lengths
    return places


def pack_postings(entries: SortedRuns, layout: Layout, sizes: Sizes, path: Path, tick: Tick) -> FileEntry:
    """Write postings.blk, group after group."""
    bounds = np.searchsorted(layout.group_of_list, np.arange(layout.num_groups + 1))
    with BlockWriter(path, "postings") as writer:
        for group in range(layout.num_groups):
            writer.append(_packed_group(entries.read(group), layout, sizes, int(bounds[group]), int(bounds[group + 1])))
            tick((group + 1) / layout.num_groups)
        assert writer.payload_bytes == layout.list_offsets[-1]
        return writer.finish()


def _packed_group(columns: list[AnyArray], layout: Layout, sizes: Sizes, first: int, last: int) -> UInt8Array:
    lists, copy, ids, codes = columns[:4]
    order = np.argsort(lists.astype(np.int64) * 2 + copy, kind="stable")
    counts = np.bincount(lists - np.uint32(first), minlength=last - first)
    assert np.array_equal(counts, layout.list_entries[first:last]), "every entry went to its list"
    rows = columns[4][order] if sizes.row_bytes else np.empty(0, np.uint64)
    out = np.empty(int(layout.list_offsets[last] - layout.list_offsets[first]), np.uint8)
    native.pack_lists(
        sizes.id_bytes,
        sizes.row_bytes,
        first,
        layout.list_entries[first:last],
        layout.list_primary[first:last],
        layout.list_first_row[first:last],
        codes[order],
        ids[order],
        rows,
        out,
    )
    return out


def row_runs(folder: Path, spec: CollectionSpec, sizes: Sizes, num_rows: int) -> SortedRuns:
    """Return the files that raw vectors are distributed to, one partition per range of rows."""
    fields = [Field("row", "int64"), Field("id", "int64"), Field("vector", spec.dtype, spec.dim)]
    num_ranges = -(-num_rows // _rows_per_range(spec, sizes))
    return SortedRuns(folder / "rows", fields, num_ranges, sizes.chunk_bytes // 2)


def scatter_rows(
    runs: SortedRuns,
    assignment: AssignmentFile,
    layout: Layout,
    out: SortedRuns,
    spec: CollectionSpec,
    sizes: Sizes,
    tick: Tick,
) -> None:
    """Distribute every vector to its row. Goes on behind the last chunk written."""
    mark = int(out.mark or 0)
    primary, copies = assignment.counts(0, mark, len(layout.primary))
    places = _Places(layout, primary, copies)
    position = 0
    for bucket in range(runs.num_partitions):
        for ids, rows in runs.batches(bucket, BATCH_ROWS):
            start, position = position, position + len(ids)
            if position > mark:
                row, _ = places.next_primary(assignment.read(start, position)[:, 0])
                out.append(row // _rows_per_range(spec, sizes), [row, ids, rows], position)
            tick(position / assignment.num_rows)
    out.flush()


def pack_rows(rows: SortedRuns, vectors_path: Path, ids_path: Path, tick: Tick) -> list[FileEntry]:
    """Write vectors.blk and row_ids.blk, in row order."""
    with BlockWriter(vectors_path, "vectors") as vectors, BlockWriter(ids_path, "row_ids") as row_ids:
        for part in range(rows.num_partitions):
            row, ids, values = rows.read(part)
            order = np.argsort(row, kind="stable")
            vectors.append(np.ascontiguousarray(values[order]))
            row_ids.append(np.ascontiguousarray(ids[order]))
            tick((part + 1) / rows.num_partitions)
        return [vectors.finish(), row_ids.finish()]


def _rows_per_range(spec: CollectionSpec, sizes: Sizes) -> int:
    return max(1, sizes.chunk_bytes // 2 // (spec.row_bytes + 16))
