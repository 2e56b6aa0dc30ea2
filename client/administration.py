"""The part of a database that is about looking after it, and after the server."""

from collections.abc import Callable

from outcrop.client.channel import Channel
from outcrop.client.job import RemoteJob, begun, waited
from outcrop.client.rpcs import admin, features, graphs, plans
from outcrop.types import Progress, ServerInfo, StoredReport, parse_bytes

# How the names of each of `STORED_KINDS` are asked for, in its order.
NAMES = {"graphs": graphs.names(), "features": features.names(), "plans": plans.names()}


class Administration:
    """Verifying and clearing up a server's root."""

    _channel: Channel

    def stored_names(self) -> list[tuple[str, str]]:
        """Return (kind, name) of everything beside collections that the key may see: graphs, features, plans."""
        names = {kind: self._channel.call(rpc) for kind, rpc in NAMES.items()}
        return [(kind, name) for kind in names for name in names[kind]]

    def verify(
        self,
        kind: str,
        name: str,
        *,
        memory: str | int = "256MiB",
        progress: Callable[[Progress], object] | None = None,
    ) -> StoredReport:
        """As `outcrop.embedded.Database.verify`. Waits for a job of the server, which is cancelled if that ends."""
        rpc = admin.verify(kind, name, parse_bytes(memory))
        job: RemoteJob[StoredReport] = RemoteJob(
            f"verification of {name}", self._channel, lambda control: begun(rpc, control)
        )
        return waited(job, progress)

    def gc(self) -> list[str]:
        """Remove files that no version needs and no reader holds; returns their paths, relative to the server's root.
        For keys of the role admin."""
        return self._channel.call(admin.collect_garbage())

    def server_info(self) -> ServerInfo:
        """Return what the server is, what it allows, and the role that the key gives."""
        return self._channel.call(admin.server_info())
