"""The spans of one server, and which one is whose parent."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pixwire_server.engine.api import Cancelled, Failed, Finished
from pixwire_server.jobs import Gauges, Job, RequestError, Trace
from pixwire_server.tracing.plan import Piece, Told, Value, story

MAX_JOBS: Final = 10_000
"""Jobs whose latest span is remembered. The spans of one that was forgotten belong to its client's trace directly."""

Key = tuple[str, str]
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()


class Spans:
    """Makes the spans. Lives in the event loop."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self._told: dict[Key, Told] = {}
        self._latest: OrderedDict[Key, SpanContext] = OrderedDict()

    def listen(self, gauges: Gauges) -> None:
        """Hear of the jobs that end from now on."""
        gauges.on_outcome.append(self._heard)
        gauges.on_end.append(self._ended)

    # ------------------------------------------------------------------ requests

    def request(self, method: str, given: Trace | None, attributes: Mapping[str, Value]) -> Span:
        """A request that begins now, inside of the present span, or in the trace that the client gave."""
        if trace.get_current_span().get_span_context().is_valid:
            return self.tracer.start_span(method.lower(), attributes=attributes)
        about = {"rpc.system": "pixwire", "rpc.method": method, **attributes}
        return self.tracer.start_span(method, parent_of(given), SpanKind.SERVER, about)

    def remember(self, key: Key, span: Span) -> None:
        """What is done for this job from now on belongs into this span."""
        self._latest[key] = span.get_span_context()
        self._latest.move_to_end(key)
        while len(self._latest) > MAX_JOBS:
            self._latest.popitem(last=False)

    def of_job(self, key: Key) -> Context | None:
        """The span that stands for a job, where it is remembered."""
        latest = self._latest.get(key)
        return None if latest is None else trace.set_span_in_context(trace.NonRecordingSpan(latest), Context())

    # ------------------------------------------------------------------ jobs

    def _heard(self, key: Key, outcome: Finished | Failed | Cancelled) -> None:
        if not isinstance(outcome, Failed) and outcome.stats.began:
            ago = time.monotonic() - outcome.stats.began
            self._told[key] = Told(outcome.stats, time.time_ns() - round(ago * 1e9))

    def _ended(self, job: Job) -> None:
        piece = story(job, self._told.pop(job.key, None), time.time_ns())
        parent = self.of_job(job.key) or parent_of(job.trace)
        self.remember(job.key, self._tell(piece, parent))

    def _tell(self, piece: Piece, parent: Context | None) -> Span:
        span = self.tracer.start_span(piece.name, parent, attributes=piece.attributes, start_time=piece.start)
        inside = trace.set_span_in_context(span, Context())
        for part in piece.parts:
            self._tell(part, inside)
        if piece.error is not None:
            _fail(span, *piece.error)
        span.end(piece.end)
        return span


def parent_of(given: Trace | None) -> Context | None:
    """The trace context that a client gave; None for the present one."""
    if given is None or given.traceparent is None:
        return None
    carrier = {"traceparent": given.traceparent}
    if given.tracestate is not None:
        carrier["tracestate"] = given.tracestate
    return _TRACE_CONTEXT.extract(carrier, Context())


def refuse(span: Span, error: BaseException) -> None:
    """The request of this span was refused, or met a defect."""
    if isinstance(error, RequestError):
        _fail(span, error.code.name, error.message)
    else:
        _fail(span, type(error).__name__, "")


def _fail(span: Span, name: str, text: str) -> None:
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, text or name))
