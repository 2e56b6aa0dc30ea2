"""Writes service_v1/: a job with its outcome, and an upload, as version 1 of docs/formats/service.md has them.

Run it only to make a golden of a new version: python -m tests.golden.make_service_v1
"""

import shutil
from pathlib import Path

from outcrop.server.job_journal import JobJournal, JobOutcome, JobRequest, digest
from outcrop.server.upload_files import StagedArray, StagedUpload, folder_name

FOLDER = Path(__file__).with_name("service_v1")
MESSAGE = b"\n\x04docs\x12\x02u1"
REQUEST = JobRequest("nightly", "build", "alice", 7, 1_700_000_000.25, digest(MESSAGE))
OUTCOME = JobOutcome("failed", 1_700_000_060.5, "storage_failure", "[Errno 28] write: No space left on device", 28)
ROWS = bytes(range(36))
USED_UNIX = 1_700_000_000.0


def write(folder: Path) -> None:
    """Write both, as a server does, into a folder."""
    journal = JobJournal(folder / "jobs")
    list(journal.load())
    journal.add(REQUEST, MESSAGE)
    journal.set_outcome(REQUEST.id, OUTCOME)
    upload = StagedUpload(folder / "uploads" / folder_name("u1", "alice"), "u1", "alice", USED_UNIX)
    upload.folder.mkdir(parents=True)
    upload.arrays["vectors"] = StagedArray("0000.rows", "<f4", (3,), 0, len(ROWS))
    (upload.folder / "0000.rows").write_bytes(ROWS)
    upload.store({"vectors": len(ROWS)})


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write(FOLDER)
