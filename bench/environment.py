"""Where a benchmark ran: the machine, the kernel, the file system and the commit, as a results page must say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss

from outcrop import native
from outcrop.store import DeviceModel

ROOT = Path(__file__).resolve().parents[1]


def describe(folder: Path, probe_seconds: float = 0.0) -> dict[str, Any]:
    """Return what a results page says about this run. folder: where the files lie that are read.

    probe_seconds: how long to measure the device on the largest file of `folder`; 0: not at all.
    """
    model = DeviceModel()
    found = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": os.uname().release,
        "file_system": _file_system(folder),
        "isa": native.active_isa(),
        "reader": native.BlockReader("auto", 64, 8, True).kind,
        "device_model": {"iops": model.iops, "bandwidth": model.bandwidth, "gap_bytes": model.gap_bytes},
        "python": sys.version.split()[0],
        "faiss": faiss.__version__,
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
    }
    largest = max((path for path in folder.rglob("*.blk")), key=lambda path: path.stat().st_size, default=None)
    if probe_seconds and largest is not None and largest.stat().st_size > 1 << 20:
        probe = native.probe_device(str(largest), probe_seconds)
        found["device_measured"] = {"iops": probe.iops, "bandwidth": probe.sequential_bytes_per_s}
    return found


def commit() -> str:
    """Return the checkout's commit, with a + behind it when files differ from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + ("+" if changed.stdout.strip() else "")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def _file_system(folder: Path) -> str:
    status = folder.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == number:
            return kind.split()[0]
    return "unknown"
