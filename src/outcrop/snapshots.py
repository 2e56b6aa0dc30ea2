"""Snapshots of a root: making, verifying and exporting them, and restoring what they hold."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from outcrop.connection import Connection
from outcrop.errors import CorruptFile, InvalidArgument, NotFound
from outcrop.gnn_loader import is_carried, plan_origins, with_origins
from outcrop.jobs import Job
from outcrop.store import (
    Accountant,
    PinnedVersion,
    RecordView,
    SnapshotRecord,
    StorageReader,
    every_version,
    verify_version,
)
from outcrop.store.snapshots import (
    ArchivedObject,
    ArchiveFile,
    RestoredAs,
    Restoring,
    SnapshotArchive,
    SnapshotSource,
    check_targets,
    restore_objects,
    verify_source,
    write_archive,
)
from outcrop.types import (
    ArchiveInfo,
    Problem,
    Progress,
    RestoredObject,
    RestoreReport,
    SnapshotInfo,
    SnapshotObject,
    SnapshotOrPath,
    SnapshotReport,
    check_kind,
    check_new_file,
    is_archive_path,
)

_BUFFER_BYTES = 1 << 20


def create_snapshot(
    connection: Connection,
    name: str,
    objects: Sequence[tuple[str, str]] | None,
    sees: Callable[[str, str], bool] = lambda kind, name: True,
) -> SnapshotInfo:
    """See `Database.create_snapshot`. sees: of all objects, those that are meant by None."""

    def choose(view: RecordView) -> Sequence[tuple[str, str]]:
        if objects is None:
            return [key for key in every_version(view) if sees(*key) and not _why_useless(view, *key)]
        for kind, object_name in objects:
            if why := _why_useless(view, check_kind(kind), object_name):
                raise InvalidArgument(f"snapshot {name!r}: plan {object_name!r} {why}")
        return [(kind, object_name) for kind, object_name in objects]

    return snapshot_info(connection.root.create_snapshot(name, choose))


def snapshot_info(snapshot: SnapshotRecord) -> SnapshotInfo:
    """Return what callers see of a snapshot."""
    objects = tuple(SnapshotObject(each.kind, each.name, each.version, each.size_bytes) for each in snapshot.objects)
    return SnapshotInfo(snapshot.name, snapshot.created_unix, objects)


def verify_snapshot(connection: Connection, source: SnapshotOrPath, memory_bytes: int) -> Job[SnapshotReport]:
    """See `Database.verify_snapshot`."""
    if is_archive_path(source):
        return verify_archive(source)
    pinned = connection.root.get_snapshot(str(source)).objects
    problems = lambda tick: _pinned_problems(connection, pinned, memory_bytes, tick)  # noqa: E731
    return _verification(str(source), [each.size_bytes for each in pinned], problems)


def verify_archive(path: str | os.PathLike[str]) -> Job[SnapshotReport]:
    """Read every byte of an archive, which needs no root, and return the job. Raises NotFound, CorruptFile for what is
    no whole archive, UnsupportedFormat."""
    archive = ArchiveFile(path)
    sizes = [archived.manifest.size_bytes for archived in archive.header.objects]
    return _verification(str(archive.path), sizes, lambda tick: verify_source(archive, tick))


def export_snapshot(connection: Connection, name: str, path: str | os.PathLike[str]) -> Job[ArchiveInfo]:
    """See `Database.export_snapshot`."""
    target = Path(path).absolute()
    check_new_file(target)
    archive = SnapshotArchive(connection.root, name)

    def run(report: Callable[[Progress], None]) -> ArchiveInfo:
        with archive:
            write_archive(archive, target, lambda done: report(Progress("archive", done, None)))
            return ArchiveInfo(str(target), archive.size_bytes, archive.etag)

    return Job(f"export of {name}", run)


def restore_snapshot(
    connection: Connection,
    source: SnapshotOrPath,
    rename: Mapping[str, str],
    objects: Sequence[tuple[str, str]] | None,
    restored: Callable[[RestoreReport], object] = lambda report: None,
) -> Job[RestoreReport]:
    """See `Database.restore_snapshot`. restored: called in the job's thread when all is there."""
    with contextlib.ExitStack() as stack:
        held = _opened(connection, source, stack)
        chosen = _chosen(connection, held, objects, rename)
        resources = stack.pop_all()

    def run(report: Callable[[Progress], None]) -> RestoreReport:
        with resources:
            tick = lambda done: report(Progress("copy", 0.99 * done, None))  # noqa: E731
            found = restore_objects(connection.root, held, chosen, _refitted, tick)
        for each in found:
            connection.forget_jobs(each.id)
        connection.root.gc()
        result = RestoreReport(tuple(RestoredObject(each.kind, each.name, each.version) for each in found))
        restored(result)
        report(Progress("done", 1.0, 0.0))
        return result

    return Job(f"restore of {os.fspath(source)}", run)


def restored_names(
    connection: Connection, source: SnapshotOrPath, rename: Mapping[str, str], objects: Sequence[tuple[str, str]] | None
) -> list[tuple[str, str, str]]:
    """Return kind, name and new name of all that `restore_snapshot` would restore; raises what it does."""
    with contextlib.ExitStack() as stack:
        chosen = _chosen(connection, _opened(connection, source, stack), objects, rename)
    return [(each.archived.kind, each.archived.name, each.name) for each in chosen]


def _opened(connection: Connection, source: SnapshotOrPath, stack: contextlib.ExitStack) -> SnapshotSource:
    if is_archive_path(source):
        return ArchiveFile(source)
    return stack.enter_context(SnapshotArchive(connection.root, str(source)))


# ---- plans, which are of use only beside exactly what they were made from


def _why_useless(view: RecordView, kind: str, name: str) -> str:
    """Return why a plan could not be used when it is restored, "" when it could, or is no plan."""
    record = view.object(kind, name)
    if kind != "plans" or record.current_version is None:
        return ""
    manifest = view.find_manifest(record.id, record.current_version)
    if manifest is None:
        raise CorruptFile(f"catalog: {record.title}: its current version {record.current_version} has no manifest")
    if is_carried(manifest.properties):
        return "goes on from the caches of another plan: it is of no use alone"
    for of, made_from, object_id, version in plan_origins(manifest.properties):
        found = view.find_object(of, made_from)
        if found is None or (found.id, found.current_version) != (object_id, version):
            return f"is stale: {of}/{made_from} is not at version {version} any more; make the plan again"
    return ""


def _refitted(archived: ArchivedObject, restored: RestoredAs) -> dict[str, Any]:
    """Return the properties with which an object is restored: those of a plan name what was restored with it."""
    properties = archived.manifest.properties
    if archived.kind != "plans":
        return properties

    def renamed(key: tuple[str, int]) -> tuple[str, str, int] | None:
        found = restored.get(key)
        return None if found is None else (found.name, found.id, found.version)

    return with_origins(properties, renamed)


def _made_from(
    connection: Connection, archived: ArchivedObject, chosen: set[tuple[str, int]]
) -> frozenset[tuple[str, int]]:
    """Return which of the chosen a plan was made from. Raises InvalidArgument unless all others are current here."""
    if archived.kind != "plans":
        return frozenset()
    try:
        origins = plan_origins(archived.manifest.properties)
        with_origins(archived.manifest.properties, lambda key: None)
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{archived.title}: its properties do not say what it was made from") from error
    for kind, name, object_id, version in origins:
        if (object_id, version) not in chosen and not _is_current(connection, kind, object_id, version):
            raise InvalidArgument(
                f"restore: {archived.title} was made from version {version} of {kind}/{name}, which is neither "
                "restored with it nor current here: restore it too, or leave the plan out"
            )
    return frozenset((object_id, version) for _, _, object_id, version in origins) & chosen


def _is_current(connection: Connection, kind: str, object_id: str, version: int) -> bool:
    records = connection.root.list_objects(kind)
    return any((record.id, record.current_version) == (object_id, version) for record in records)


# ---- what is restored, and as what


def _chosen(
    connection: Connection, source: SnapshotSource, objects: Sequence[tuple[str, str]] | None, rename: Mapping[str, str]
) -> list[Restoring]:
    """Return what is restored, in the order of the snapshot. Raises InvalidArgument, NotFound."""
    there = {(archived.kind, archived.name): archived for archived in source.header.objects}
    wanted = set(there) if objects is None else {(kind, name) for kind, name in objects}
    if missing := wanted - set(there):
        kind, name = min(missing)
        raise NotFound(f"restore: the snapshot {source.header.name!r} has no {check_kind(kind)}/{name}")
    if not wanted:
        raise InvalidArgument("restore: expected at least one object, found none")
    archived_objects = [archived for key, archived in there.items() if key in wanted]
    _check_renames(archived_objects, rename)
    keys = {_key(archived) for archived in archived_objects}
    chosen = [
        Restoring(archived, _new_name(archived, rename), _made_from(connection, archived, keys))
        for archived in archived_objects
    ]
    check_targets(connection.root, chosen)
    return chosen


def _check_renames(chosen: Sequence[ArchivedObject], rename: Mapping[str, str]) -> None:
    known = {archived.name for archived in chosen} | {archived.title for archived in chosen}
    if unknown := set(rename) - known:
        raise InvalidArgument(f"restore: rename: {min(unknown)!r} is not among what is restored")


def _new_name(archived: ArchivedObject, rename: Mapping[str, str]) -> str:
    return rename.get(archived.title, rename.get(archived.name, archived.name))


def _key(archived: ArchivedObject) -> tuple[str, int]:
    return archived.manifest.object_id, archived.manifest.version


# ---- verification


def _verification(
    name: str, sizes: Sequence[int], problems: Callable[[Callable[[float], None]], Iterator[Problem]]
) -> Job[SnapshotReport]:
    """sizes: in bytes, of the objects."""

    def run(report: Callable[[Progress], None]) -> SnapshotReport:
        found = tuple(problems(lambda done: report(Progress("checksums", 0.99 * done, None))))
        report(Progress("done", 1.0, 0.0))
        return SnapshotReport(name, len(sizes), sum(sizes), found)

    return Job(f"verification of {name}", run)


def _pinned_problems(
    connection: Connection, pinned: Sequence[PinnedVersion], memory_bytes: int, tick: Callable[[float], None]
) -> Iterator[Problem]:
    """Yield what is wrong with versions of this root, read around the page cache."""
    total, done = max(1, sum(each.size_bytes for each in pinned)), 0
    with StorageReader(Accountant(memory_bytes), connection.reader, buffer_bytes=_BUFFER_BYTES) as reader:
        for each in pinned:
            where = f"{each.kind}/{each.name}"
            advance = lambda read, base=done: tick((base + read) / total)  # noqa: E731
            try:
                with connection.root.open_pinned(each) as lease:
                    for problem in verify_version(lease, reader, advance):
                        yield replace(problem, file=f"{where}/{problem.file}")
            except CorruptFile as error:
                yield Problem(f"{where}/version", None, str(error))
            done += each.size_bytes
