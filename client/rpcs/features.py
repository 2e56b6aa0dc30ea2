"""Feature tables: what they are, and their rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from outcrop.client.rpc import Feed, Rpc
from outcrop.errors import NotFound, OutcropError
from outcrop.proto.chunks import Chunk
from outcrop.proto.documents import from_document
from outcrop.proto.tensors import from_tensor, numpy_dtype, to_tensor
from outcrop.types import KINDS, AnyArray, FeatureStatistics, Int64Array, UInt8Array, row_ids, row_output, row_ranges
from outcrop.v1 import feature_pb2 as pb
from outcrop.v1.job_pb2 import Job

# Above it a stream of chunks is faster than one message.
_SMALL_BYTES = 256 << 10
# In one message: 4 MiB of them.
_MOST_IDS = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A version of a feature table, as the server tells it; see `FeatureTable`."""

    name: str
    id: str
    version: int
    num_rows: int
    row_shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    logical_dtype: str
    codec: str
    row_bytes: int
    disk_bytes: int


def get(name: str) -> Rpc[FoundTable]:
    """Find a table by its name; `read` raises NotFound before its first import has ended."""
    return Rpc(pb.GetFeaturesRequest(name=name), lambda response: _found(response.table))


def names() -> Rpc[list[str]]:
    """List all that the key may see."""
    return Rpc(pb.ListFeaturesRequest(), lambda response: [table.name for table in response.tables])


def drop(name: str) -> Rpc[None]:
    """Remove a table."""
    return Rpc(pb.DeleteFeaturesRequest(name=name), lambda _: None)


def read(table: FoundTable, ids: Int64Array, coded: bool) -> Rpc[AnyArray]:
    """Ask for a few rows in one message; the answer is a view of it."""
    request = pb.ReadFeaturesRequest(
        name=table.name, id=table.id, version=table.version, coded=coded, ids=to_tensor(_short(ids))
    )
    return Rpc(request, lambda response: from_tensor(response.rows, "rows"))


def import_features(
    name: str, upload_id: str, job_id: str, codec: str, memory_bytes: int, logical_dtype: str
) -> Rpc[Job]:
    """Store uploaded rows."""
    request = pb.ImportFeaturesRequest(
        name=name,
        upload_id=upload_id,
        job_id=job_id,
        codec=codec,
        memory_bytes=memory_bytes,
        logical_dtype=logical_dtype,
    )
    return Rpc(request, lambda response: response.job)


def statistics(name: str) -> Rpc[FeatureStatistics]:
    """Ask what was read of a table since it was opened."""
    return Rpc(
        pb.GetFeaturesRequest(name=name), lambda response: from_document(response.table.statistics, FeatureStatistics)
    )


class RowsFeed(Feed[None]):
    """Rows into an array, in chunks. What has come whole is not asked for again."""

    def __init__(self, table: FoundTable, ids: Int64Array, coded: bool, out: UInt8Array) -> None:
        """out: uint8 [n * row_bytes], filled as rows come."""
        self._table, self._ids, self._coded, self._out = table, ids, coded, out
        self._row_bytes = out.size // max(1, len(ids))
        self._filled = 0

    @property
    def complete(self) -> bool:
        """Whether all rows have come."""
        return self._filled == self._out.size

    def request(self) -> pb.StreamFeaturesRequest:
        """Return the rows that have not come whole."""
        done = self._filled // max(1, self._row_bytes)
        self._filled = done * self._row_bytes
        table = self._table
        return pb.StreamFeaturesRequest(
            name=table.name,
            id=table.id,
            version=table.version,
            coded=self._coded,
            ids=to_tensor(_short(self._ids[done:])),
        )

    def read(self, response: "Chunk[pb.StreamFeaturesResponse]") -> None:
        """Copy the rows of a message to their place."""
        end = self._filled + response.data.nbytes
        if end > self._out.size:
            raise OutcropError(f"rows of {self._table.name}: {end} bytes came, expected {self._out.size}")
        self._out[self._filled : end] = response.data
        self._filled = end

    def end(self) -> None:
        """Raise unless all rows have come."""
        if not self.complete:
            raise OutcropError(f"rows of {self._table.name}: {self._filled} bytes came, expected {self._out.size}")


class RowsWanted:
    """One fetch: which rows, and the array that they go to."""

    def __init__(self, table: FoundTable, ids: Any, out: AnyArray | None, decode: bool) -> None:
        """Check what the caller gave. Raises InvalidArgument as the embedded table does."""
        self.ids = row_ids(ids, table.num_rows)
        shape = (len(self.ids), *(table.row_shape if decode else (table.row_bytes,)))
        dtype = table.dtype if decode else np.dtype(np.uint8)
        self.out = np.empty(shape, dtype) if out is None else row_output(out, shape, dtype)
        self._table, self._coded = table, not decode

    @property
    def size_bytes(self) -> int:
        """Of the rows."""
        return self.out.nbytes

    @property
    def is_small(self) -> bool:
        """Whether one message is the best way for them."""
        return self.size_bytes <= _SMALL_BYTES and len(self.ids) <= _MOST_IDS

    def fill(self, rows: AnyArray) -> None:
        """Take all rows. Raises OutcropError where the server has sent something else."""
        if rows.shape != self.out.shape or rows.dtype != self.out.dtype:
            raise OutcropError(
                f"rows of {self._table.name}: expected {self.out.dtype} {list(self.out.shape)}, found {rows.dtype} "
                f"{list(rows.shape)}"
            )
        self.out[...] = rows

    def feeds(self) -> Iterator[RowsFeed]:
        """Yield the streams that bring them: ids fit in a message, whose length is limited."""
        data = self.out.reshape(len(self.ids), -1).view(np.uint8)
        for start, stop in row_ranges(len(self.ids), _MOST_IDS):
            yield RowsFeed(self._table, self.ids[start:stop], self._coded, data[start:stop].reshape(-1))


def _short(ids: Int64Array) -> AnyArray:
    """Ids are below 2^32, since rows are counted so; half the bytes to send."""
    return ids.astype(np.uint32)


def _found(table: pb.FeatureTable) -> FoundTable:
    if not table.HasField("version"):
        raise NotFound(f"{KINDS['features']} {table.name!r} has no version yet")
    return FoundTable(
        table.name,
        table.id,
        table.version,
        table.num_rows,
        tuple(table.row_shape),
        numpy_dtype(table.dtype),
        table.logical_dtype,
        table.codec,
        table.row_bytes,
        table.disk_bytes,
    )
