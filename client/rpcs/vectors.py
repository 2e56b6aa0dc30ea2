"""Searching the vectors of a collection, counting them, taking them out."""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.client.rpc import Feed, Rpc
from outcrop.errors import InvalidArgument, OutcropError
from outcrop.proto.tensors import from_ids, from_tensor, to_tensor
from outcrop.types import AnyArray, CollectionSpec, Neighbors, SearchUsage, check_count, check_k, check_rows
from outcrop.v1 import vector_pb2 as pb

# A server takes 16,384 queries in one call, and 16 MiB in one message, unless its settings say less.
_MOST_QUERIES = 16_384
_MOST_BYTES = 8 << 20
# An id and a distance.
_NEIGHBOUR_BYTES = 12

Ids = npt.NDArray[np.int64] | npt.NDArray[np.object_]


def searches(
    collection: str,
    spec: CollectionSpec,
    queries: npt.ArrayLike,
    k: int,
    *,
    recall: float | None,
    nprobe: int | None,
    rerank: int | None,
    exact: bool,
    share_reads: bool,
) -> list[Rpc[Neighbors]]:
    """Ask for the nearest vectors of each query; arguments of None are left to the server. One call, or several where
    one message could not hold the queries or their neighbours: `joined` makes one of them. What the message could not
    say is refused here. Raises InvalidArgument."""
    check_k(k)
    rows = np.asarray(queries)
    rows = rows[None, :] if rows.ndim == 1 else rows
    check_rows(spec, rows, "queries")
    if rerank is not None:
        check_count("rerank", rerank, 0)
    if nprobe is not None:
        check_count("nprobe", nprobe, 1)
    if not (recall is None or isinstance(recall, int | float | np.number)):
        raise InvalidArgument(f"recall: expected above 0 and at most 1, found {recall!r}")
    asked: dict[str, Any] = {
        "collection": collection,
        "k": k,
        "recall": recall,
        "nprobe": nprobe,
        "rerank": rerank,
        "exact": exact,
        "separate_reads": not share_reads,
    }
    most = _most_queries(rows, k)
    parts = [rows[start : start + most] for start in range(0, max(1, len(rows)), most)]
    return [Rpc(pb.SearchRequest(**asked, queries=to_tensor(part)), _neighbors) for part in parts]


def joined(parts: list[Neighbors]) -> Neighbors:
    """Return the answers to one search that was made in several calls."""
    if len(parts) == 1:
        return parts[0]
    sums = {field.name: sum(getattr(part.usage, field.name) for part in parts) for field in fields(SearchUsage)}
    return Neighbors(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        SearchUsage(**sums),
        all(part.exact_distances for part in parts),
        np.concatenate([part.latency_us for part in parts]),
    )


def _most_queries(rows: AnyArray, k: int) -> int:
    """How many queries one call may have: fewer than a server's limits, with room for text ids."""
    return max(1, min(_MOST_QUERIES, _MOST_BYTES // max(1, rows[:1].nbytes), _MOST_BYTES // (k * _NEIGHBOUR_BYTES)))


def count(collection: str) -> Rpc[int]:
    """Ask how many vectors there are."""
    return Rpc(pb.CountRequest(collection=collection), lambda response: int(response.count))


class Export(Feed[tuple[Ids, AnyArray]]):
    """All vectors of one version: (ids, vectors) as they are stored."""

    def __init__(self, collection: str, spec: CollectionSpec, start_row: int, version: int | None) -> None:
        self.version = version
        self.num_rows: int | None = None
        self._collection, self._spec, self._row = collection, spec, start_row

    @property
    def complete(self) -> bool:
        """Whether the last row has come."""
        return self.num_rows is not None and self._row >= self.num_rows

    def request(self) -> pb.ExportRequest:
        """Return what is left, of the version that was begun with."""
        return pb.ExportRequest(collection=self._collection, start_row=self._row, version=self.version)

    def read(self, response: pb.ExportResponse) -> tuple[Ids, AnyArray]:
        """Return the rows of a message; the first one has none."""
        self.version, self.num_rows = response.version, response.num_rows
        if not response.HasField("vectors"):
            none = np.empty(0, np.int64 if self._spec.id_type == "int64" else object)
            return none, np.empty((0, self._spec.dim), self._spec.dtype)
        if response.start_row != self._row:
            raise OutcropError(f"export: expected row {self._row}, found {response.start_row}")
        vectors = from_tensor(response.vectors, "vectors")
        self._row += len(vectors)
        return from_ids(response.ids, (len(vectors),)), vectors

    def end(self) -> None:
        """Raise unless the last row has come."""
        if not self.complete:
            raise OutcropError(f"export: ended before row {self._row} of {self.num_rows}")


def _neighbors(response: pb.SearchResponse) -> Neighbors:
    """Arrays of a message are read-only views; callers own theirs."""
    distances = from_tensor(response.distances, "distances")
    return Neighbors(
        from_ids(response.ids, distances.shape).copy(),
        distances.copy(),
        _usage(response.usage),
        response.exact_distances,
        from_tensor(response.latency_us, "latency_us").copy(),
    )


def _usage(usage: Any) -> SearchUsage:
    return SearchUsage(
        queries=usage.queries,
        reads=usage.reads,
        bytes=usage.bytes,
        lists=usage.lists,
        cache_hits=usage.cache_hits,
        skipped=usage.skipped,
        distances=usage.distances,
        reranked=usage.reranked,
        waves=usage.waves,
        device_us=usage.device_us,
        centroid_us=usage.centroid_us,
        elapsed_us=usage.elapsed_us,
    )
