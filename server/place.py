"""Which of the processes that serve one root is this?"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """One process alone listens on the port and writes. Of several, readers share the port, and pass what changes the
    root on to the writer, which listens on a socket that only this user reaches.

    writes: whether it changes the root and does its jobs. socket: the writer's; None for one process alone.
    """

    writes: bool = True
    socket: Path | None = None

    @property
    def forwards(self) -> bool:
        """Whether another process writes."""
        return not self.writes

    @property
    def listens_on_port(self) -> bool:
        """Whether clients reach it themselves."""
        return self.socket is None or not self.writes
