"""JobService: looking at jobs, watching, cancelling and resuming them."""

from collections.abc import AsyncIterator

from outcrop.server.call import Call
from outcrop.server.jobs import Jobs
from outcrop.v1 import job_pb2 as pb


class JobService:
    """See proto/outcrop/v1/job.proto."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def get_job(self, request: pb.GetJobRequest, call: Call) -> pb.GetJobResponse:
        """Return a job as it is now."""
        return pb.GetJobResponse(job=self._jobs.get(request.job_id, call.identity))

    async def list_jobs(self, request: pb.ListJobsRequest, call: Call) -> pb.ListJobsResponse:
        """Return the jobs that the caller may see."""
        return pb.ListJobsResponse(jobs=self._jobs.listed(call.identity, request.ended))

    async def watch_job(self, request: pb.WatchJobRequest, call: Call) -> AsyncIterator[pb.WatchJobResponse]:
        """Yield a job whenever it has changed."""
        async for job in self._jobs.watch(request.job_id, call.identity):
            yield pb.WatchJobResponse(job=job)

    async def cancel_job(self, request: pb.CancelJobRequest, call: Call) -> pb.CancelJobResponse:
        """Ask a job to stop."""
        return pb.CancelJobResponse(job=await self._jobs.cancel(request.job_id, call.identity))

    async def resume_job(self, request: pb.ResumeJobRequest, call: Call) -> pb.ResumeJobResponse:
        """Start a job again."""
        return pb.ResumeJobResponse(job=await self._jobs.resume(request.job_id, call.identity))
