"""`outcrop inspect`: the collections of a root, or one of them in detail: files, lists, memory, policies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.ann import CollectionSpec
from outcrop.cli.build import TrialCost, trial_costs, trials_table
from outcrop.cli.command import Run
from outcrop.cli.opening import MemoryOption, opened
from outcrop.embedded import Collection as Embedded
from outcrop.embedded import CollectionInfo
from outcrop.errors import NotFound
from outcrop.store import format_bytes
from outcrop.types import Int64Array

if TYPE_CHECKING:
    from outcrop.cli.place import Collection

_HISTOGRAM_BARS = 12
_BAR_COLUMNS = 40


@dataclass(frozen=True, slots=True)
class ListLengths:
    """How long posting lists are, in bytes. edges: [n + 1], counts: [n] lists from an edge to below the next."""

    shortest: int
    median: int
    longest: int
    edges: Int64Array
    counts: Int64Array


@dataclass(frozen=True, slots=True)
class Detail:
    """One collection. files: sizes in bytes. list_bytes: None from a server, which does not give out where lists lie.
    memory: by owner, in bytes, of memory_budget, when it is just opened; of a server, now."""

    name: str
    spec: CollectionSpec
    version: int
    num_rows: int
    disk_bytes: int
    disk_multiple: float
    code: str
    num_centroids: int
    num_lists: int
    copies: float
    copy_rule: str
    build_seconds: float
    files: dict[str, int]
    list_bytes: ListLengths | None
    memory_budget: int
    memory: dict[str, int]
    reader: str
    policies: list[dict[str, Any]]
    trials: list[TrialCost]


def inspect(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The collection [default: list all].")] = None,
    memory: MemoryOption = None,
) -> None:
    """List the collections, or show one: its files, lists, memory, what each recall costs, and the trade of disk."""
    run.only_embedded(memory=memory)
    if name is None:
        with run.connect(read_only=True) as database:
            infos = database.list_collections()
        run.output.result([_brief(info) for info in infos], text=_infos_table(infos))
        return
    with run.connect(read_only=True) as database:
        info = database.collection(name).info()
    if info.version is None:
        run.output.result(_brief(info), text=_infos_table([info]))
        return
    with opened(run, name, memory, threads=1 if run.endpoint is None else None) as (collection, info):
        detail = _detail(collection, info)
    run.output.result(detail, text=_detail_text(detail))


def _brief(info: CollectionInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "spec": info.spec,
        "version": info.version,
        "num_rows": info.num_rows,
        "disk_bytes": info.disk_bytes,
    }


def _infos_table(infos: list[CollectionInfo]) -> RenderableType:
    if not infos:
        return "no collections; `outcrop build NAME VECTORS` makes one"
    table = Table(box=None)
    for heading in ("collection", "version", "vectors", "dim", "type", "metric", "ids", "disk"):
        table.add_column(heading, justify="right" if heading in ("version", "vectors", "dim", "disk") else "left")
    for info in infos:
        spec, version = info.spec, "-" if info.version is None else str(info.version)
        row = (version, f"{info.num_rows:,}", str(spec.dim), spec.dtype, spec.metric, spec.id_type)
        table.add_row(info.name, *row, format_bytes(info.disk_bytes))
    return table


def _detail(collection: "Collection", info: CollectionInfo) -> Detail:
    if info.version is None:
        raise NotFound(f"{info.name}: holds nothing yet")
    properties = info.properties
    statistics = collection.statistics()
    return Detail(
        name=info.name,
        spec=info.spec,
        version=info.version,
        num_rows=info.num_rows,
        disk_bytes=info.disk_bytes,
        disk_multiple=info.disk_bytes / properties["raw_bytes"],
        code=properties["code"],
        num_centroids=properties["num_centroids"],
        num_lists=properties["num_lists"],
        copies=properties["num_entries"] / properties["num_rows"],
        copy_rule=properties["copy_rule"],
        build_seconds=properties["build_seconds"],
        files=info.files,
        list_bytes=_list_bytes(collection) if isinstance(collection, Embedded) else None,
        memory_budget=statistics.memory.budget_bytes,
        memory=dict(statistics.memory.owners),
        reader=f"{statistics.reader.kind} ({statistics.reader.reason})",
        policies=properties["policies"],
        trials=trial_costs(info),
    )


def _list_bytes(collection: Embedded) -> ListLengths:
    offsets = collection.open().directory.list_offsets.astype(np.int64)
    return list_lengths(offsets[1:] - offsets[:-1])


def list_lengths(lengths: Int64Array) -> ListLengths:
    """Return the histogram of list lengths, in steps of a round number of bytes. lengths: int64 [num_lists], >= 1."""
    longest = int(lengths.max())
    step = _round_step(longest / _HISTOGRAM_BARS)
    edges = np.arange(0, longest + step, step) if longest % step else np.arange(0, longest + 2 * step, step)
    counts, _ = np.histogram(lengths, edges)
    return ListLengths(int(lengths.min()), int(np.median(lengths)), longest, edges, counts)


def _round_step(least: float) -> int:
    """Return the smallest 1, 2 or 5 times a power of ten, at least 64, that is not below `least`."""
    step = 1
    while step < max(least, 64):
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _detail_text(detail: Detail) -> RenderableType:
    spec = detail.spec
    facts = Table.grid(padding=(0, 2))
    facts.add_row("collection", f"{detail.name}, version {detail.version}, built in {detail.build_seconds:.1f} s")
    facts.add_row("vectors", f"{detail.num_rows:,} x {spec.dim} {spec.dtype}, {spec.metric}, {spec.id_type} ids")
    facts.add_row("disk", f"{format_bytes(detail.disk_bytes)}, {detail.disk_multiple:.2f} times the raw vectors")
    facts.add_row("", " · ".join(f"{name} {format_bytes(size)}" for name, size in detail.files.items()))
    facts.add_row(
        "lists",
        f"{detail.num_lists:,} of {detail.num_centroids:,} centroids, codes: {detail.code}, "
        f"{detail.copies:.2f} entries per vector (rule: {detail.copy_rule})",
    )
    facts.add_row("memory", f"{format_bytes(detail.memory_budget)} for searching")
    facts.add_row("", " · ".join(f"{owner} {format_bytes(size)}" for owner, size in detail.memory.items()))
    facts.add_row("reader", detail.reader)
    lengths = "lengths of lists: with --path only" if detail.list_bytes is None else _histogram(detail.list_bytes)
    parts: list[RenderableType] = [facts, "", lengths, "", _policies_table(detail.policies)]
    if detail.trials:
        parts += ["", trials_table(detail.trials)]
    return Group(*parts)


def _histogram(lengths: ListLengths) -> Table:
    title = f"bytes of a list: {lengths.shortest:,} to {lengths.longest:,}, median {lengths.median:,}"
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_column(justify="right")
    most = max(1, int(lengths.counts.max()))
    for begin, end, count in zip(lengths.edges, lengths.edges[1:], lengths.counts, strict=False):
        bar = "#" * -(-_BAR_COLUMNS * int(count) // most)
        table.add_row(f"{begin:,} to {end:,}", bar, f"{count:,}")
    return table


def _policies_table(policies: list[dict[str, Any]]) -> RenderableType:
    if not policies:
        return "no policies: too few vectors to calibrate, every list is probed"
    table = Table(title="what each recall costs, measured by the build", title_justify="left", box=None)
    for heading in ("k", "recall", "measured", "nprobe", "rerank", "reads", "KB", "device us"):
        table.add_column(heading, justify="right")
    for policy in policies:
        table.add_row(
            str(policy["k"]),
            f"{policy['recall']:g}",
            f"{policy['measured']:.4f}",
            str(policy["nprobe"]),
            str(policy["rerank"]),
            f"{policy['reads']:.1f}",
            f"{policy['bytes'] / 1000:,.0f}",
            f"{policy['device_us']:,.0f}",
        )
    return table
