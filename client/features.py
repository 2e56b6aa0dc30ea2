"""A feature table that a server holds."""

from typing import Any

import numpy as np

from outcrop.client.opened import Opened
from outcrop.client.rpcs import features
from outcrop.client.rpcs.features import FoundTable, RowsWanted
from outcrop.stop import Stop, check, stop_of
from outcrop.types import AnyArray, FeatureStatistics


class TableFace:
    """What a table is: the same for tables that block and for those that are awaited."""

    _found: FoundTable

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self._found.num_rows

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._found.row_shape

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Of the rows that `fetch` returns."""
        return self._found.dtype

    @property
    def logical_dtype(self) -> str:
        """What the rows mean: "bfloat16" where they come as uint16, else the name of `dtype`."""
        return self._found.logical_dtype

    @property
    def codec_name(self) -> str:
        """How rows are stored: raw, float32, float16, bfloat16 or int8."""
        return self._found.codec

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self._found.disk_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on the server's disk."""
        return self._found.row_bytes


class FeatureTable(TableFace, Opened):
    """A version of a feature table. For any number of threads. A version that was replaced can be read as long as the
    server has it open: about a minute after the last call that wanted it."""

    _kind = "feature table"

    def fetch(
        self,
        ids: Any,
        out: AnyArray | None = None,
        decode: bool = True,
        *,
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> AnyArray:
        """Return the rows of `ids`: an array [n, *row_shape] of `dtype`.

        ids, out, decode, timeout, stop: as `outcrop.gnn_loader.FeatureTable.fetch` has them. Many rows come as a stream
        of chunks, which go to their place as they come. Raises InvalidArgument, NotFound when the version is gone, and
        as the embedded one does.
        """
        self._check_open()
        within = stop_of(timeout, stop)
        check(within)
        wanted = RowsWanted(self._found, ids, out, decode)
        if wanted.is_small:
            if wanted.size_bytes:
                wanted.fill(self._channel.call(features.read(self._found, wanted.ids, not decode), timeout, stop))
            return wanted.out
        for feed in wanted.feeds():
            for _ in self._channel.stream(feed, stop=within):
                raise AssertionError("rows go to their place, not to the caller")
        return wanted.out

    def statistics(self) -> FeatureStatistics:
        """Return what was read of the current version, for all callers, since the server has opened it."""
        self._check_open()
        return self._channel.call(features.statistics(self.name))
