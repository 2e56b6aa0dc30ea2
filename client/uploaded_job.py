"""A job whose input is here: it is uploaded, then the server works on it; taken up where an earlier call left it."""

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from outcrop.client.job import UPLOAD_SHARE, Control, followed
from outcrop.client.rpc import Rpc
from outcrop.client.rpcs import jobs
from outcrop.client.script import Call, Script
from outcrop.client.uploading import Told, Uploaded, upload
from outcrop.errors import NotFound

Begin = Callable[[str], Rpc[Any]]


def uploaded_job(
    upload_id: str, job_id: str, arrays: Callable[[], Iterable[Uploaded]], told: Told, begin: Begin, control: Control
) -> Script[Any]:
    """Upload what is needed, begin the job, and return its result.

    job_id: the same for the same input and options. begin: asks for the job of an id.
    """
    job_id, old = yield from _found(job_id)
    if old is None or old.state in (jobs.FAILED, jobs.CANCELLED):
        yield from upload(upload_id, arrays(), told)
    yield from _begun(job_id, old, begin)
    return (yield from followed(job_id, control, UPLOAD_SHARE))


def begun_job(job_id: str, begin: Begin) -> Script[str]:
    """Begin a job that needs no upload, or go on with one that was left unfinished; return its id."""
    job_id, old = yield from _found(job_id)
    yield from _begun(job_id, old, begin)
    return job_id


def _found(job_id: str) -> Script[tuple[str, Any]]:
    """Return the name of a job to begin, or that of one to go on with, and that one. One that has succeeded is over:
    the same call again means another one."""
    try:
        old = yield Call(jobs.get(job_id))
    except NotFound:
        return job_id, None
    return (f"{job_id}-{secrets.token_hex(4)}", None) if old.state == jobs.SUCCEEDED else (job_id, old)


def _begun(job_id: str, old: Any, begin: Begin) -> Script[None]:
    if old is None:
        yield Call(begin(job_id))
    elif old.state in (jobs.FAILED, jobs.CANCELLED):
        yield Call(jobs.resume(job_id))
