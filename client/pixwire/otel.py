"""OpenTelemetry spans for the calls of a client. Needs the extra `otel`.

    client = pixwire.Client(url, on_call=pixwire.otel.spans())
    image = client.generate("a red circle", traceparent=pixwire.otel.traceparent())

Each call becomes a span of kind CLIENT when it ends, with the times it really had. It belongs to the trace that the job
was submitted with, which the server's log names, too; without one it begins a trace. `traceparent()` is the present
span's, for that.
"""

import time
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._version import __version__
from .core.observe import GIVEN_UP, OK, CallListener, CallRecord

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_TRACE_CONTEXT = TraceContextTextMapPropagator()


def spans(provider: "TracerProvider | None" = None) -> CallListener:
    """What to give to `connect` or `Client` as `on_call`. provider: the program's own one, unless given."""
    tracer = trace.get_tracer("pixwire", __version__, provider)

    def record(call: CallRecord) -> None:
        end = time.time_ns()
        parent = Context()  # not the present one: a call ends in the context in which the client was connected
        if call.traceparent is not None:
            parent = _TRACE_CONTEXT.extract({"traceparent": call.traceparent}, parent)
        span = tracer.start_span(
            f"pixwire {call.operation}",
            context=parent,
            kind=SpanKind.CLIENT,
            start_time=end - round(call.seconds * 1e9),
            attributes={"rpc.system": "pixwire", "rpc.method": call.operation, "server.address": call.url},
        )
        if call.job is not None:
            span.set_attribute("pixwire.job", call.job)
        if call.image_bytes:
            span.set_attribute("pixwire.image_bytes", call.image_bytes)
        if call.outcome != OK:
            span.set_attribute("error.type", call.outcome)
        if call.outcome not in (OK, GIVEN_UP):
            span.set_status(Status(StatusCode.ERROR, call.outcome))
        span.end(end)

    return record


def traceparent() -> str | None:
    """The present span, as `generate` and `submit` take it; None outside of any."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier)
    return carrier.get("traceparent")
