"""What happens where a container's seccomp profile refuses io_uring, as Docker's default one does."""

import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Installs a filter in its own process that answers EPERM to io_uring_setup (425), then opens readers.
SCRIPT = """
import ctypes, struct, sys
from outcrop import native
from outcrop.errors import StorageFailure

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
code = b"".join(struct.pack("<HBBI", *step) for step in [
    (LOAD_NUMBER, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, 425),
    (RETURN, 0, 0, 0x00050000 | 1),  # EPERM
    (RETURN, 0, 0, 0x7FFF0000),      # allow
])
steps = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(steps)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
    sys.exit("no seccomp here")

reader = native.BlockReader()
print(reader.kind, "|", reader.reason)
probe = native.probe_device(sys.argv[1], 0.1)
print(probe.reader, probe.iops > 0)
try:
    native.BlockReader("io_uring")
except StorageFailure as error:
    print("StorageFailure", error.errno, error.strerror or error)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter knows the system call's number there")
def test_a_refused_io_uring_gives_way_to_pread_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTCROP_READER", raising=False)
    path = tmp_path / "data"
    path.write_bytes(bytes(1 << 20))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)], capture_output=True, text=True, check=False
    )
    if "no seccomp here" in done.stderr:
        pytest.skip("this kernel has no seccomp filters")
    assert done.returncode == 0, done.stderr
    chosen, probed, asked = done.stdout.splitlines()
    if "without liburing" not in chosen:
        assert chosen == "pread | io_uring: setup refused: Operation not permitted; using pread"
        assert asked == "StorageFailure 1 io_uring: setup refused: Operation not permitted"
    assert probed == "pread True"
