"""Building and verifying the index of a collection."""

from outcrop.client.rpc import Rpc
from outcrop.proto.tensors import to_tensor
from outcrop.types import BuildOptions
from outcrop.v1 import index_pb2 as pb
from outcrop.v1.job_pb2 import Job


def build(collection: str, upload_id: str, job_id: str, options: BuildOptions, threads: int | None) -> Rpc[Job]:
    """Build a new version from an upload. threads: None for those of the server."""
    request = pb.BuildIndexRequest(
        collection=collection,
        upload_id=upload_id,
        job_id=job_id,
        memory_bytes=options.memory_bytes,
        search_memory_bytes=options.search_memory_bytes,
        code=options.code,
        num_centroids=options.num_centroids,
        copies=options.copies,
        copy_rule=options.copy_rule,
        seed=options.seed,
        threads=threads,
        calibration_queries=None if options.calibration_queries is None else to_tensor(options.calibration_queries),
    )
    return Rpc(request, lambda response: response.job)


def verify(collection: str, memory_bytes: int) -> Rpc[Job]:
    """Read every byte of the current version."""
    request = pb.VerifyIndexRequest(collection=collection, memory_bytes=memory_bytes)
    return Rpc(request, lambda response: response.job)
