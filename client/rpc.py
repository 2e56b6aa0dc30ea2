"""What is asked and how the answer is read, without saying how it travels: made by a `Channel` or an `AsyncChannel`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Answer]):
    """One unary call. The class of the request says which RPC it is.

    read: makes the answer of the response; of a response with a field `data` it is given a `Chunk`.
    """

    request: Message
    read: Callable[[Any], Answer]


class Feed(ABC, Generic[Item]):
    """A stream from the server that can be taken up where it broke off: it knows what has come already."""

    @abstractmethod
    def request(self) -> Message:
        """Return what to ask for: all that has not come yet."""

    @abstractmethod
    def read(self, response: Any) -> Item | None:
        """Return what a message completes, None for nothing yet. Of responses with a field `data` it is a `Chunk`."""

    @property
    def complete(self) -> bool:
        """Whether all has come, so that a stream that breaks now need not be taken up again."""
        return False

    def end(self) -> None:
        """The server has ended the stream. Raise where something is missing."""
