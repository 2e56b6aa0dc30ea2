"""Progress of a call in a thread, told on the event loop."""

import asyncio
import contextlib
from collections.abc import Callable

from outcrop.stop import Stop
from outcrop.types import Progress


def reporting(
    loop: asyncio.AbstractEventLoop, progress: Callable[[Progress], object] | None, stop: Stop
) -> Callable[[Progress], None]:
    """Return what a call reports its progress to. It ends the call that is told to stop."""

    def report(now: Progress) -> None:
        stop.check()
        if progress is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(progress, now)

    return report
