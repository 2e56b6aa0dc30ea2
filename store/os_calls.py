"""Every call by which this folder changes a disk, in one place.

Each function names its step (`write`, `fsync`, `rename`, ...) to an interceptor before it acts. Tests install one to
cut a writer at any step or to let a device refuse; without one the cost is a comparison. An OSError comes back as
StorageFailure with its errno and the path.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from outcrop.errors import StorageFailure

if TYPE_CHECKING:
    from typing_extensions import Buffer

    # NumPy's stubs declare the buffer protocol from Python 3.12 on only.
    Bytes = Buffer | npt.NDArray[Any]

Interceptor = Callable[[str, Path, Path | None], None]

_interceptor: Interceptor | None = None


@contextlib.contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Call `interceptor(step, path, source)` before every step; what it raises, the caller of the step gets.

    For tests. `source` is the old name in a rename, else None.
    """
    global _interceptor
    previous, _interceptor = _interceptor, interceptor
    try:
        yield
    finally:
        _interceptor = previous


@contextlib.contextmanager
def step(name: str, path: Path, source: Path | None = None) -> Iterator[None]:
    """Announce a step that another library takes (an LMDB commit) and translate its OSError."""
    try:
        if _interceptor is not None:
            _interceptor(name, path, source)
        yield
    except StorageFailure:
        raise
    except OSError as error:
        raise StorageFailure(error.errno, f"{name}: {error.strerror or error}", str(path)) from error


def create(path: Path, mode: int = 0o644) -> int:
    """Open a file for writing, empty, and return its descriptor. mode: of a file that was not there."""
    with step("create", path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)


def reopen(path: Path, size_bytes: int) -> int:
    """Open a file to go on writing behind its first `size_bytes`; what lies there is cut off. Return its descriptor."""
    with step("truncate", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size_bytes)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def write_at(descriptor: int, path: Path, data: "Bytes", offset: int) -> None:
    """Write all of `data` at `offset`, in as many calls as the kernel needs."""
    rest = flat(data)
    while len(rest):
        with step("write", path):
            written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def flat(data: "Bytes") -> memoryview:
    """Return the bytes of a C-contiguous buffer of any type and shape. Raises TypeError for another one."""
    view = memoryview(data)  # type: ignore[arg-type]
    return view.cast("B") if view.nbytes else memoryview(b"")


def sync_data(descriptor: int, path: Path) -> None:
    """Make the file's bytes durable; its name is made durable by `sync_folder`."""
    with step("fsync", path):
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make durable the bytes of a file that another descriptor wrote."""
    with step("fsync", path):
        _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Make durable which names the folder holds."""
    with step("fsync_folder", path):
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def drop_cached(descriptor: int, path: Path, offset: int, length: int) -> None:
    """Write `length` bytes at `offset` out and let the page cache forget them: readers go around it."""
    with step("fsync", path):
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def write_small(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a small file atomically. Its bytes are durable; its name is when the caller has synced the folder.

    mode: the most that a new file allows; 0o600 keeps it from other users.
    """
    scratch = path.with_name(f"{path.name}.new")
    descriptor = create(scratch, mode)
    try:
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & mode)  # a process that died may have left a wider one
        write_at(descriptor, scratch, data, 0)
        sync_data(descriptor, scratch)
    finally:
        os.close(descriptor)
    rename(scratch, path)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name; a file of that name is replaced."""
    with step("rename", target, source):
        source.rename(target)


def make_folder(path: Path) -> None:
    """Make a folder and its parents where they are missing."""
    with step("mkdir", path):
        path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file that may be missing."""
    with step("remove", path):
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it; it may be missing."""
    with step("remove_tree", path):
        if path.exists():
            shutil.rmtree(path)


def lock(path: Path, exclusive: bool, wait: bool) -> int | None:
    """Return a descriptor that holds a flock on `path` until closed, or None when `wait` is false and it is taken.

    Every call opens the file anew, so that the lock also holds between threads of one process. A process that dies
    gives its locks back. An exclusive lock creates the file where it is missing, a shared one only reads, so that
    it works on read-only media. Raises FileNotFoundError when the file, or its folder, is missing; StorageFailure.
    """
    flags = os.O_RDWR | os.O_CREAT if exclusive else os.O_RDONLY
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, mode | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError:
        return None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageFailure(error.errno, f"lock: {error.strerror}", str(path)) from error
    return descriptor


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
