"""Minibatches on their way from the server."""

from copy import copy
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from outcrop.client.rpc import Feed
from outcrop.errors import OutcropError
from outcrop.proto.minibatches import IncomingMinibatch
from outcrop.types import Minibatch
from outcrop.v1.common_pb2 import Document


@dataclass(frozen=True, slots=True)
class Received:
    """A minibatch. statistics: what the server's loader had done by then; empty of one that was only drawn."""

    minibatch: Minibatch
    size_bytes: int
    statistics: Document


class MinibatchFeed(Feed[Received]):
    """Minibatches from a position on. A stream that broke goes on behind the last one that has come whole."""

    def __init__(self, request: Message, position: int = 0, count: int | None = None) -> None:
        """request: of an RPC that streams minibatches, which has a position if there is more than one. count: how many
        there are; None when they have no end."""
        self._request: Any = copy(request)
        self._position, self._left = position, count
        self._incoming: IncomingMinibatch | None = None
        self._statistics = Document()

    @property
    def complete(self) -> bool:
        """Whether the last one has come."""
        return self._left == 0

    def request(self) -> Message:
        """Return what has not come."""
        self._incoming = None
        if "position" in self._request.DESCRIPTOR.fields_by_name:
            self._request.position = self._position
        if "count" in self._request.DESCRIPTOR.fields_by_name and self._left is not None:
            self._request.count = self._left
        request: Message = self._request
        return request

    def read(self, response: Any) -> Received | None:
        """Take a chunk; return the minibatch that it completes."""
        head = response.head
        if head.HasField("header"):
            self._incoming = IncomingMinibatch(head.header)
            self._statistics = head.statistics if "statistics" in head.DESCRIPTOR.fields_by_name else Document()
        if self._incoming is None:
            return None  # says something that a newer server may say beside minibatches
        self._incoming.take(response.data)
        if not self._incoming.is_whole:
            return None
        whole, self._incoming = self._incoming, None
        self._position = whole.next_position
        self._left = None if self._left is None else self._left - 1
        return Received(whole.minibatch(), whole.size_bytes, self._statistics)

    def end(self) -> None:
        """Raise where the last ones are missing."""
        if self._incoming is not None or self._left:
            raise OutcropError(f"minibatches: the stream ended before all had come; {self._left} are missing")
