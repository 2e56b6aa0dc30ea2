"""Calls become spans below those of their callers."""

import sys
from typing import Any

import pytest

from outcrop.errors import InvalidArgument
from outcrop.server.settings import Otel
from outcrop.server.tracing import Tracing

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

METHOD = "outcrop.v1.VectorService/Search"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider)


def only(spans: InMemorySpanExporter) -> Any:
    (span,) = spans.get_finished_spans()
    return span


def test_a_call_is_a_span_below_that_of_its_caller(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with tracing.call(METHOD, {"traceparent": PARENT, "binary-bin": b"\0"}) as span:
        span.note("request_id", "r1")
        span.ended("OK")

    made = only(spans)
    assert (made.name, made.kind) == (METHOD, SpanKind.SERVER)
    assert f"{made.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{made.parent.span_id:016x}" == PARENT.split("-")[2]
    assert dict(made.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "outcrop.v1.VectorService",
        "rpc.method": "Search",
        "rpc.grpc.status_code": 0,
        "outcrop.request_id": "r1",
    }
    assert made.status.status_code == StatusCode.UNSET


@pytest.mark.parametrize("parent", [{}, {"traceparent": "nonsense"}, {"traceparent": "00-" + "0" * 32 + "-0-01"}])
def test_a_call_without_a_parent_begins_a_trace(
    tracing: Tracing, spans: InMemorySpanExporter, parent: dict[str, str]
) -> None:
    with tracing.call(METHOD, parent) as span:
        span.ended("OK")

    assert only(spans).parent is None


@pytest.mark.parametrize(
    ("code", "is_error"), [("INTERNAL", True), ("NOT_FOUND", False), ("RESOURCE_EXHAUSTED", False)]
)
def test_a_fault_of_the_server_is_an_error_and_a_callers_mistake_is_not(
    tracing: Tracing, spans: InMemorySpanExporter, code: str, is_error: bool
) -> None:
    with tracing.call(METHOD, {}) as span:
        span.ended(code, 13, "what was wrong")

    assert (only(spans).status.status_code == StatusCode.ERROR) is is_error


def test_a_call_that_fails_or_is_broken_off_still_ends(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    def broken_off() -> None:
        with tracing.call(METHOD, {}) as span:
            span.failed(RuntimeError("a fault"))
            raise ConnectionError("left")

    with pytest.raises(ConnectionError):
        broken_off()

    assert [event.name for event in only(spans).events] == ["exception"]


def test_without_an_endpoint_nothing_is_traced() -> None:
    tracing = Tracing.of(Otel())

    with tracing.call(METHOD, {"traceparent": PARENT}) as span:
        span.note("request_id", "r1")
        span.ended("OK")

    tracing.close()


def test_an_endpoint_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)

    with pytest.raises(InvalidArgument, match=r"pip install 'outcrop\[otel\]'"):
        Tracing.of(Otel(endpoint="http://127.0.0.1:4317"))


def test_spans_are_sent_when_the_server_ends(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    with tracing.call(METHOD, {}) as span:
        span.ended("OK")

    tracing.close()

    assert only(spans).name == METHOD
