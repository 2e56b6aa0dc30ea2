"""The catalog: small JSON records in LMDB, changed by transactions that survive a crash. See docs/formats/catalog.md.

LMDB maps its file and trusts every byte of it, so a damaged file can kill the process that opens it. Therefore the
catalog is verified before LMDB sees it: its structure by `lmdb.verify`, which never maps, and its content by the seal,
a file with the transaction number and a checksum over all records. Unchanged since then, it is not verified again.

One flock (shared to read, exclusive to write) guards every access, so LMDB's own lock file is not used: nothing stays
behind when a process dies, read-only media work, and a forked child inherits nothing.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import lmdb.verify

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure
from outcrop.store import os_calls
from outcrop.store.format.lmdb_meta import check_meta_pages
from outcrop.store.format.record import pack_record, unpack_record

# Address space, not memory. Far more than one transaction can add, and the map is laid out anew for each.
_MAP_HEADROOM_BYTES = 256 << 20

# Twenty-five ticks of a file system's clock, and less than anybody notices.
_SURELY_TICKED_NS = 100_000_000

# A process may open an LMDB file once at a time, and must not fork meanwhile.
_gate = threading.Lock()
os.register_at_fork(before=_gate.acquire, after_in_parent=_gate.release, after_in_child=_gate.release)

# What LMDB's file may hold: transaction number -> checksum over all records after it, and the file's least size.
_Seal = dict[int, tuple[int, int]]


class View:
    """The records as one transaction sees them. A key is a table and a name within it."""

    def __init__(self, transaction: "lmdb.Transaction[bytes]", name: str) -> None:
        self._transaction = transaction
        self._name = name

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        """Return a record, or None. Raises CorruptFile when its checksum fails."""
        value = self._transaction.get(_pack_key(table, key))
        return None if value is None else unpack_record(value, f"{self._name}: {table}/{key}")

    def scan(self, table: str, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the records of a table whose key starts with `prefix`, in the order of their keys."""
        start = _pack_key(table, prefix)
        with self._transaction.cursor() as cursor:
            found = cursor.set_range(start)
            while found and cursor.key().startswith(start):
                key = cursor.key()[len(table) + 1 :].decode("ascii")
                yield key, unpack_record(cursor.value(), f"{self._name}: {table}/{key}")
                found = cursor.next()


class Change(View):
    """A view that may also change records; all its changes become visible together, or none."""

    # LMDB gives a transaction without changes no number, and so there is nothing to seal.
    changed = False

    def put(self, table: str, key: str, fields: dict[str, Any]) -> None:
        """Write a record. Raises InvalidArgument for what is not JSON."""
        packed_key = _pack_key(table, key)
        if len(packed_key) > 511:
            raise InvalidArgument(f"key of a record: expected at most 511 bytes, found {len(packed_key)}")
        self._transaction.put(packed_key, pack_record(fields))
        self.changed = True

    def delete(self, table: str, key: str) -> None:
        """Remove a record that may be missing."""
        self.changed |= self._transaction.delete(_pack_key(table, key))


class Catalog:
    """The LMDB file `data.mdb`, its `seal` and its `lock`, in one folder. Holds nothing open between transactions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data.mdb"
        self._seal = folder / "seal"
        self._lock = folder / "lock"
        self._verified: tuple[object, ...] = ()

    @classmethod
    def create(cls, folder: Path) -> "Catalog":
        """Make an empty catalog in a folder that does not exist. Raises StorageFailure."""
        os_calls.make_folder(folder)
        catalog = cls(folder)
        with _gate, catalog._locked(exclusive=True), catalog._environment(read_only=False) as environment:
            with environment.begin(write=True) as transaction:
                transaction.put(b"catalog/format", pack_record({"format": 1}))
                catalog._commit(transaction, {})
            catalog._verified = ()
        os_calls.sync_folder(folder)
        return catalog

    def token(self) -> tuple[object, ...]:
        """Return what no two states of the catalog have in common, without opening it: two calls with equal tokens lie
        between the same two commits, by whatever process.

        Each commit writes the data and replaces the seal. Where clocks of file systems tick so slowly (4 ms) that two
        commits may look alike, the seal's bytes are a part of it: they name the last transaction.
        """
        try:
            data, seal = self._data.stat(), self._seal.stat()
            changed_ns = max(data.st_mtime_ns, seal.st_mtime_ns)
            recent = abs(time.time_ns() - changed_ns) < _SURELY_TICKED_NS
            content = self._seal.read_bytes() if recent else b""
        except OSError:
            return (None, time.monotonic_ns())  # it is told by whoever reads
        return (data.st_ino, data.st_size, data.st_mtime_ns, seal.st_ino, seal.st_mtime_ns, content)

    @contextlib.contextmanager
    def read(self) -> Iterator[View]:
        """A consistent view. Keep it short: writers wait.

        Raises CorruptFile when the catalog does not verify, StorageFailure.
        """
        with _gate, self._locked(exclusive=False):
            seal = self._check()
            with self._environment(read_only=True) as environment, environment.begin() as transaction:
                self._check_seal(environment, transaction, seal)
                yield View(transaction, str(self._data))

    @contextlib.contextmanager
    def write(self) -> Iterator[Change]:
        """A transaction, durable when the block is left; an exception inside undoes it.

        Raises CorruptFile when the catalog does not verify, StorageFailure when the device refuses. After that one
        the transaction may still have been committed: read to learn.
        """
        with _gate, self._locked(exclusive=True):
            seal = self._check()
            with self._environment(read_only=False) as environment, environment.begin(write=True) as transaction:
                self._check_seal(environment, transaction, seal)
                change = Change(transaction, str(self._data))
                yield change
                if not change.changed:
                    return
                self._verified = ()
                last = environment.info()["last_txnid"]
                seal = self._commit(transaction, {last: seal[last]})
            self._remember(seal)

    def sweep(self) -> None:
        """Remove what a writer left that died within a commit."""
        with _gate, self._locked(exclusive=True):
            os_calls.remove(self._seal.with_name("seal.new"))

    @contextlib.contextmanager
    def _locked(self, exclusive: bool) -> Iterator[None]:
        try:
            descriptor = os_calls.lock(self._lock, exclusive, wait=True)
        except FileNotFoundError as error:
            raise CorruptFile(f"{self._lock}: expected the catalog's lock file, found none") from error
        assert descriptor is not None
        try:
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _environment(self, read_only: bool) -> Iterator[lmdb.Environment]:
        size = self._data.stat().st_size if self._data.exists() else 0
        try:
            with lmdb.open(
                str(self._folder),
                map_size=_MAP_HEADROOM_BYTES + 2 * size,
                readonly=read_only,
                create=not read_only,
                readahead=False,
                lock=False,
                lib_version=0,
            ) as environment:
                yield environment
        except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError) as error:
            raise CorruptFile(f"{self._data}: {error}") from error
        except lmdb.Error as error:
            raise StorageFailure(max(0, getattr(error, "code", 0)), str(error), str(self._data)) from error

    def _commit(self, transaction: "lmdb.Transaction[bytes]", before: _Seal) -> _Seal:
        """Commit so that every crash leaves a content that the seal knows: the one before or the one after."""
        number, checksum = transaction.id(), _checksum(transaction)
        both = before | {number: (checksum, self._data.stat().st_size)}  # LMDB's file never shrinks
        self._write_seal(both)
        os_calls.sync_folder(self._folder)
        with os_calls.step("commit", self._data):
            transaction.commit()
        # The transaction is durable and sealed. Narrowing the seal to it must not turn success into failure.
        with contextlib.suppress(StorageFailure):
            after = {number: (checksum, self._data.stat().st_size)}
            self._write_seal(after)
            return after
        return both

    def _write_seal(self, seal: _Seal) -> None:
        accepts = [[number, checksum, size] for number, (checksum, size) in sorted(seal.items())]
        os_calls.write_small(self._seal, pack_record({"format": 1, "accepts": accepts}))

    def _check(self) -> _Seal:
        """Return the seal, after verifying the structure of the LMDB file unless both are as last verified."""
        seal = self._read_seal()
        if self._stamp(seal) == self._verified:
            return seal
        try:
            # lmdb.verify forgives a missing end, and touching it through the map would kill the process.
            size, least = self._data.stat().st_size, min(size for _, size in seal.values())
            if size < least:
                raise CorruptFile(f"{self._data}: {size} bytes long, expected at least {least}")
            check_meta_pages(self._data)
            problems = lmdb.verify.verify(str(self._data))  # type: ignore[no-untyped-call]
        except FileNotFoundError as error:
            raise CorruptFile(f"{self._data}: expected the catalog, found no file") from error
        except CorruptFile:
            raise
        except OSError as error:
            raise StorageFailure(error.errno, str(error.strerror), str(self._data)) from error
        except Exception as error:
            raise CorruptFile(f"{self._data}: {error}") from error
        if problems:
            raise CorruptFile(f"{self._data}: {problems[0]}")
        return seal

    def _read_seal(self) -> _Seal:
        try:
            fields = unpack_record(self._seal.read_bytes(), str(self._seal))
        except FileNotFoundError as error:
            raise CorruptFile(f"{self._seal}: expected the catalog's seal, found no file") from error
        except OSError as error:
            raise StorageFailure(error.errno, str(error.strerror), str(self._seal)) from error
        return {number: (checksum, size) for number, checksum, size in fields["accepts"]}

    def _check_seal(self, environment: lmdb.Environment, transaction: "lmdb.Transaction[bytes]", seal: _Seal) -> None:
        if self._stamp(seal) == self._verified:
            return
        number = environment.info()["last_txnid"]
        if number not in seal:
            raise CorruptFile(f"{self._data}: transaction {number}, expected {' or '.join(map(str, sorted(seal)))}")
        found, (expected, _) = _checksum(transaction), seal[number]
        if found != expected:
            raise CorruptFile(f"{self._data}: checksum 0x{found:08x} over all records, expected 0x{expected:08x}")
        self._remember(seal)

    def _remember(self, seal: _Seal) -> None:
        self._verified = self._stamp(seal)

    def _stamp(self, seal: _Seal) -> tuple[object, ...]:
        """What tells one state of the LMDB file from another without reading it."""
        try:
            status = self._data.stat()
        except FileNotFoundError:
            return (None,)
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, tuple(sorted(seal.items())))


def _pack_key(table: str, key: str) -> bytes:
    return f"{table}/{key}".encode("ascii")


def _checksum(transaction: "lmdb.Transaction[bytes]") -> int:
    """CRC32C over all records, each with its lengths in front, so that no byte can move between key and value."""
    crc = 0
    with transaction.cursor() as cursor:
        for key, value in cursor:
            frame = len(key).to_bytes(4, "little") + len(value).to_bytes(4, "little") + key + value
            crc = native.crc32c(frame, crc)
    return int(crc)
