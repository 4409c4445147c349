"""One trace from a client's program through a real server and its engine, as a collector receives it over OTLP/HTTP."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pixwire
import pixwire.otel

ASKED: dict[str, Any] = {"prompt": "a red circle", "steps": 6, "seed": 11, "width": 64, "height": 64}


class Collector:
    """Takes what exporters send."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(told["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def of_trace(self, trace: int) -> dict[str, Span]:
        """The spans of one trace by their names."""
        return {span.name: span for span in self.spans if int.from_bytes(span.trace_id) == trace}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def value(span: Span, name: str) -> float:
    """One attribute that is a number."""
    found = next(one.value for one in span.attributes if one.key == name)
    return found.double_value or found.int_value


def check_stages(told: dict[str, Span]) -> None:
    """Everything lies inside of what it is a part of, on clocks of two processes."""
    job, run = told["job"], told["run"]
    for name in ("queue", "run", "store"):
        assert told[name].parent_span_id == job.span_id
        assert job.start_time_unix_nano <= told[name].start_time_unix_nano <= told[name].end_time_unix_nano
        assert told[name].end_time_unix_nano <= job.end_time_unix_nano
    at = run.start_time_unix_nano
    for name in ("encode", "denoise", "decode", "image"):
        stage = told[name]
        assert stage.parent_span_id == run.span_id
        assert at <= stage.start_time_unix_nano < stage.end_time_unix_nano <= run.end_time_unix_nano
        at = stage.end_time_unix_nano
    assert value(told["denoise"], "pixwire.steps") == ASKED["steps"]
    assert value(told["denoise"], "pixwire.passes") >= 1
    assert value(told["denoise"], "pixwire.rows_per_pass") >= 1


def test_one_trace_through_client_server_and_engine(
    new_server: Callable[..., Any], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    server = new_server("--http", "0", "--otel").start()
    provider, ours = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(ours))
    tracer = provider.get_tracer("program")
    with (
        pixwire.Client(server.url, on_call=pixwire.otel.spans(provider)) as client,
        tracer.start_as_current_span("over PXW") as over_pxw,
    ):
        client.generate(**ASKED, traceparent=pixwire.otel.traceparent())
    with tracer.start_as_current_span("over HTTP") as over_http:
        headers = {"traceparent": pixwire.otel.traceparent() or ""}
        body = {**ASKED, "response_format": "url"}
        answer = httpx.post(f"{server.urls[1]}/v1/images/generations", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
    assert server.stop() == 0, server.log()  # it sends what is left when it stops

    assert collector.services == {"pixwire-server"}
    context = over_pxw.get_span_context()
    told = collector.of_trace(context.trace_id)
    assert int.from_bytes(told["SUBMIT"].parent_span_id) == context.span_id
    assert told["job"].parent_span_id == told["SUBMIT"].span_id
    assert told["deliver"].parent_span_id == told["job"].span_id
    check_stages(told)
    called = next(span for span in ours.get_finished_spans() if span.name == "pixwire generate")
    assert called.context is not None
    assert called.context.trace_id == context.trace_id

    context = over_http.get_span_context()
    told = collector.of_trace(context.trace_id)
    request = told["POST /v1/images/generations"]
    assert int.from_bytes(request.parent_span_id) == context.span_id
    assert told["submit"].parent_span_id == request.span_id
    assert told["job"].parent_span_id == told["submit"].span_id
    check_stages(told)
