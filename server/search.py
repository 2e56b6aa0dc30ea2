"""Searches as the service does them: one message in, one out, and in between one call of the core for many of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument, OutcropError
from outcrop.proto.tensors import from_tensor, to_ids, to_tensor
from outcrop.server.engine import Engine
from outcrop.server.settings import Limits
from outcrop.stop import Stop
from outcrop.types import AnyArray, Neighbors, SearchUsage
from outcrop.v1 import vector_pb2 as pb

# What a neighbour takes in a response: its id and its distance.
_NEIGHBOUR_BYTES = 12
# What a response holds besides, at most.
_REST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SearchKey:
    """What searches have in common that become one call of the core. dtype: as the wire has it. dim: of the queries."""

    collection: str
    k: int
    recall: float | None
    nprobe: int | None
    rerank: int | None
    dtype: int
    dim: int


def search_key(request: pb.SearchRequest, queries: AnyArray) -> SearchKey:
    """Return what a request shares with others."""
    return SearchKey(
        request.collection,
        request.k,
        request.recall if request.HasField("recall") else None,
        request.nprobe if request.HasField("nprobe") else None,
        request.rerank if request.HasField("rerank") else None,
        request.queries.dtype,
        queries.shape[1],
    )


def queries_of(request: pb.SearchRequest, limits: Limits) -> AnyArray:
    """Return the queries of a request, [n, dim], read-only. Raises InvalidArgument for what passes a limit."""
    queries = from_tensor(request.queries, "queries")
    if queries.ndim == 1:
        queries = queries[None, :]
    if queries.ndim != 2:
        raise InvalidArgument(f"queries: expected shape [n, dim], found {list(queries.shape)}")
    if not 1 <= request.k <= limits.k:
        raise InvalidArgument(f"k: expected 1 to {limits.k}, found {request.k}")
    if len(queries) > limits.queries:
        raise InvalidArgument(
            f"queries: expected at most {limits.queries} in one call, found {len(queries)}; send them in several"
        )
    if len(queries) * (request.k * _NEIGHBOUR_BYTES + 4) + _REST_BYTES > limits.message:
        raise InvalidArgument(
            f"queries: {len(queries)} with {request.k} neighbours each do not fit in an answer of {limits.message} "
            "bytes; send them in several calls"
        )
    return queries


class Searcher:
    """Answers in threads: everything here blocks, and gives serialized messages back, so that the event loop has
    nothing left to do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def alone(self, request: pb.SearchRequest, queries: AnyArray, stop: Stop) -> bytes:
        """Return the SearchResponse to one request."""
        key = search_key(request, queries)
        found = self._search(key, queries, stop, exact=request.exact, share_reads=not request.separate_reads)
        return _response(found, 0)

    def together(self, key: SearchKey, several: Sequence[AnyArray], stop: Stop) -> Sequence[bytes | BaseException]:
        """Return the SearchResponse to each of several arrays of queries, or its error, by one call of the core.

        Raises what holds for all of them.
        """
        if len(several) == 1:
            return [_response(self._search(key, several[0], stop), 0)]
        if len(self._alike(key, several)) > 1:
            return self._one_by_one(key, several, stop)
        try:
            found = self._search(key, np.concatenate(several), stop)
        except InvalidArgument:
            # One of them is wrong, and only its caller is told so.
            return self._one_by_one(key, several, stop)
        return _responses(found, [len(queries) for queries in several])

    def _one_by_one(self, key: SearchKey, several: Sequence[AnyArray], stop: Stop) -> Sequence[bytes | BaseException]:
        answers: list[bytes | BaseException] = []
        for queries in several:
            try:
                answers.append(_response(self._search(key, queries, stop), 0))
            except OutcropError as error:
                answers.append(error)
        return answers

    def _alike(self, key: SearchKey, several: Sequence[AnyArray]) -> set[bool]:
        """Whether queries of a collection of bytes are bytes too: all, none, or only some of them.

        Those are compared in integers, the others in float32, which rounds; the answer must not depend on the company.
        """
        dtype = np.dtype(self._engine.collection(key.collection).spec.dtype)
        if dtype.kind == "f" or several[0].dtype == dtype:
            return {True}
        with np.errstate(invalid="ignore"):
            return {bool(np.array_equal(queries.astype(dtype), queries)) for queries in several}

    def _search(
        self, key: SearchKey, queries: AnyArray, stop: Stop, *, exact: bool = False, share_reads: bool = True
    ) -> Neighbors:
        return self._engine.collection(key.collection).search(
            queries,
            key.k,
            recall=key.recall,
            nprobe=key.nprobe,
            rerank=key.rerank,
            exact=exact,
            share_reads=share_reads,
            stop=stop,
        )


def _responses(found: Neighbors, counts: Sequence[int]) -> list[bytes]:
    """The answers to consecutive parts of the queries, each with its share of the usage."""
    ends = np.cumsum(counts)
    responses = []
    for count, end in zip(counts, ends.tolist(), strict=True):
        part = slice(end - count, end)
        usage = _share(found.usage, end - count, end)
        answer = Neighbors(found.ids[part], found.distances[part], usage, found.exact_distances, found.latency_us[part])
        responses.append(_response(answer, len(found) - count))
    return responses


def _share(usage: SearchUsage, begin: int, end: int) -> SearchUsage:
    """What queries begin to end have cost, taken that all cost the same. The shares of all add up to the whole."""
    total = usage.queries

    def shared(value: Any) -> Any:
        if isinstance(value, int):
            return value * end // total - value * begin // total
        return value * (end - begin) / total

    return SearchUsage(**{field.name: shared(getattr(usage, field.name)) for field in fields(usage)})


def _response(found: Neighbors, batched_with: int) -> bytes:
    message = pb.SearchResponse(
        ids=to_ids(found.ids),
        distances=to_tensor(found.distances),
        usage=usage_message(found.usage),
        exact_distances=found.exact_distances,
        latency_us=to_tensor(found.latency_us),
        batched_with=batched_with,
    )
    return message.SerializeToString()


def usage_message(usage: SearchUsage) -> pb.SearchUsage:
    """Return what a search has cost, as it travels."""
    return pb.SearchUsage(
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
