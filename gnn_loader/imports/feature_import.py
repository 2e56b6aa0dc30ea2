"""Rows of any source become a version of a feature table, in one pass and bounded memory.

While one batch is encoded in a second thread, the next is read from the source and the one before written. A killed or
cancelled import resumes behind its last checkpoint.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from outcrop.errors import Cancelled, InvalidArgument
from outcrop.gnn_loader.codecs import RowCodec, make_codec
from outcrop.gnn_loader.features import ROWS
from outcrop.gnn_loader.imports.identity import MOST_NODES
from outcrop.store import BlockWriter, FileEntry, Manifest, VersionWriter
from outcrop.types import AnyArray, Progress, RowSource, UInt8Array, row_ranges

# A batch as the source gives it, as float32 and as stored bytes, three times over (read, encoded, written).
_COPIES = 9
_LARGEST_BATCH_BYTES = 8 << 20
# Between checkpoints: a second of work, and the table of checksums grows by 1 MiB.
_CHECKPOINT_BYTES = 1 << 30


def import_features(
    writer: VersionWriter,
    source: RowSource,
    codec: str,
    memory_bytes: int,
    report: Callable[[Progress], None],
    checkpoint_bytes: int | None = None,
) -> Manifest:
    """Write all rows of `source` by the codec (`codecs.CODECS`) and commit.

    memory_bytes: for batches of rows; one row and its copies must fit. report: may raise to stop; what is behind the
    last checkpoint is kept if the writer has a job id. checkpoint_bytes: stored from one to the next, 1 GiB by default.
    Raises InvalidArgument for a source that is not what it says, or a row that the codec cannot hold.
    """
    logical_dtype = getattr(source, "logical_dtype", None)
    kept = make_codec(codec, tuple(source.row_shape), source.dtype, logical_dtype)
    if source.num_rows > MOST_NODES:
        raise InvalidArgument(f"rows: expected at most {MOST_NODES}, found {source.num_rows}")
    rows = _RowFile(writer, kept, source.num_rows, checkpoint_bytes or _CHECKPOINT_BYTES)
    entry = rows.write(source, logical_dtype, _batch_rows(source, kept, memory_bytes), report)
    report(Progress("commit", 1.0, None))
    return writer.commit([entry], {"num_rows": source.num_rows, **kept.to_json()})


def _batch_rows(source: RowSource, codec: RowCodec, memory_bytes: int) -> int:
    row_bytes = max(codec.row_bytes, source.dtype.itemsize * codec.num_items, 4 * codec.num_items)
    if row_bytes * _COPIES > memory_bytes:
        raise InvalidArgument(
            f"memory: a row of {codec.num_items} items takes {row_bytes * _COPIES} bytes with its copies, found "
            f"{memory_bytes}"
        )
    return max(1, min(_LARGEST_BATCH_BYTES, memory_bytes // _COPIES) // row_bytes)


class _RowFile:
    """rows.blk in the making."""

    def __init__(self, writer: VersionWriter, codec: RowCodec, num_rows: int, checkpoint_bytes: int) -> None:
        self._writer = writer
        self._codec = codec
        self._num_rows = num_rows
        self._checkpoint_bytes = checkpoint_bytes
        self._checksums = writer.scratch / "rows.sums"

    def write(
        self, source: RowSource, logical_dtype: str | None, batch_rows: int, report: Callable[[Progress], None]
    ) -> FileEntry:
        file, saved = self._open(self._writer.folder / ROWS)
        row_bytes = self._codec.row_bytes
        first_row, skipped = divmod(saved, row_bytes)
        try:
            with closing(self._encoded(source, logical_dtype, first_row, batch_rows)) as batches:
                for stop, coded in batches:
                    file.append(coded.reshape(-1)[skipped:])
                    skipped = 0
                    if file.payload_bytes - saved >= self._checkpoint_bytes:
                        saved = self._save(file)
                    report(Progress("rows", 0.99 * stop / self._num_rows, None))
            assert file.payload_bytes == self._num_rows * row_bytes
            return file.finish()
        except Cancelled:
            self._save(file)
            raise
        finally:
            file.keep()

    def _save(self, file: BlockWriter) -> int:
        """Note what is written, if there is a job to be resumed; return its bytes, of which the last few are not."""
        if self._writer.job_id is None:
            return file.payload_bytes
        saved = file.checkpoint(self._checksums)
        self._writer.save_state({"payload_bytes": saved})
        return saved

    def _open(self, path: Path) -> tuple[BlockWriter, int]:
        saved = self._writer.load_state().get("payload_bytes", 0) if self._writer.job_id is not None else 0
        if not saved:
            return BlockWriter(path, "rows"), 0
        return BlockWriter.resumed(path, "rows", self._checksums, saved), saved

    def _encoded(
        self, source: RowSource, logical_dtype: str | None, first_row: int, batch_rows: int
    ) -> Generator[tuple[int, UInt8Array], None, None]:
        """Yield (stop, stored bytes) of consecutive batches, one ahead."""

        def encode(rows: AnyArray, start: int) -> tuple[int, UInt8Array]:
            return start + len(rows), self._codec.encode(rows, start, logical_dtype)

        with ThreadPoolExecutor(1, "outcrop-encode") as pool:
            ahead = None
            for start, stop in row_ranges(self._num_rows - first_row, batch_rows):
                rows = self._read(source, first_row + start, first_row + stop)
                following = pool.submit(encode, rows, first_row + start)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()

    def _read(self, source: RowSource, start: int, stop: int) -> AnyArray:
        rows = source.read(start, stop)
        if rows.shape != (stop - start, *self._codec.row_shape) or rows.dtype != source.dtype:
            raise InvalidArgument(
                f"rows {start} to {stop}: expected {source.dtype} {[stop - start, *self._codec.row_shape]}, the source "
                f"gave {rows.dtype} {list(rows.shape)}"
            )
        return rows
