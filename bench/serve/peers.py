"""The bare gRPC server that figures are compared with: as many bytes come back as ours would send, and nothing is done.

Run by run.py in a process of its own: the port on stdout; ends when standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

UNARY, STREAM = "/bare/Unary", "/bare/Stream"


class Bare(grpc.GenericRpcHandler):
    """Unary answers `response_bytes`; Stream as many chunks as its request says, "COUNT SIZE"."""

    def __init__(self, response_bytes: int) -> None:
        self._response = bytes(response_bytes)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a path."""
        if handler_call_details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(self._unary)
        return grpc.unary_stream_rpc_method_handler(self._stream)

    async def _unary(self, request: bytes, context: Any) -> bytes:
        return self._response

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        count, size = map(int, request.split())
        chunk = bytes(size)
        for _ in range(count):
            yield chunk


async def main(response_bytes: int) -> None:
    """Serve until nobody wants it."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Bare(response_bytes),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await ended.wait()
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
