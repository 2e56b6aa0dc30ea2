"""What every RPC passes on its way in and out: a request id, a deadline, who calls, a place to work, a status."""

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, cast

import grpc

from outcrop.errors import Cancelled, OutcropError
from outcrop.proto.methods import Method
from outcrop.proto.status import status_code, text_of, trailing_metadata
from outcrop.server.admission import Admission
from outcrop.server.authentication import Authenticator
from outcrop.server.call import Call
from outcrop.server.doors import Doors
from outcrop.server.identity import Identity
from outcrop.server.metrics import ServerMetrics
from outcrop.server.seen_call import SeenCall
from outcrop.server.settings import ServerSettings
from outcrop.server.tracing import Tracing
from outcrop.stop import Stop
from outcrop.v1 import access_pb2
from outcrop.v1.job_pb2 import WatchJobRequest

REQUEST_ID = "x-request-id"
# The name in a certificate, as a process that was shown one tells it to the process that writes.
CERTIFICATE = "x-outcrop-certificate-bin"
_API_KEY = "x-api-key"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Of this process; behind it a number, for which no system call is needed.
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)

Context = grpc.aio.ServicerContext[Any, Any]


class Gate:
    """One for a process. For one event loop."""

    def __init__(
        self,
        settings: ServerSettings,
        executor: Executor,
        metrics: ServerMetrics,
        tracing: Tracing | None = None,
        doors: Doors | None = None,
        trusts_readers: bool = False,
    ) -> None:
        """executor: where calls do their work. tracing: None for none. doors: closed when the server stops; None: its
        own. trusts_readers: calls come from processes of ours, which tell what certificate they were shown.

        Raises CorruptFile, UnsupportedFormat, StorageFailure of the keys.
        """
        self._limits, self._executor = settings.limits, executor
        self._metrics, self._tracing = metrics, tracing or Tracing()
        self.doors, self._trusts_readers = doors or Doors(), trusts_readers
        self._authenticator = Authenticator(settings)
        self._shows_certificates = settings.tls.client_ca is not None
        self._admission = Admission(settings.limits, metrics)

    @contextlib.asynccontextmanager
    async def entered(self, method: Method, context: Context, num_bytes: int) -> AsyncIterator[Call]:
        """A call from its arrival to its status. num_bytes: of the request; 0 for a stream of them.

        What is raised within the block becomes the status.
        """
        metadata: Mapping[str, Any] = dict(context.invocation_metadata() or ())
        request_id = request_id_of(metadata)
        stop = Stop(self._seconds(method, context))
        with self._seen(method, request_id, num_bytes, metadata) as seen:
            try:
                self.doors.enter(context)
                seen.caller = self._identity(metadata, context)
                call = Call(method, request_id, seen.caller, stop, self._executor, seen.meter)
                call.check_role()
                async with self._place(method, num_bytes, stop):
                    yield call
            except OutcropError as error:
                seen.error, seen.code = error, status_code(error)
                await _abort(context, error, request_id)
            except (asyncio.CancelledError, GeneratorExit):
                seen.code = grpc.StatusCode.CANCELLED
                raise
            except Exception as error:
                seen.error, seen.code = error, grpc.StatusCode.INTERNAL
                # Not for callers: the text may tell of paths and of memory.
                fault = OutcropError(f"a fault of the server; its log tells more of request {request_id}")
                await _abort(context, fault, request_id)
            finally:
                stop.set()

    @contextlib.contextmanager
    def _seen(self, method: Method, request_id: str, num_bytes: int, metadata: Mapping[str, Any]) -> Iterator[SeenCall]:
        """Measures, traces and logs a call."""
        with self._tracing.call(method.path.lstrip("/"), metadata) as span:
            seen = SeenCall(method, request_id, self._metrics.method(f"{method.service}/{method.name}"), span)
            seen.begin(num_bytes)
            try:
                yield seen
            finally:
                seen.end()

    def is_stranger(self, metadata: Sequence[tuple[str, Any]]) -> bool:
        """Whether a call will be refused for its key or the lack of one, as far as its metadata tell."""
        if self._shows_certificates or self._trusts_readers:
            return False
        try:
            self._authenticator.identify(_authorization(dict(metadata)))
        except OutcropError:
            return True
        return False

    @staticmethod
    def may_refuse(method: Method) -> bool:
        """Whether calls of an RPC wait for a place. Streams do not, and an operator must get through to a server that
        has too much to do."""
        return not (method.role == access_pb2.ROLE_ADMIN or method.client_streaming or method.server_streaming)

    @property
    def is_full(self) -> bool:
        """Whether one more call that would have to wait is refused."""
        return self._admission.is_full

    async def refuse(self, method: Method, context: Context) -> None:
        """End a call for which there is no place, before anything is known of it. Twice the load that a server can bear
        is borne only if a refusal costs a fraction of an answer."""
        meter = self._metrics.method(f"{method.service}/{method.name}")
        meter.begin()
        meter.end("RESOURCE_EXHAUSTED", 0.0)
        await _abort(context, self._admission.refuse(), request_id_of({}))

    def identify(self, context: Context) -> Identity:
        """Return who calls: for services that are not ours, such as reflection. Raises Unauthenticated, Unavailable."""
        return self._identity(dict(context.invocation_metadata() or ()), context)

    def _identity(self, metadata: Mapping[str, Any], context: Context) -> Identity:
        return self._authenticator.identify(_authorization(metadata), self._common_name(metadata, context))

    def _common_name(self, metadata: Mapping[str, Any], context: Context) -> str | None:
        if self._trusts_readers:
            name = metadata.get(CERTIFICATE)
            return None if name is None else name.decode(errors="replace")
        return common_name(context) if self._shows_certificates else None

    def _place(self, method: Method, num_bytes: int, stop: Stop) -> "contextlib.AbstractAsyncContextManager[None]":
        if self.may_refuse(method):
            return self._admission.call(num_bytes, stop)
        if method.role == access_pb2.ROLE_ADMIN:
            return contextlib.nullcontext()
        return self._admission.stream("watchers" if method.request is WatchJobRequest else "streams")

    def _seconds(self, method: Method, context: Context) -> float | None:
        stated = cast("float | None", context.time_remaining())  # None is not in grpc's types
        if method.server_streaming or method.client_streaming:
            return None if stated is None else max(stated, 0.0)
        if stated is None:
            return self._limits.default_deadline_seconds
        return min(max(stated, 0.0), self._limits.longest_deadline_seconds)


def _authorization(metadata: Mapping[str, Any]) -> str | None:
    given: str | None = metadata.get("authorization")
    return f"Bearer {metadata[_API_KEY]}" if given is None and _API_KEY in metadata else given


def request_id_of(metadata: Mapping[str, Any]) -> str:
    """Return the id that the caller gave, or a new one."""
    given = metadata.get(REQUEST_ID, "")
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}-{next(_numbers)}"


def common_name(context: Context) -> str | None:
    """Return the name in the certificate that the client has shown and TLS has checked; None without one."""
    found = context.auth_context()
    names = found.get("x509_common_name") or found.get("x509_subject_alternative_name") or ()
    return next((name.decode(errors="replace") for name in names), None)


async def _abort(context: Context, error: OutcropError, request_id: str) -> None:
    """End the call with a status, by an exception of grpc's."""
    if isinstance(error, Cancelled) and context.cancelled():
        raise asyncio.CancelledError
    await context.abort(status_code(error), text_of(error), trailing_metadata(error, request_id))
