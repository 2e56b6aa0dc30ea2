"""A loader that runs on the server: minibatches come assembled, and ahead of their use."""

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from outcrop.client.channel import Channel
from outcrop.client.prefetch import Prefetch
from outcrop.client.rpcs.minibatches import MinibatchFeed, Received
from outcrop.client.rpcs.plans import FoundPlan
from outcrop.client.sequences import EvenSequence, PlannedSequence, Sequence
from outcrop.errors import InvalidArgument
from outcrop.proto.documents import from_document
from outcrop.stop import Stop, check
from outcrop.types import FreshStatistics, LoaderStatistics, Minibatch, OnlineStatistics, parse_bytes
from outcrop.v1.common_pb2 import Document

Statistics = TypeVar("Statistics")

# What a forked child inherited: threads and a connection of its parent.
_abandoned: list[Prefetch] = []


class ServedLoader(ABC, Generic[Statistics]):
    """Minibatches with features; an iteration is one epoch, or what is left of it. A context manager.

    Nothing is asked of the server before the first minibatch is wanted. A loader may be pickled or forked at any time:
    the other process has a stream of its own, from the same position on. For one caller at a time. A stream that breaks
    is taken up where it was. Minibatches are the caller's: their arrays are not used again.
    """

    def __init__(
        self,
        channel: Channel,
        request: Message,
        sequence: Sequence,
        *,
        prefetch: int = 2,
        prefetch_memory: int | str = "256MiB",
        own_channel: bool = False,
    ) -> None:
        """prefetch, prefetch_memory: minibatches that may wait here, beside the `slots` that the server has, and their
        bytes. own_channel: it is closed with the loader. Raises InvalidArgument."""
        if prefetch < 1:
            raise InvalidArgument(f"prefetch: expected at least 1, found {prefetch}")
        self._channel, self._request, self._sequence = channel, request, sequence
        self._own_channel = own_channel
        self._most, self._most_bytes = prefetch, parse_bytes(prefetch_memory)
        self._position = 0
        self._run: Prefetch | None = None
        self._document: Document | None = None

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        return self._position

    @property
    def left_in_epoch(self) -> int:
        """Minibatches of the epoch under way that are still to come; none behind the last one."""
        return self._sequence.left_in_epoch(self._position)

    def __len__(self) -> int:
        """Return the number of minibatches in the epoch under way."""
        return self._sequence.num_minibatches(self._position)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield what is left of the epoch under way. Raises as `next_minibatch` does."""
        end = self._position + self.left_in_epoch
        while self._position < end:
            yield self.next_minibatch()

    def next_minibatch(self, *, stop: Stop | None = None) -> Minibatch:
        """Wait for the next minibatch, of this epoch or the next.

        stop: ends the waiting, not the loader: the next call waits for the same minibatch.
        Raises DeadlineExceeded and Cancelled by it, InvalidArgument behind the last one, Unavailable when the server
        cannot be reached, and what its loader raises; the next call then tries again.
        """
        if not self.left_in_epoch:
            raise InvalidArgument(f"{self._what}: all minibatches have been loaded")
        check(stop)
        received = self._received(stop)
        self._position += 1
        if received.statistics.json:
            self._document = received.statistics
        return received.minibatch

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; what was received ahead is dropped. Raises InvalidArgument."""
        expected = self.state_dict() | {"position": state.get("position")}
        if state != expected or not isinstance(state["position"], int) or state["position"] < 0:
            raise InvalidArgument(f"state of a loader: expected {expected} with a position, found {state}")
        self._leave()
        self._position = state["position"]

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: plain values, for `load_state_dict`."""
        return {"position": self._position}

    def statistics(self) -> Statistics:
        """Return what the server's loader had done when it sent the last minibatch that was given out, and how often it
        was waited for here."""
        if self._document is None or self._run is None:
            return self._nothing()
        return self._read(self._document, self._run)

    def close(self) -> None:
        """End the stream. Minibatches stay valid. Twice is allowed."""
        self._leave()
        self._document = None
        if self._own_channel:
            self._channel.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_run": None, "_document": None}

    def _received(self, stop: Stop | None) -> Received:
        run = self._running()
        try:
            return run.next(stop)
        except StopIteration:
            self._leave()
            raise InvalidArgument(f"{self._what}: the server has ended the stream at {self._position}") from None
        except BaseException:
            if run.has_ended:
                self._leave()  # the next call begins a stream of its own
            raise

    def _running(self) -> Prefetch:
        if self._run is not None and self._run.process != os.getpid():
            self._leave()
        if self._run is None:
            count = self._sequence.count
            left = None if count is None else count - self._position
            feed = MinibatchFeed(self._request, self._position, left)
            self._run = Prefetch(self._channel, feed, self._most, self._most_bytes)
            # A loader that is forgotten instead of closed must not leave a thread and a stream behind.
            weakref.finalize(self, self._run.end)
        return self._run

    def _leave(self) -> None:
        run, self._run = self._run, None
        if run is not None and run.process == os.getpid():
            run.close()
        elif run is not None:
            _abandoned.append(run)

    @property
    @abstractmethod
    def _what(self) -> str:
        """What it is, for messages."""

    @abstractmethod
    def _nothing(self) -> Statistics:
        """Return the statistics before anything was done."""

    @abstractmethod
    def _read(self, document: Document, run: Prefetch) -> Statistics:
        """Return what the server has said, with what was waited for here."""


class PlannedLoader(ServedLoader[LoaderStatistics]):
    """One shard of a plan."""

    def __init__(
        self, channel: Channel, request: Message, plan: FoundPlan, shard: int, passes: int | None, **options: Any
    ) -> None:
        """Use `Plan.loader`."""
        super().__init__(channel, request, PlannedSequence(plan.shards[shard], passes), **options)
        self._plan, self.shard = plan, shard

    @property
    def num_minibatches(self) -> int:
        """Of the shard, in all epochs of the plan."""
        epochs = self._plan.shards[self.shard]
        return epochs[-1] - epochs[0]

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: plain values, for `load_state_dict` of a loader of the same plan."""
        plan = self._plan
        return {
            "plan": plan.id,
            "version": plan.version,
            "shard": self.shard,
            "num_shards": len(plan.shards),
            "position": self._position,
        }

    @property
    def _what(self) -> str:
        return f"plan {self._plan.name!r}"

    def _nothing(self) -> LoaderStatistics:
        return LoaderStatistics.nothing()

    def _read(self, document: Document, run: Prefetch) -> LoaderStatistics:
        return _with_waits(from_document(document, LoaderStatistics), run)


class OnlineLoader(ServedLoader[OnlineStatistics]):
    """Minibatches that the server samples as they go."""

    def __init__(self, channel: Channel, request: Message, per_epoch: int, **options: Any) -> None:
        """Use `Database.online_loader`."""
        super().__init__(channel, request, EvenSequence(per_epoch), **options)

    @property
    def _what(self) -> str:
        return "online loader"

    def _nothing(self) -> OnlineStatistics:
        return OnlineStatistics(0, {}, 0.0, 0.0, 0, 0.0, 0.0, 0, 0)

    def _read(self, document: Document, run: Prefetch) -> OnlineStatistics:
        found = from_document(document, OnlineStatistics)
        return replace(found, stalls=run.waits, stall_seconds=run.wait_seconds, ready_sum=run.ready_sum)


class FreshLoader(ServedLoader[FreshStatistics]):
    """Minibatches of plans that the server makes as they go."""

    def __init__(
        self, channel: Channel, request: Message, name: str, per_epoch: int, num_epochs: int | None, **options: Any
    ) -> None:
        """Use `Database.fresh_loader`."""
        super().__init__(channel, request, EvenSequence(per_epoch, num_epochs), **options)
        self._name = name

    @property
    def _what(self) -> str:
        return f"fresh loader {self._name!r}"

    def _nothing(self) -> FreshStatistics:
        return FreshStatistics((), LoaderStatistics.nothing(), None)

    def _read(self, document: Document, run: Prefetch) -> FreshStatistics:
        found = from_document(document, FreshStatistics)
        return replace(found, loader=_with_waits(found.loader, run))


def _with_waits(found: LoaderStatistics, run: Prefetch) -> LoaderStatistics:
    """Whether there was something to wait for is seen here: the server's loader waits for the connection."""
    return replace(
        found,
        trainer_waits=run.waits,
        trainer_wait_seconds=run.wait_seconds,
        mean_ready=run.ready_sum / max(1, run.given),
    )
