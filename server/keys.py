"""Which keys are there, and whose is this one?

A key is `oc_<id>_<secret>`: 12 hexadecimal digits and 32 random bytes in base64url. The file holds SHA-256 of the
secret. A slow hash such as scrypt is for secrets that people choose: 256 random bits cannot be guessed at any speed,
and a check on every call must be quick.
"""

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from outcrop.errors import AlreadyExists, InvalidArgument, NotFound, OutcropError, Unauthenticated, Unavailable
from outcrop.server.identity import Identity, check_role, check_scope
from outcrop.server.key_file import KeyRecord, locked, read_keys, write_keys
from outcrop.types import check_name

_KEY = re.compile(r"oc_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64  # compared with when no key has the id, so that an answer takes as long


def create_key(
    path: Path, name: str, role: str = "read", scope: Sequence[str] = (), expires_seconds: float | None = None
) -> tuple[str, KeyRecord]:
    """Add a key to the file, which is made where it is missing. Return it, the only time that it is known, and what is
    kept of it.

    scope: see `Identity`. expires_seconds: from now; None: never. Raises InvalidArgument, AlreadyExists,
    StorageFailure, CorruptFile.
    """
    key_id, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), int(time.time())
    if expires_seconds is not None and not 0 < expires_seconds <= 100 * 366 * 86_400:
        raise InvalidArgument(f"expires: expected more than no time and at most 100 years, found {expires_seconds} s")
    record = KeyRecord(
        id=key_id,
        name=check_name("name of a key", name),
        secret_sha256=_digest(secret),
        role=check_role(role),
        scope=check_scope(scope),
        created_unix=now,
        expires_unix=None if expires_seconds is None else now + max(1, int(expires_seconds)),
    )
    with locked(path):
        keys = read_keys(path)
        if any(key.name == name for key in keys):
            raise AlreadyExists(f"key {name!r}: there is one already; choose another name or revoke it first")
        write_keys(path, (*keys, record))
    return f"oc_{key_id}_{secret}", record


def list_keys(path: Path) -> tuple[KeyRecord, ...]:
    """Return what is kept of all keys, in the order they were made. Raises CorruptFile, StorageFailure."""
    return read_keys(path)


def revoke_key(path: Path, id_or_name: str) -> KeyRecord:
    """Remove a key and return what was kept of it. Servers notice at the next call. Raises NotFound as well."""
    if not path.exists():
        raise NotFound(f"{path}: there are no keys")
    with locked(path):
        keys = read_keys(path)
        found = next((key for key in keys if key.id == id_or_name), None)
        found = found or next((key for key in keys if key.name == id_or_name), None)
        if found is None:
            raise NotFound(f"key {id_or_name!r}: no key has this id or name")
        write_keys(path, [key for key in keys if key is not found])
    return found


def has_keys(path: Path) -> bool:
    """Whether there is a key that is still good. Raises CorruptFile, StorageFailure."""
    return any(not _is_over(key) for key in read_keys(path))


class KeyRing:
    """The keys of a file, read again when it changes. For any number of threads."""

    def __init__(self, path: Path) -> None:
        """Read the file, which may be missing. Raises CorruptFile, UnsupportedFormat, StorageFailure."""
        self._path = path
        self._lock = threading.Lock()
        self._required = False
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[str, KeyRecord] = {}
        self._refresh()

    @property
    def required(self) -> bool:
        """Whether calls need a key: the file is there, even one without keys, or was since this ring was made."""
        self._refreshed()
        return self._required

    def identify(self, key: str) -> Identity:
        """Return whose key it is. Raises Unauthenticated; Unavailable when the keys cannot be read."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise Unauthenticated("API key: expected oc_<id>_<secret> as `outcrop key create` prints it")
        record = self._refreshed().get(match["id"])
        is_same = hmac.compare_digest(record.secret_sha256 if record else _NOBODY, _digest(match["secret"]))
        if record is None or not is_same:
            raise Unauthenticated("API key: unknown or revoked; ask the operator of the server for another one")
        if _is_over(record):
            raise Unauthenticated(f"API key {record.name!r}: expired; ask the operator of the server for another one")
        return Identity(record.name, record.role, record.scope)

    def _refreshed(self) -> dict[str, KeyRecord]:
        try:
            return self._refresh()
        except OutcropError as error:
            # What a damaged file says of itself is for the operator, not for whoever calls.
            raise Unavailable("API keys cannot be read; the operator of the server must repair the file") from error

    def _refresh(self) -> dict[str, KeyRecord]:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            with self._lock:
                # Read behind the stamp: a change in between is noticed by the next call.
                self._keys = {key.id: key for key in read_keys(self._path)}
                self._required = self._required or stamp is not None
                self._stamp = stamp
        return self._keys


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_over(key: KeyRecord) -> bool:
    return key.expires_unix is not None and time.time() >= key.expires_unix


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path's own is twice as slow, and this is done on every call
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    return status.st_ino, status.st_mtime_ns, status.st_size
