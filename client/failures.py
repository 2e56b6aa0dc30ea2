"""What grpc raises, as errors of outcrop."""

from typing import Any

import grpc

from outcrop.client.endpoint import Endpoint
from outcrop.errors import DeadlineExceeded, OutcropError, ResourceExhausted, Unavailable
from outcrop.proto.methods import Method
from outcrop.proto.status import DETAILS, to_error

Code = grpc.StatusCode
# What grpc says of a call that the server's transport has reset; calls that end on this side have other texts.
_DROPPED = ("", "CANCELLED")


def failure(error: Any, method: Method, endpoint: Endpoint) -> OutcropError:
    """Return the error that an RpcError means: the one that the server raised, or else what happened on the way.

    error: a grpc.RpcError of either stack, which also is a call that has ended.
    """
    code, text, trailing = error.code(), error.details() or "", error.trailing_metadata() or ()
    if any(key == DETAILS for key, _ in trailing):
        return to_error(code, text, trailing)
    called = f"{method.service}.{method.name} at {endpoint.url}"
    if code is Code.DEADLINE_EXCEEDED:
        return DeadlineExceeded("the time allowed for the call is over; allow more, or ask for less")
    if code is Code.RESOURCE_EXHAUSTED:
        return ResourceExhausted(f"{called}: {text}; a message has its limit, ask for less in one call")
    if code is Code.UNAVAILABLE:
        return Unavailable(f"{called}: cannot be reached: {text}")
    if code is Code.CANCELLED and text in _DROPPED:
        return Unavailable(f"{called}: dropped before it was looked at: the server has too much to do; retry later")
    if code is Code.UNIMPLEMENTED:
        return OutcropError(f"{called}: this server does not know the call; it may be of another release, or none")
    return to_error(code, f"{called}: {text}", trailing)
