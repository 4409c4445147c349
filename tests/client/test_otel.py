"""Spans: their names, times, parents and outcomes."""

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel and opentelemetry-sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pixwire import otel
from pixwire.arguments import Trace
from pixwire.core.observe import CallRecord

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def made() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def test_a_call_is_a_span(made: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    provider, exporter = made
    otel.spans(provider)(CallRecord("generate", "pixwire://h", "j", 1.5, "ok", 300, TRACE))
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("pixwire generate", SpanKind.CLIENT)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 1_500_000_000
    assert span.attributes == {
        "rpc.system": "pixwire",
        "rpc.method": "generate",
        "server.address": "pixwire://h",
        "pixwire.job": "j",
        "pixwire.image_bytes": 300,
    }
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE.split("-")[1]
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("outcome", "code"), [("QueueFull", StatusCode.ERROR), ("given up", StatusCode.UNSET)])
def test_what_ended_badly(made: tuple[TracerProvider, InMemorySpanExporter], outcome: str, code: StatusCode) -> None:
    provider, exporter = made
    otel.spans(provider)(CallRecord("status", "pixwire://h", None, 0.0, outcome))
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == outcome
    assert span.status.status_code is code
    assert span.parent is None


def test_the_present_span(made: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    assert otel.traceparent() is None
    with made[0].get_tracer("t").start_as_current_span("s") as span:
        context = span.get_span_context()
        told = otel.traceparent()
        assert told is not None
        assert told.split("-")[:3] == ["00", f"{context.trace_id:032x}", f"{context.span_id:016x}"]
        assert Trace(told).check() == Trace(told), "generate takes it as it is"


def test_the_span_that_happens_to_be_there_is_no_parent(made: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    """A call ends in the context in which its client was connected: perhaps in a span that ended long ago."""
    provider, exporter = made
    with provider.get_tracer("t").start_as_current_span("start of the program"):
        otel.spans(provider)(CallRecord("status", "pixwire://h", None, 0.0, "ok"))
    span, _ = exporter.get_finished_spans()
    assert (span.name, span.parent) == ("pixwire status", None)
