"""A span for each HTTP request that is about jobs, in the trace that its client names in `traceparent`."""

from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixwire_server.doors.http import fields
from pixwire_server.doors.http.app import CLIENT_GONE, ROUTE
from pixwire_server.tracing.spans import Spans, parent_of

TOLD: Final = ("/v1/jobs", "/v1/images/", "/v1/models")
"""Paths whose requests are told of. The others are asked for again and again by those who look after the server."""


class TracedHttp:
    """Around the application of the HTTP door."""

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self._app = app
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(TOLD):
            await self._app(scope, receive, send)
            return
        span = self._spans.tracer.start_span(scope["method"], _parent(scope), SpanKind.SERVER, _about(scope))
        status = CLIENT_GONE

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, heard)
        finally:
            _end(span, scope, status)


def _parent(scope: Scope) -> Context:
    found = {b"traceparent": "", b"tracestate": ""}
    for name, value in scope["headers"]:
        if name in found:
            found[name] = value.decode("latin-1")
    given = fields.trace(found[b"traceparent"] or None, found[b"tracestate"] or None)
    return parent_of(given) or Context()


def _about(scope: Scope) -> dict[str, str]:
    return {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }


def _end(span: Span, scope: Scope, status: int) -> None:
    span.update_name(f"{scope['method']} {scope[ROUTE]}")
    span.set_attribute("http.route", scope[ROUTE])
    if status == CLIENT_GONE:
        span.set_attribute("error.type", "client gone")
    else:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
    span.end()
