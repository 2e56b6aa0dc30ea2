"""The marker makes a folder a root and says of which format. docs/formats/root.md."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure, UnsupportedFormat
from outcrop.store import os_calls
from outcrop.store.catalog import Catalog
from outcrop.store.format.record import pack_record, unpack_record
from outcrop.store.layout import MARKER_NAME, SERVICE_FOLDER, Layout
from outcrop.types import KINDS

FORMAT = 1
# A release that knows no snapshots would take their versions for garbage, so it must not open a root that has some.
FORMAT_WITH_SNAPSHOTS = 2


def make_root(layout: Layout) -> None:
    """Make a root; the marker comes last, so what a crash leaves is recognised as unfinished and made again.

    Raises InvalidArgument when the folder holds something else, CorruptFile, StorageFailure.
    """
    os_calls.make_folder(layout.root)
    _check_unfinished(layout)
    with root_lock(layout):
        if layout.marker.exists():
            return
        os_calls.remove_tree(layout.catalog)
        os_calls.make_folder(layout.kind("collections"))
        os_calls.make_folder(layout.tmp)
        Catalog.create(layout.catalog)
        os_calls.write_small(layout.marker, pack_record({"format": FORMAT, "created_unix": time.time()}))
        os_calls.sync_folder(layout.root)
        os_calls.sync_folder(layout.root.parent)


def check_format(layout: Layout) -> None:
    """Raise UnsupportedFormat for a root of another release, CorruptFile, StorageFailure."""
    _read_marker(layout.marker)


def raise_format(layout: Layout, least: int) -> None:
    """Let releases that do not know the format `least` refuse this root from now on. The caller holds the root's lock.

    Durable when it returns. Raises StorageFailure, CorruptFile.
    """
    fields = _read_marker(layout.marker)
    if fields["format"] < least:
        os_calls.write_small(layout.marker, pack_record(fields | {"format": least}))
        os_calls.sync_folder(layout.root)


@contextlib.contextmanager
def root_lock(layout: Layout) -> Iterator[None]:
    """Hold the root's lock, waiting for it. The innermost locks are the leases' and the catalog's."""
    descriptor = os_calls.lock(layout.lock, exclusive=True, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


def _check_unfinished(layout: Layout) -> None:
    """Without a marker nothing was ever committed, unless somebody removed the marker: then there are objects."""
    ours = {MARKER_NAME, f"{MARKER_NAME}.new", "lock", "catalog", "tmp", SERVICE_FOLDER, *KINDS}
    found = {entry.name for entry in layout.root.iterdir()}
    if found - ours:
        raise InvalidArgument(f"{layout.root}: expected an empty folder or a root, found {sorted(found - ours)[0]!r}")
    kinds = [kind for kind in KINDS if layout.kind(kind).exists() and any(layout.kind(kind).iterdir())]
    if kinds and not layout.marker.exists():
        raise CorruptFile(f"{layout.root}: holds {' and '.join(kinds)} but no file {MARKER_NAME}")


def _read_marker(marker: Path) -> dict[str, Any]:
    try:
        fields = unpack_record(marker.read_bytes(), str(marker))
    except OSError as error:
        raise StorageFailure(error.errno, str(error.strerror), str(marker)) from error
    known = (FORMAT, FORMAT_WITH_SNAPSHOTS)
    if fields.get("format") not in known:
        expected = " and ".join(map(str, known))
        raise UnsupportedFormat(f"{marker}: root format {fields.get('format')}, this release reads formats {expected}")
    return fields
