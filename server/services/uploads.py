"""UploadService: large input on its way."""

from collections.abc import AsyncIterator

from outcrop.proto.chunks import Chunk
from outcrop.server.call import Call
from outcrop.server.uploads import Uploads
from outcrop.v1 import upload_pb2 as pb


class UploadService:
    """See proto/outcrop/v1/upload.proto."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def upload(self, requests: AsyncIterator[Chunk[pb.UploadRequest]], call: Call) -> pb.UploadResponse:
        """Append the chunks of a stream."""
        return pb.UploadResponse(arrays=await self._uploads.append(requests, call.identity.name))

    async def get_upload(self, request: pb.GetUploadRequest, call: Call) -> pb.GetUploadResponse:
        """Return what is durable."""
        return pb.GetUploadResponse(arrays=await self._uploads.arrays(request.upload_id, call.identity.name))

    async def delete_upload(self, request: pb.DeleteUploadRequest, call: Call) -> pb.DeleteUploadResponse:
        """Remove an upload that is not needed."""
        await self._uploads.remove(request.upload_id, call.identity.name)
        return pb.DeleteUploadResponse()
