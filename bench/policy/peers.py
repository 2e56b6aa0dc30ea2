"""The peers: policies that do not know the future, compiled from peers.cpp when they are first wanted."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PEERS = ("lru", "sieve", "s3_fifo")

Misses = npt.NDArray[np.uint64]


@cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("peers.cpp")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "peers.so"
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-std=c++20", "-O3", "-shared", "-fPIC", str(source), "-o", str(built)], check=True)
        return ctypes.CDLL(str(built))


def peer_misses(name: str, requests: list[npt.NDArray[np.uint32]], num_keys: int, capacity: int) -> Misses:
    """Return the misses of each request: uint64 [num_requests]. capacity: at least 1."""
    assert name in PEERS
    assert capacity >= 1
    keys = np.ascontiguousarray(np.concatenate(requests))
    ends = np.cumsum([len(r) for r in requests], dtype=np.uint64)
    misses = np.zeros(len(requests), np.uint64)
    sizes = (ctypes.c_uint64(len(requests)), ctypes.c_uint64(num_keys), ctypes.c_uint64(capacity))
    getattr(_library(), name)(_pointer(keys), _pointer(ends), *sizes, _pointer(misses))
    return misses


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
