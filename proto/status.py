"""Errors as gRPC statuses, and back: the client raises the class that the server raised, with the same text."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from outcrop import errors
from outcrop.errors import OutcropError

DOMAIN = "outcrop"
DETAILS = "grpc-status-details-bin"
# Headers of a response have 8 KiB in all; a text may go on and on.
_LONGEST_TEXT = 2048

Code = grpc.StatusCode

# code of the class -> status. The code itself travels in ErrorInfo, so two classes may share a status.
_STATUS: Mapping[str, grpc.StatusCode] = {
    "invalid_argument": Code.INVALID_ARGUMENT,
    "not_found": Code.NOT_FOUND,
    "already_exists": Code.ALREADY_EXISTS,
    "corrupt_file": Code.DATA_LOSS,
    "unsupported_format": Code.FAILED_PRECONDITION,
    "storage_failure": Code.INTERNAL,
    "resource_exhausted": Code.RESOURCE_EXHAUSTED,
    "unavailable": Code.UNAVAILABLE,
    "deadline_exceeded": Code.DEADLINE_EXCEEDED,
    "unauthenticated": Code.UNAUTHENTICATED,
    "permission_denied": Code.PERMISSION_DENIED,
    "cancelled": Code.CANCELLED,
    "internal": Code.INTERNAL,
}
# What a status means that no server of ours has sent: a proxy, grpc itself.
_CLASS: Mapping[grpc.StatusCode, type[OutcropError]] = {
    Code.INVALID_ARGUMENT: errors.InvalidArgument,
    Code.OUT_OF_RANGE: errors.InvalidArgument,
    Code.FAILED_PRECONDITION: errors.InvalidArgument,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.AlreadyExists,
    Code.DATA_LOSS: errors.CorruptFile,
    Code.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    Code.UNAVAILABLE: errors.Unavailable,
    Code.ABORTED: errors.Unavailable,
    Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    Code.UNAUTHENTICATED: errors.Unauthenticated,
    Code.PERMISSION_DENIED: errors.PermissionDenied,
    Code.CANCELLED: errors.Cancelled,
}


class Overloaded(errors.Unavailable):
    """Too much is under way: refused before any work. retry_seconds: when it is worth trying again."""

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


def status_code(error: OutcropError) -> grpc.StatusCode:
    """Return the status that stands for an error."""
    return Code.RESOURCE_EXHAUSTED if isinstance(error, Overloaded) else _STATUS[error.code]


def trailing_metadata(error: OutcropError, request_id: str) -> tuple[tuple[str, bytes], ...]:
    """Return the details of a status: ErrorInfo with the code of the class, and RetryInfo where there is a hint."""
    metadata = {"request_id": request_id}
    if isinstance(error, OSError) and error.errno is not None:
        metadata["errno"] = str(error.errno)
    details: list[Any] = [ErrorInfo(reason=error.code, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, Overloaded):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    status = Status(code=status_code(error).value[0], message=text_of(error))
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    return ((DETAILS, status.SerializeToString()),)


def text_of(error: BaseException) -> str:
    """Return the text of an error as it travels; a very long one is cut."""
    text = str(error)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 4]} ..."


def to_error(code: grpc.StatusCode, text: str, trailing: Iterable[tuple[str, Any]] | None) -> OutcropError:
    """Return the error that a status stands for. One that came with a hint when to retry is `Overloaded`."""
    info, retry_seconds = _details(trailing or ())
    kind = _classes().get(info.reason) if info is not None else None
    if kind is None:
        kind = _CLASS.get(code, OutcropError)
    if info is not None and "errno" in info.metadata:
        return error_of(kind.code, text, int(info.metadata["errno"]))
    if retry_seconds is not None and issubclass(kind, errors.Unavailable):
        return Overloaded(text, retry_seconds)
    return kind(text)


def error_of(code: str, text: str, number: int = 0) -> OutcropError:
    """Return the error of a class, by its code. number: of the operating system, where it is one of its errors."""
    kind = _classes().get(code, OutcropError)
    if number and issubclass(kind, errors.StorageFailure):
        return kind(number, text.removeprefix(f"[Errno {number}] "))  # which OSError puts in front itself
    return kind(text)


def _details(trailing: Iterable[tuple[str, Any]]) -> tuple[ErrorInfo | None, float | None]:
    info, retry_seconds = None, None
    for key, value in trailing:
        if key != DETAILS:
            continue
        for packed in Status.FromString(value).details:
            error, retry = ErrorInfo(), RetryInfo()
            if packed.Unpack(error) and error.domain == DOMAIN:
                info = error
            elif packed.Unpack(retry):
                retry_seconds = retry.retry_delay.ToNanoseconds() / 1e9
    return info, retry_seconds


def _classes() -> dict[str, type[OutcropError]]:
    found: dict[str, type[OutcropError]] = {}
    waiting: list[type[OutcropError]] = [OutcropError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found
