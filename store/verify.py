"""Does every byte of a version still say what was written? Reads everything and reports all problems."""

from collections.abc import Callable, Iterator
from pathlib import Path

from outcrop.errors import CorruptFile, NotFound, OutcropError
from outcrop.store.format.block_file import BLOCK_BYTES
from outcrop.store.reader import StorageReader, StoredFile
from outcrop.store.version_lease import VersionLease
from outcrop.store.version_writer import check_entry
from outcrop.types import LEASE_NAME, FileEntry, Problem

Progress = Callable[[int], object]

# Beyond so many bad blocks of one file their checksums tell nothing new; the numbers of the others are still reported.
_MAX_DETAILED = 16


def verify_version(version: VersionLease, reader: StorageReader, progress: Progress | None = None) -> Iterator[Problem]:
    """Yield what is wrong with a version: each block, padding, sizes, missing files, and files it should not have.

    progress: called now and then with the bytes read so far, of `version.manifest.size_bytes`.
    Raises StorageFailure when the device refuses, ResourceExhausted.
    """
    done = 0
    for entry in version.manifest.files:
        base = done
        advance = (lambda read, base=base: progress(base + read)) if progress else None
        yield from verify_file(version.path(entry.name), entry, reader, advance)
        done += entry.size_bytes
    yield from _strays(version)


def verify_file(
    path: Path, entry: FileEntry, reader: StorageReader, progress: Progress | None = None
) -> Iterator[Problem]:
    """Yield what is wrong with the file of one entry."""
    try:
        check_entry(path, entry)
        file = reader.open(path, entry)
    except OutcropError as error:
        if not isinstance(error, CorruptFile | NotFound):
            raise
        yield Problem(entry.name, None, str(error))
        return
    with file:
        bad_blocks = file.native.bad_blocks(reader.arena, progress)
        for number, block in enumerate(bad_blocks.tolist()):
            detail = _detail(file, block) if number < _MAX_DETAILED else "checksum differs"
            yield Problem(entry.name, block, detail)


def _detail(file: StoredFile, block: int) -> str:
    """What a reader of this block would be told."""
    offset = (block - 1) * BLOCK_BYTES
    try:
        file.read(offset, min(BLOCK_BYTES, file.payload_bytes - offset))
    except CorruptFile as error:
        return str(error)
    return (
        f"{file.entry.name}: block {block} at offset {block * BLOCK_BYTES}: bad when first read, good when read again"
    )


def _strays(version: VersionLease) -> Iterator[Problem]:
    wanted = {entry.name for entry in version.manifest.files} | {LEASE_NAME}
    for found in sorted(version.folder.iterdir()):
        if found.name not in wanted:
            yield Problem(found.name, None, f"{found.name}: the manifest does not list this file")
        elif found.name == LEASE_NAME and found.stat().st_size:
            yield Problem(LEASE_NAME, None, f"{LEASE_NAME}: expected an empty file, found {found.stat().st_size} bytes")
