"""What a graph, a feature table and a plan have in common: one version of something that the server keeps."""

from types import TracebackType
from typing import Any, TypeVar

from outcrop.client.channel import Channel
from outcrop.errors import InvalidArgument

Self = TypeVar("Self", bound="Opened")


class Opened:
    """A version of something, named by the caller for as long as the server has it. A context manager; may be pickled,
    and used after a fork."""

    _kind = ""

    def __init__(self, channel: Channel, found: Any) -> None:
        """found: what the server has told of it, with name, id and version."""
        self._channel, self._found = channel, found
        self._closed = False

    @property
    def name(self) -> str:
        """What it is called."""
        name: str = self._found.name
        return name

    @property
    def version(self) -> int:
        """Which version this is."""
        version: int = self._found.version
        return version

    def close(self) -> None:
        """Use it no more; the server closes what nobody asks for. Twice is allowed."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidArgument(f"{self._kind} {self.name!r}: it is closed; open it again")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
