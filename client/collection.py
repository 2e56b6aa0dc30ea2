"""A collection of vectors that a server holds."""

import numpy as np
import numpy.typing as npt

from outcrop.client.channel import Channel
from outcrop.client.rpcs import collections, vectors
from outcrop.client.rpcs.collections import Found
from outcrop.stop import Stop
from outcrop.types import CollectionInfo, CollectionStatistics, Neighbors


class Collection:
    """Vectors of one dimension and metric, in a server. It opens, keeps and refreshes them, so nothing of that is
    here."""

    def __init__(self, channel: Channel, found: Found) -> None:
        """Use `Database.collection`."""
        self.name = found.info.name
        self.id = found.id
        self.spec = found.info.spec
        self._channel = channel

    def search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        *,
        recall: float | None = None,
        nprobe: int | None = None,
        rerank: int | None = None,
        exact: bool = False,
        share_reads: bool = True,
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> Neighbors:
        """As `outcrop.embedded.Collection.search`. timeout: by default that of the connection."""
        rpc = vectors.search(
            self.name,
            np.asarray(queries),
            k,
            recall=recall,
            nprobe=nprobe,
            rerank=rerank,
            exact=exact,
            share_reads=share_reads,
        )
        return self._channel.call(rpc, timeout, stop)

    def info(self) -> CollectionInfo:
        """Return what the collection is and holds now."""
        return self._channel.call(collections.get(self.name)).info

    def count(self) -> int:
        """Return how many vectors the current version holds."""
        return self._channel.call(vectors.count(self.name))

    def statistics(self) -> CollectionStatistics:
        """Return where the memory is, how the cache does, and what was read, in the process of the server that
        answers."""
        return self._channel.call(collections.statistics(self.name))
