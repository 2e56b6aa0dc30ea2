"""Whatever is sent to whatever RPC, a status comes back, and the server is as good as before.

OUTCROP_FUZZ_REQUESTS and OUTCROP_FUZZ_SEED: how many requests, and which ones.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.rpcs import call, method_named
from tests.server.graph_root import make_root
from tests.server.messages import Fuzzer
from tests.serving import Served, serving

from outcrop.embedded import connect
from outcrop.proto.methods import Method, methods
from outcrop.proto.tensors import to_tensor
from outcrop.server.keys import create_key
from outcrop.server.settings import KEYS_FILE
from outcrop.v1 import vector_pb2

SEED = int(os.environ.get("OUTCROP_FUZZ_SEED", "4"))
REQUESTS = int(os.environ.get("OUTCROP_FUZZ_REQUESTS", "3000"))
THREADS = 8
MESSAGE_BYTES = 256 << 10
NAMES = [
    "vectors",
    "empty",
    "g",
    "h",
    "x",
    "xq",
    "a",
    "b",
    "p",
    "q",
    "collections",
    "graphs",
    "features",
    "plans",
    "job",
]
# A stream may go on for ever: this many messages are read of each.
MOST_MESSAGES = 20
MOST_GROWTH_BYTES = 256 << 20
MOST_MORE_FILES = 40


@dataclass
class Fuzzed:
    """A server with something in it. Drain is called by a key that may not, lest the test end there."""

    server: Served
    channel: grpc.Channel
    keys: dict[str, str]
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, method: Method, requests: list[bytes]) -> None:
        make = getattr(self.channel, f"{_kind(method.client_streaming)}_{_kind(method.server_streaming)}")(method.path)
        key = self.keys["write" if method.name == "Drain" else "admin"]
        sent: Any = iter(requests) if method.client_streaming else requests[0]
        code, text = self._outcome(make, sent, (("x-api-key", key),))
        with self.lock:
            self.codes[code] += 1
            if code in ("UNKNOWN", "UNIMPLEMENTED") or "fault of the server" in text or "Traceback" in text:
                self.faults.append(f"{method.path}: {code}: {text}: {requests!r:.2000}")

    def _outcome(self, make: Any, sent: Any, metadata: Any) -> tuple[str, str]:
        try:
            answer = make(sent, timeout=3, metadata=metadata)
            if not isinstance(answer, bytes):
                for number, _ in enumerate(answer):
                    if number >= MOST_MESSAGES:
                        answer.cancel()
                        break
        except grpc.RpcError as error:
            failed: Any = error
            return failed.code().name, str(failed.details())
        return "OK", ""

    @property
    def resident_bytes(self) -> int:
        lines = Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))


def _kind(streaming: bool) -> str:
    return "stream" if streaming else "unary"


@pytest.fixture
def fuzzed(tmp_path: Path) -> Iterator[Fuzzed]:
    root = tmp_path / "root"
    make_root(root)
    with connect(root, memory="32MiB") as database:
        database.create_collection("vectors", dim=4).build(_rows(), memory="32MiB").wait()
        database.create_collection("empty", dim=3)
        database.create_snapshot("s")
    keys = {role: create_key(root / KEYS_FILE, role, role)[0] for role in ("write", "admin")}
    settings = {"limits": {"message": MESSAGE_BYTES}, "memory": "64MiB", "log": {"level": "error"}}
    options = [("grpc.max_send_message_length", -1)]
    with serving(root, **settings) as server, grpc.insecure_channel(server.address, options=options) as channel:
        yield Fuzzed(server, channel, keys)


def _rows() -> "np.ndarray[Any, Any]":
    return np.random.default_rng(SEED).standard_normal((500, 4)).astype(np.float32)


@pytest.mark.timeout(max(300, REQUESTS // 20))
def test_any_request_to_any_rpc_gets_a_status(fuzzed: Fuzzed) -> None:
    print(f"seed {SEED}, {REQUESTS} requests")
    _send_all(fuzzed, SEED, REQUESTS // 3)
    before, files = fuzzed.resident_bytes, fuzzed.open_files
    _send_all(fuzzed, SEED + 1, REQUESTS - REQUESTS // 3)

    print(dict(fuzzed.codes), f"resident memory grew by {fuzzed.resident_bytes - before} bytes")
    assert fuzzed.faults == [], fuzzed.faults[:5]
    assert set(fuzzed.codes) <= {code.name for code in grpc.StatusCode}
    assert sum(fuzzed.codes.values()) == REQUESTS
    assert fuzzed.server.process.poll() is None
    _wait_until_quiet(fuzzed, files)
    assert fuzzed.resident_bytes - before < MOST_GROWTH_BYTES
    assert _still_answers(fuzzed)
    assert fuzzed.server.stop() == 0


def _send_all(fuzzed: Fuzzed, seed: int, count: int) -> None:
    fuzzer = Fuzzer(seed, NAMES)
    every = list(methods().values())
    with ThreadPoolExecutor(THREADS) as threads:
        sent = []
        for number in range(count):
            method = every[number % len(every)]
            requests = [_request(fuzzer, method) for _ in range(fuzzer.random.randrange(1, 4))]
            sent.append(threads.submit(fuzzed.send, method, requests))
        for each in sent:
            each.result()


def _request(fuzzer: Fuzzer, method: Method) -> bytes:
    if fuzzer.random.random() < 0.01:
        return bytes(MESSAGE_BYTES + 1)
    # Dropping what the other requests are about would leave nothing to ask.
    if method.name.startswith("Delete") and fuzzer.random.random() < 0.99:
        return fuzzer.request(method.request)[:3]
    return fuzzer.request(method.request)


def _wait_until_quiet(fuzzed: Fuzzed, files: int) -> None:
    until = time.monotonic() + 30
    while fuzzed.open_files > files + MOST_MORE_FILES:
        assert time.monotonic() < until, f"{fuzzed.open_files} files are open, expected about {files}"
        time.sleep(0.2)


def _still_answers(fuzzed: Fuzzed) -> bool:
    """Some of it may have been dropped or built anew by then, which is what was asked for."""
    making = method_named("CollectionService.ListCollections")
    metadata = {"x-api-key": fuzzed.keys["admin"]}
    assert call(fuzzed.channel, making, b"", metadata)
    search = vector_pb2.SearchRequest(collection="vectors", k=3, queries=to_tensor(_rows()[:2]))
    return bool(call(fuzzed.channel, method_named("VectorService.Search"), search, metadata))
