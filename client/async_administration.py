"""The part of a database that is about looking after it, and after the server; for tasks."""

from collections.abc import Callable

from outcrop.client.administration import NAMES
from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_job import AsyncRemoteJob, waited
from outcrop.client.job import begun
from outcrop.client.rpcs import admin
from outcrop.types import Progress, ServerInfo, StoredReport, parse_bytes


class AsyncAdministration:
    """See `Administration`."""

    _channel: AsyncChannel

    async def stored_names(self) -> list[tuple[str, str]]:
        """See `Database.stored_names`."""
        names = {kind: await self._channel.call(rpc) for kind, rpc in NAMES.items()}
        return [(kind, name) for kind in names for name in names[kind]]

    async def verify(
        self,
        kind: str,
        name: str,
        *,
        memory: str | int = "256MiB",
        progress: Callable[[Progress], object] | None = None,
    ) -> StoredReport:
        """See `Database.verify`; `progress` is called on the event loop."""
        rpc = admin.verify(kind, name, parse_bytes(memory))
        job: AsyncRemoteJob[StoredReport] = AsyncRemoteJob(
            f"verification of {name}", self._channel, lambda control: begun(rpc, control)
        )
        return await waited(job, progress)

    async def gc(self) -> list[str]:
        """See `Database.gc`."""
        return await self._channel.call(admin.collect_garbage())

    async def server_info(self) -> ServerInfo:
        """See `Database.server_info`."""
        return await self._channel.call(admin.server_info())
