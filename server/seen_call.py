"""What is told of one call: to metrics, to a trace, to the log."""

import time
from dataclasses import dataclass
from typing import Any

import grpc

from outcrop.errors import OutcropError
from outcrop.proto.methods import Method
from outcrop.server.identity import Identity
from outcrop.server.logs import log_call
from outcrop.server.metrics import MethodMeter
from outcrop.server.tracing import CallSpan


@dataclass(slots=True)
class SeenCall:
    """Between its begin and its end, whoever handles the call says what it learns: caller, error, code."""

    method: Method
    request_id: str
    meter: MethodMeter
    span: CallSpan
    caller: Identity | None = None
    error: Exception | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    began: float = 0.0

    def begin(self, num_bytes: int) -> None:
        """The call has arrived. num_bytes: of its request."""
        self.began = time.perf_counter()
        self.meter.begin()
        self.meter.received(num_bytes)
        self.span.note("request_id", self.request_id)

    def end(self) -> None:
        """It has its status."""
        seconds, code = time.perf_counter() - self.began, self.code.name
        self.meter.end(code, seconds)
        self.span.ended(code, self.code.value[0], str(self.error or ""))
        told: dict[str, Any] = {"request_id": self.request_id}
        if self.caller is not None:
            told["caller"] = self.caller.name
        if self.error is not None:
            told["error"] = str(self.error)
        if self.error is not None and not isinstance(self.error, OutcropError):
            self.span.failed(self.error)
            told["exc_info"] = self.error
        log_call(self.method.path, code, seconds, **told)
