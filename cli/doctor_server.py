"""`outcrop doctor --endpoint`: does a server answer, how fast, what does it allow, and what is worth changing?"""

import importlib.metadata
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.client import Database
from outcrop.types import ServerInfo, format_bytes

_ANSWER_SECONDS = 5.0  # what has not answered by then is as good as gone
_SLOW_US = 20_000  # a search takes a millisecond or a few
_LOOPBACK = ("127.", "localhost", "[::1]", "unix:")


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What was found out of a server. connect_us: the first call, with the way to the server; p50_us, p99_us: of those
    behind it, the smallest there is. version: of this outcrop."""

    endpoint: str
    encrypted: bool
    version: str
    server: ServerInfo
    calls: int
    connect_us: float
    p50_us: float
    p99_us: float
    advice: list[str]


def examine(run: Run, seconds: float) -> ServerReport:
    """Call a server for so long. Raises Unavailable, Unauthenticated, PermissionDenied."""
    with run.connect(call_seconds=_ANSWER_SECONDS) as database, run.output.progress("calling the server"):
        assert isinstance(database, Database), "asked of an endpoint"
        connect_us, info = _timed(database)
        latencies_us = _latencies(database, seconds)
        endpoint = database.endpoint
    p50, p99 = np.percentile(latencies_us, [50, 99])
    version = importlib.metadata.version("outcrop")
    far = not endpoint.target.startswith(_LOOPBACK)
    advice = list(_advice(info, version, float(p50), in_the_open=far and not endpoint.secure))
    return ServerReport(
        endpoint.url, endpoint.secure, version, info, len(latencies_us), connect_us, float(p50), float(p99), advice
    )


def _latencies(database: Database, seconds: float) -> list[float]:
    end = time.monotonic() + seconds
    latencies_us = [_timed(database)[0]]
    while time.monotonic() < end:
        latencies_us.append(_timed(database)[0])
    return latencies_us


def _timed(database: Database) -> tuple[float, ServerInfo]:
    began = time.perf_counter()
    info = database.server_info()
    return (time.perf_counter() - began) * 1e6, info


def _advice(info: ServerInfo, version: str, p50_us: float, *, in_the_open: bool) -> Iterator[str]:
    """Yield what is worth changing, most important first."""
    if in_the_open:
        yield "keys and data go unencrypted to another machine: give the server a certificate and use grpcs://"
    if info.version != version:
        yield f"the server is outcrop {info.version}, this is {version}: what only one of them knows is refused"
    if p50_us > _SLOW_US:
        yield f"a call takes {p50_us / 1000:.0f} ms: ask many queries in one, and be nearer to the server"
    if info.reader != "io_uring":
        yield f"the server reads by {info.reader} ({info.reader_reason}): `outcrop doctor` there says what would help"


def server_table(report: ServerReport) -> Table:
    """Return what a person is told about a server."""
    info, limits = report.server, report.server.limits
    seconds = round(time.time() - info.started_unix)
    rows = {
        "server": f"{report.endpoint}, {'encrypted' if report.encrypted else 'not encrypted'}",
        "versions": f"server {info.version} · here {report.version}",
        "up": f"{seconds:,} s; {info.workers} worker{'s' if info.workers > 1 else ''}, {info.process} answered",
        "role": f"{info.role}: what the key, or having none, allows here",
        "latency": f"{report.p50_us / 1000:.2f} ms p50, {report.p99_us / 1000:.2f} ms p99 of {report.calls:,} calls; "
        f"the first one {report.connect_us / 1000:.1f} ms",
        "engine": f"{info.reader} ({info.reader_reason}), {info.instructions}",
        "limits": f"messages of {format_bytes(limits.message_bytes)} · k {limits.k:,} · queries {limits.queries:,} · "
        f"dimension {limits.dimension:,} · {limits.longest_deadline_seconds:,.0f} s",
        "advice": "\n".join(report.advice) or "none: all is well",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(name, text)
    return table
