"""Building a collection from vectors that are here."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from outcrop.client.job import UPLOAD_SHARE, Control
from outcrop.client.rpcs import indexes
from outcrop.client.rpcs.collections import Found
from outcrop.client.script import Script
from outcrop.client.uploaded_job import uploaded_job
from outcrop.client.uploading import Uploaded, common_id, identity, once, whole
from outcrop.types import (
    AnyArray,
    BuildOptions,
    Int64Array,
    Manifest,
    Progress,
    VectorSource,
    as_vector_source,
    check_source,
    check_strings,
    checked_batches,
    checked_ids,
    parse_bytes,
)

_READ_BYTES = 4 << 20


class Input:
    """Vectors and ids that have been looked at as far as is possible without reading them."""

    def __init__(self, found: Found, vectors: Any, ids: Any) -> None:
        """Raises InvalidArgument, as an embedded build does."""
        spec = found.info.spec
        source = as_vector_source(vectors)
        self._texts = check_strings(ids) if spec.id_type == "string" else None
        if source is not None:
            check_source(spec, source, self._texts)
        self._source, self._vectors = source, vectors
        self._ids: Int64Array | None = None
        if ids is not None and self._texts is None:
            self._ids = checked_ids(ids, len(ids) if source is None else source.num_rows)

    @property
    def num_rows(self) -> int | None:
        """How many vectors there are; None when nobody knows yet."""
        return None if self._source is None else self._source.num_rows

    def identity(self) -> list[str | None] | None:
        """Return texts that change when the input does, or None where nothing tells. Reads arrays that are in
        memory."""
        vectors = None if self._source is None else identity(self._source)
        if self._source is None or vectors is None:
            return None
        shape = f"{self._source.num_rows} {self._source.dim} {self._source.dtype}"
        ids = np.array(self._texts, object) if self._texts is not None else self._ids
        return [shape, vectors, None if ids is None else identity(ids)]

    def arrays(self) -> Iterator[Uploaded]:
        """Yield what is to be uploaded."""
        if self._texts is not None:
            encoded = [text.encode() for text in self._texts]
            ends = np.cumsum([0, *(len(text) for text in encoded)], dtype=np.int64)
            yield whole("id_offsets", ends)
            yield whole("id_bytes", np.frombuffer(b"".join(encoded), np.uint8))
        elif self._ids is not None:
            yield whole("ids", self._ids)
        if self._source is None:
            yield once("vectors", checked_batches(self._vectors))
        else:
            yield _source_rows(self._source)


def build_options(
    memory: str | int,
    search_memory: str | int | None,
    threads: int | None,
    code: str,
    num_centroids: int | None,
    copies: int | None,
    copy_rule: str | None,
    seed: int,
) -> BuildOptions:
    """Return the arguments of `Collection.build`. Raises InvalidArgument, ResourceExhausted."""
    return BuildOptions(
        memory_bytes=parse_bytes(memory),
        search_memory_bytes=None if search_memory is None else parse_bytes(search_memory),
        num_threads=threads or 1,
        code=code,
        num_centroids=num_centroids,
        copies=copies,
        copy_rule=copy_rule,
        seed=seed,
    )


def build(found: Found, given: Input, options: BuildOptions, threads: int | None, control: Control) -> Script[Manifest]:
    """Upload vectors and build from them. What an earlier call with the same input and options has left unfinished is
    gone on with."""
    known = given.identity()
    upload_id = common_id("vectors", [found.id, known] if known else [secrets.token_hex(16)])
    job_id = common_id("build", [upload_id, _options_text(options)])
    manifest: Manifest = yield from uploaded_job(
        upload_id,
        job_id,
        given.arrays,
        _told(given.num_rows, control),
        lambda job_id: indexes.build(found.info.name, upload_id, job_id, options, threads),
        control,
    )
    return manifest


def _told(num_rows: int | None, control: Control) -> Any:
    """Nobody knows how long an iterable is; so its progress tells rows instead. Ids are small beside vectors."""

    def told(array: str, rows: int) -> None:
        if array != "vectors":
            rows = 0
        part = 0.0 if num_rows is None else min(1.0, rows / num_rows)
        stage = "upload" if num_rows is not None else f"upload of {rows} rows"
        control.report(Progress(stage, UPLOAD_SHARE * part, None))

    return told


def _source_rows(source: VectorSource) -> Uploaded:
    rows = max(1, _READ_BYTES // max(1, source.dim * source.dtype.itemsize))

    def batches(first_row: int) -> Iterable[AnyArray]:
        for start in range(first_row, source.num_rows, rows):
            yield source.read(start, min(start + rows, source.num_rows))

    return Uploaded("vectors", batches, source.num_rows)


def _options_text(options: BuildOptions) -> list[str]:
    """All that decides what is built."""
    return [
        f"{field.name}={np.asarray(getattr(options, field.name)).tolist()}"
        for field in fields(options)
        if field.name != "num_threads"
    ]
