"""One span for each call, a child of the caller's own: OpenTelemetry, where the extra `outcrop[otel]` is installed.

tracing = Tracing.of(settings.otel)
with tracing.call("outcrop.v1.VectorService/Search", metadata) as span:
    ...
    span.ended("OK")
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from outcrop.errors import InvalidArgument
from outcrop.server.settings import Otel

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})

_SECONDS_TO_SEND = 2  # a server that ends waits for a collector that is away, but not for long


class CallSpan:
    """The span of one call. Without tracing it does nothing."""

    def __init__(self, span: "Span | None" = None) -> None:
        self._span = span

    def note(self, name: str, value: str | int | float | bool) -> None:
        """Add an attribute, such as the request id or the number of queries."""
        if self._span is not None:
            self._span.set_attribute(f"outcrop.{name}", value)

    def failed(self, error: Exception) -> None:
        """Add a fault of the server, with its traceback."""
        if self._span is not None:
            self._span.record_exception(error)

    def ended(self, code: str, number: int = 0, text: str = "") -> None:
        """Say the call's gRPC status by its name and number, with a text when it is none of success."""
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("rpc.grpc.status_code", number)
        if code in _FAULTS:  # of a server, by the conventions for RPC; a caller's mistake is no error of ours
            self._span.set_status(Status(StatusCode.ERROR, text or code))


class Tracing:
    """Makes spans and sends them. Without a provider it makes none."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """provider: who keeps the spans; it is closed with this."""
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("outcrop.server")

    @classmethod
    def of(cls, settings: Otel) -> "Tracing":
        """Return what the settings ask for. Raises InvalidArgument when the extra is missing."""
        if settings.endpoint is None:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise InvalidArgument(f"otel.endpoint: needs `pip install 'outcrop[otel]'`: {error}") from error
        provider = TracerProvider(resource=Resource.create({"service.name": settings.service_name}))
        # Sent in batches by a thread of its own: a collector that is away costs calls nothing.
        insecure = not settings.endpoint.startswith("https://")
        exporter = OTLPSpanExporter(settings.endpoint, insecure=insecure, timeout=_SECONDS_TO_SEND)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    @contextlib.contextmanager
    def call(self, method: str, metadata: Mapping[str, Any]) -> Iterator[CallSpan]:
        """The span of a call to `method` (`package.Service/Method`); metadata: of the call, which may name a parent.

        The span is not made the current one: the steps of a stream may run in other contexts than its beginning.
        """
        if self._tracer is None:
            yield _NO_SPAN
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        service, _, name = method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
        span = self._tracer.start_span(method, extract(texts), SpanKind.SERVER, attributes)
        try:
            yield CallSpan(span)
        finally:
            span.end()

    def close(self) -> None:
        """Send what is left, for at most a few seconds."""
        if self._provider is not None:
            self._provider.force_flush(1000 * _SECONDS_TO_SEND)
            self._provider.shutdown()


_NO_SPAN = CallSpan()
