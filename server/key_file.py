"""The file of API keys: one checksummed line, replaced atomically. The page is docs/formats/keys.md."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure, UnsupportedFormat
from outcrop.server.identity import Role, check_role, check_scope
from outcrop.store import os_calls
from outcrop.store.format.record import pack_record, unpack_record
from outcrop.types import check_name

KEYS_FILE = Path("service", "keys.json")  # below a root
FORMAT = 1
ID = re.compile(r"[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key. secret_sha256: hexadecimal. created, expires: seconds since 1970; None: never."""

    id: str
    name: str
    secret_sha256: str
    role: Role
    scope: tuple[str, ...]
    created_unix: int
    expires_unix: int | None


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """Return the keys in a file; none when it is missing.

    Raises CorruptFile, UnsupportedFormat, StorageFailure.
    """
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageFailure(error.errno, f"read: {error.strerror}", str(path)) from error
    stored = unpack_record(line, str(path))
    if stored.get("format") != FORMAT:
        raise UnsupportedFormat(f"{path}: expected format {FORMAT}, found {stored.get('format')!r}; upgrade outcrop")
    try:
        return tuple(_record(each) for each in stored["keys"])
    except (KeyError, TypeError, InvalidArgument) as error:
        raise CorruptFile(f"{path}: not a list of keys: {error}") from error


def write_keys(path: Path, keys: Sequence[KeyRecord]) -> None:
    """Replace the file durably; only its owner may read it. Raises StorageFailure."""
    os_calls.write_small(path, pack_record({"format": FORMAT, "keys": [asdict(key) for key in keys]}), mode=0o600)
    os_calls.sync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file, and wait for those that do. Makes its folder."""
    os_calls.make_folder(path.parent)
    descriptor = os_calls.lock(path.with_name(f"{path.name}.lock"), exclusive=True, wait=True)
    assert descriptor is not None  # for it waits
    try:
        yield
    finally:
        os.close(descriptor)


def _record(stored: dict[str, Any]) -> KeyRecord:
    if set(stored) != {field.name for field in fields(KeyRecord)}:
        raise TypeError(f"found the fields {sorted(stored)}")
    key = KeyRecord(**stored | {"role": check_role(stored["role"]), "scope": check_scope(stored["scope"])})
    if not ID.fullmatch(key.id) or not _DIGEST.fullmatch(key.secret_sha256):
        raise TypeError("an id or a digest is not one")
    if not isinstance(key.created_unix, int) or not isinstance(key.expires_unix, int | None):
        raise TypeError("a time is not a whole number of seconds")
    check_name("name of a key", key.name)
    return key
