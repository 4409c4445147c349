"""Spans that a server told, in a list."""

import asyncio
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pixwire_server.tracing.setup import Tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, CALLER = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
MS = 1_000_000


class _Exporter(InMemorySpanExporter):
    def __init__(self) -> None:
        super().__init__()
        self.news = asyncio.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self.news.set()
        return result

    def shutdown(self) -> None:
        """Another server may come and go on telling."""


class SpanList:
    """What was told so far."""

    def __init__(self) -> None:
        self._exporter = _Exporter()

    def tracing(self) -> Tracing:
        """For a server."""
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        return Tracing(provider, "1")

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        return sorted(span.name for span in self.all())

    async def until(self, name: str, count: int = 1) -> None:
        """Wait until so many of this name were told; a bound for a hang, never a measure."""
        async with asyncio.timeout(10):
            while self.names().count(name) < count:
                self._exporter.news.clear()
                await self._exporter.news.wait()

    def one(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        found = [span for span in self.all() if span.name == name]
        assert len(found) == 1, (name, self.names())
        return found[0]

    def children(self, span: ReadableSpan) -> list[str]:
        """Names of what lies in this one, in the order of their beginning, then of their telling."""
        inside = [one for one in self.all() if one.parent is not None and one.parent.span_id == number(span)]
        return [one.name for one in sorted(inside, key=lambda one: one.start_time or 0)]


def number(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def parent(span: ReadableSpan) -> int:
    """The number of its parent; 0: it has none."""
    return 0 if span.parent is None else span.parent.span_id


def value(span: ReadableSpan, name: str) -> object:
    """One attribute."""
    assert span.attributes is not None
    return span.attributes.get(name)
