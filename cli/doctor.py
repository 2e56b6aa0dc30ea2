"""`outcrop doctor`: what this machine's device, CPU and limits allow, and what to change. It leaves nothing behind."""

import importlib.metadata
import mmap
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from outcrop import native
from outcrop.cli.command import Run
from outcrop.errors import InvalidArgument, NotFound
from outcrop.store import format_bytes, parse_bytes

_BLOCK_BYTES = 4096
_SCRATCH_SIZE = "256MiB"
_CHUNK_BYTES = 1 << 20  # the largest read that the probe makes
_ENOUGH_MEMLOCK_BYTES = 8 << 20  # the kernel's usual default: room for the buffers of a few readers
_ENOUGH_OPEN_FILES = 1024  # what most systems give; a collection holds a handful open


@dataclass(frozen=True, slots=True)
class Reader:
    """The block reader that serves reads here, why it was chosen, and what it could not have."""

    kind: str
    reason: str
    notes: str


@dataclass(frozen=True, slots=True)
class Cpu:
    """The instructions that the CPU has, and the set that the kernels use."""

    isa: str
    features: list[str]


@dataclass(frozen=True, slots=True)
class Device:
    """What the device under `folder` does, measured through the active reader.

    merge_gap_bytes: reading this many unwanted bytes costs as much as one more read, bandwidth / IOPS.
    """

    folder: Path
    file_system: str
    direct: bool
    queue_depth: int
    iops_depth_1: float
    iops: float
    iops_16k: float
    iops_64k: float
    sequential_bytes_per_s: float
    merge_gap_bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of this process; None is unlimited."""

    memlock_bytes: int | None
    open_files: int | None
    io_uring_disabled: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `outcrop doctor` finds out."""

    versions: dict[str, str]
    reader: Reader
    cpu: Cpu
    device: Device
    limits: Limits
    advice: list[str]


def doctor(
    run: Run,
    seconds: Annotated[float, typer.Option(help="How long to measure, all in all.", min=0.01)] = 3.0,
    size: Annotated[
        str | None, typer.Option(help="Of the scratch file that is written, read and removed [default: 256MiB].")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read this file instead of a scratch file.")] = None,
) -> None:
    """Probe the device, the reader, the CPU and the limits, and give advice.

    The device is the one that holds --path, or the folder above it that exists. With --endpoint it is the server that
    is probed: whether it answers, how fast, what it allows, and what the key may do.
    """
    run.only_embedded(size=size, file=file)
    if run.endpoint is not None:
        from outcrop.cli.doctor_server import examine, server_table  # loads grpc

        found = examine(run, seconds)
        run.output.result(found, text=server_table(found))
        return
    cpu = Cpu(native.active_isa(), sorted(name for name, present in native.cpu_features().items() if present))
    scratch_bytes = parse_bytes(size or _SCRATCH_SIZE)
    reader, device = _probe_file(run, file, seconds) if file else _probe_folder(run, scratch_bytes, seconds)
    report = Report(_versions(), reader, cpu, device, _limits(), advice=[])
    report.advice.extend(advice(report))
    run.output.result(report, text=_table(report))


def advice(report: Report) -> Iterator[str]:
    """Yield what is worth changing on this machine, most important first."""
    reader, cpu, device, limits = report.reader, report.cpu, report.device, report.limits
    if not device.direct:
        yield f"{device.file_system} refuses O_DIRECT: reads use the page cache, outside the memory budget"
    if reader.kind == "pread" and "OUTCROP_READER" not in os.environ:
        yield _why_not_io_uring(reader, limits)
    if reader.kind == "io_uring" and limits.memlock_bytes is not None and limits.memlock_bytes < _ENOUGH_MEMLOCK_BYTES:
        yield f"buffers registered with the kernel end at {format_bytes(limits.memlock_bytes)}: raise `ulimit -l`"
    if limits.open_files is not None and limits.open_files < _ENOUGH_OPEN_FILES:
        yield f"only {limits.open_files} files may be open: raise `ulimit -n` to {_ENOUGH_OPEN_FILES} or more"
    if cpu.isa == "scalar":
        cause = "unset OUTCROP_CPU" if "avx2" in cpu.features else "this CPU has no AVX2"
        yield f"distances are computed without vector instructions: {cause}"
    if device.iops < 2 * device.iops_depth_1:
        yield "many reads in flight are hardly faster than one: the device, or the quota on it, is the limit"


def _why_not_io_uring(reader: Reader, limits: Limits) -> str:
    if limits.io_uring_disabled:
        return "the kernel has io_uring switched off: `sysctl kernel.io_uring_disabled=0` allows it"
    if "liburing" in reader.reason:
        return "for io_uring: apt-get install -y liburing-dev pkg-config, then install outcrop again"
    return "io_uring is refused; in a container, its seccomp profile must allow io_uring_{setup,enter,register}"


def _probe_folder(run: Run, size_bytes: int, seconds: float) -> tuple[Reader, Device]:
    folder = next(folder for folder in (run.path.absolute(), *run.path.absolute().parents) if folder.is_dir())
    with _scratch_file(run, folder, size_bytes) as scratch:
        return _probe_file(run, scratch, seconds)


def _probe_file(run: Run, file: Path, seconds: float) -> tuple[Reader, Device]:
    if not file.is_file():
        raise NotFound(f"{file}: no such file")
    if file.stat().st_size < _CHUNK_BYTES:
        raise InvalidArgument(f"{file}: {file.stat().st_size} bytes, expected {_CHUNK_BYTES} or more to measure on")
    with run.output.progress("measuring the device"):
        found = native.probe_device(str(file), seconds)
    folder = file.absolute().parent
    return Reader(found.reader, found.reason, found.notes), Device(
        folder=folder,
        file_system=_file_system(folder),
        direct=_opens_direct(file),
        queue_depth=found.queue_depth,
        iops_depth_1=found.iops_depth_1,
        iops=found.iops,
        iops_16k=found.iops_16k,
        iops_64k=found.iops_64k,
        sequential_bytes_per_s=found.sequential_bytes_per_s,
        merge_gap_bytes=round(found.merge_gap_bytes),
    )


@contextmanager
def _scratch_file(run: Run, folder: Path, size_bytes: int) -> Iterator[Path]:
    """Give a file of random bytes (devices compress and skip zeros) that is on the device and not in the page cache."""
    if size_bytes < _CHUNK_BYTES:
        raise InvalidArgument(f"--size {size_bytes} bytes, expected {_CHUNK_BYTES} or more")
    random = np.random.default_rng(0)
    with tempfile.NamedTemporaryFile(prefix=".outcrop-doctor-", dir=folder) as file:
        with run.output.progress("writing a scratch file", total=size_bytes // _CHUNK_BYTES) as bar:
            for _ in range(size_bytes // _CHUNK_BYTES):
                file.write(random.bytes(_CHUNK_BYTES))
                bar.advance()
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        yield Path(file.name)


def _opens_direct(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        # Some file systems accept the flag and refuse the read. An anonymous map is aligned as O_DIRECT asks.
        with mmap.mmap(-1, _BLOCK_BYTES) as buffer:
            return os.preadv(descriptor, [buffer], 0) == _BLOCK_BYTES
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds the folder, as the kernel names it."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0]
    return "unknown"


def _limits() -> Limits:
    def soft(which: int) -> int | None:
        limit = resource.getrlimit(which)[0]
        return None if limit == resource.RLIM_INFINITY else limit

    switch = Path("/proc/sys/kernel/io_uring_disabled")  # since Linux 6.6
    disabled = int(switch.read_text()) if switch.exists() else 0
    return Limits(soft(resource.RLIMIT_MEMLOCK), soft(resource.RLIMIT_NOFILE), disabled)


def _versions() -> dict[str, str]:
    names = {"outcrop": "outcrop", "faiss": "faiss-cpu", "numpy": "numpy", "lmdb": "lmdb"}
    return {"kernel": os.uname().release} | {name: importlib.metadata.version(d) for name, d in names.items()}


def _table(report: Report) -> Table:
    device, limits = report.device, report.limits
    memlock = "unlimited" if limits.memlock_bytes is None else format_bytes(limits.memlock_bytes)
    rows = {
        "versions": " · ".join(f"{name} {version}" for name, version in report.versions.items()),
        "reader": f"{report.reader.kind} ({report.reader.reason})\n{report.reader.notes}".rstrip(),
        "cpu": f"{report.cpu.isa} in use; has {' '.join(report.cpu.features)}",
        "folder": f"{device.folder} ({device.file_system}, O_DIRECT {'works' if device.direct else 'refused'})",
        "random reads": f"{device.iops_depth_1:,.0f}/s alone, {device.iops:,.0f}/s with {device.queue_depth} in flight",
        "larger reads": f"{device.iops_16k:,.0f}/s of 16 KiB · {device.iops_64k:,.0f}/s of 64 KiB",
        "bandwidth": f"{device.sequential_bytes_per_s / 1e6:,.0f} MB/s",
        "merge gap": f"{device.merge_gap_bytes:,} bytes: a gap this long costs as much as one more read",
        "limits": f"locked memory {memlock} · open files {limits.open_files or 'unlimited'}",
        "advice": "\n".join(report.advice) or "none: all is well",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(name, text)
    return table
