"""What comes of a job: its work is done, and whatever happens becomes an outcome that can be stored and told."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from outcrop.errors import Cancelled, OutcropError, StorageFailure
from outcrop.proto.documents import to_document
from outcrop.proto.status import text_of
from outcrop.server.job_journal import JobOutcome
from outcrop.server.tracked_job import TrackedJob
from outcrop.server.work import Work
from outcrop.v1.common_pb2 import Document

_log = structlog.get_logger("outcrop.jobs")


def outcome_of(job: TrackedJob, run: Callable[[Work], Any]) -> JobOutcome:
    """Do the work of a job that was begun, in this thread. Raises nothing."""
    assert job.work is not None
    log = _log.bind(job=job.request.id, kind=job.request.kind)
    log.info("job begun")
    try:
        result = run(job.work)
        document = Document() if result is None else to_document(result)
    except Cancelled as error:
        log.info("job stopped")
        return JobOutcome("cancelled", time.time(), error.code, text_of(error))
    except OutcropError as error:
        log.warning("job failed", error=str(error))
        number = (error.errno or 0) if isinstance(error, StorageFailure) else 0
        return JobOutcome("failed", time.time(), error.code, text_of(error), number)
    except Exception:
        # Not for callers: the text may tell of paths and of memory.
        log.exception("job failed by a fault of the server")
        text = f"a fault of the server; its log tells more of job {job.request.id}"
        return JobOutcome("failed", time.time(), OutcropError.code, text)
    log.info("job succeeded")
    return JobOutcome("succeeded", time.time(), result_type=document.type, result_json=document.json)
