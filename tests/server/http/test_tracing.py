"""Spans of requests and jobs: which there are, whose children, with which times and words."""

import asyncio
import base64
import hashlib
import itertools
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest
from held_engine import HeldEngine
from http_server import PARAMS_TAIL, PROMPT, HttpServer, StartHttp, ended, submit
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from span_list import CALLER, MS, PARENT, TRACE, SpanList, number, parent, trace_of, value
from toy_engine import ToyEngine

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.messages import Cancel, Fetch, Submit
from pixwire_server import app
from pixwire_server.config import ServerConfig
from pixwire_server.engine import api
from pixwire_server.tracing.setup import TracingError, open_tracing

STAGES = ["encode", "denoise", "decode", "image"]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> SpanList:
    """What the servers of this test tell."""
    found = SpanList()
    monkeypatch.setattr(app, "_tracing", found.tracing)
    return found


class WorkingEngine(ToyEngine):
    """Tells what its stages took: the first began 10 ms ago."""

    def finish(self, task: api.GenerateTask) -> None:
        stats = api.JobStats(4, 2.0, 1.0, 6.0, 2.0, 1.0, 12, time.monotonic() - 0.010)
        image = api.EncodedImage(self.image, task.media_type, task.width, task.height, task.seed)
        self._report(api.Left(task.handle))
        self._report(api.Finished(task.handle, (image,), stats))


async def start(start_http: StartHttp, engine: ToyEngine) -> HttpServer:
    server = start_http(engine, otel=True)
    await server.listening()
    return server


def took_ms(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / MS


async def test_a_job_over_pxw_is_told_from_its_submit_to_its_delivery(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, WorkingEngine())
    client = await server.connect()
    (stream,) = await client.open(
        Submit(
            job="j1", kind="txt2img", watch=True, deliver=True, traceparent=PARENT, tracestate="a=b", tail=PARAMS_TAIL
        )
    )
    while (await client.body(stream))["state"] != "succeeded":
        pass
    await client.image(stream)
    await spans.until("deliver")
    client.close()

    asked = spans.one("SUBMIT")
    assert (trace_of(asked), parent(asked), asked.kind) == (TRACE, CALLER, SpanKind.SERVER)
    assert asked.context is not None
    assert asked.context.trace_state.get("a") == "b"
    assert value(asked, "rpc.method") == "SUBMIT"
    job = spans.one("job")
    assert (trace_of(job), parent(job)) == (TRACE, number(asked))
    assert spans.children(job) == ["queue", "run", "store", "deliver"]
    assert (value(job, "pixwire.job"), value(job, "pixwire.state"), value(job, "pixwire.images")) == (
        "j1",
        "succeeded",
        1,
    )
    assert spans.children(spans.one("run")) == STAGES
    assert value(spans.one("deliver"), "pixwire.image_bytes") == len(b"toy image")


async def test_the_engines_stages_have_their_own_times(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, WorkingEngine())
    client = await server.client()
    await submit(client, "j1")
    await ended(client, "j1")
    await spans.until("job")
    run = spans.one("run")
    told = [spans.one(name) for name in STAGES]
    assert run.end_time is not None
    for one, following in itertools.pairwise(told):
        assert one.end_time == following.start_time
    assert [round(took_ms(one)) for one in told[:3]] == [1, 6, 2]
    assert told[-1].end_time is not None
    assert told[-1].end_time <= run.end_time
    denoise = told[1]
    assert value(denoise, "pixwire.passes") == 4
    assert value(denoise, "pixwire.rows_per_pass") == 3.0
    assert value(denoise, "pixwire.requests_per_pass") == 2.0
    queue, store, job = spans.one("queue"), spans.one("store"), spans.one("job")
    assert queue.start_time == job.start_time
    assert queue.end_time == run.start_time
    assert run.end_time == store.start_time
    assert store.end_time == job.end_time


async def test_a_request_over_http_is_the_parent_of_its_job(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, WorkingEngine())
    async with openai.AsyncOpenAI(base_url=f"{await server.url()}/v1", api_key="any", max_retries=0) as ai:
        await ai.images.generate(prompt="a", extra_headers={"traceparent": PARENT})
    await spans.until("job")
    request = spans.one("POST /v1/images/generations")
    assert (trace_of(request), parent(request), request.kind) == (TRACE, CALLER, SpanKind.SERVER)
    assert value(request, "http.route") == "/v1/images/generations"
    assert value(request, "http.response.status_code") == 200
    assert spans.children(request) == ["submit", "deliver"]
    assert parent(spans.one("job")) == number(spans.one("submit"))
    assert spans.one("submit").kind is SpanKind.INTERNAL


async def test_without_a_trace_of_its_client_a_request_begins_one(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.client()
    await submit(client, "j1")
    await ended(client, "j1")
    await spans.until("GET /v1/jobs/{job}/events")
    request, job = spans.one("POST /v1/jobs"), spans.one("job")
    assert parent(request) == 0
    assert trace_of(job) == trace_of(request)
    assert "traceparent" not in (await client.get("/v1/jobs/j1")).json()  # that of the submit, which had none


async def test_the_same_submit_again_begins_no_job(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, engine := HeldEngine())
    client = await server.client()
    await submit(client, "j1")
    await submit(client, "j1")
    await engine.wait(engine.started)
    engine.finish(engine.tasks[0])
    await spans.until("job")
    first, again = [span for span in spans.all() if span.name == "submit"]
    assert [value(one, "pixwire.duplicate") for one in (first, again)] == [False, True]
    assert parent(spans.one("job")) == number(first)


async def test_a_refused_request_says_why(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.connect()
    (stream,) = await client.open(Submit(job="j1", tail=PARAMS_TAIL, kind="inpaint"))
    await client.error(stream)
    refused = spans.one("SUBMIT")
    assert refused.status.status_code is StatusCode.ERROR
    assert value(refused, "error.type") == "UNSUPPORTED"
    web = await server.client()
    assert (await web.get("/v1/jobs/none", headers={"traceparent": PARENT})).status_code == 404
    await spans.until("GET /v1/jobs/{job}")
    asked = spans.one("GET /v1/jobs/{job}")
    assert value(asked, "http.response.status_code") == 404
    assert asked.status.status_code is StatusCode.UNSET  # the server is fine
    client.close()


async def test_a_failed_job_is_an_error_and_a_cancelled_one_is_none(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, engine := HeldEngine())
    client = await server.client()
    await submit(client, "bad")
    await engine.wait(engine.started)
    engine.fail("out_of_memory", "too large")
    await spans.until("job")
    bad = spans.one("job")
    assert (bad.status.status_code, bad.status.description) == (StatusCode.ERROR, "too large")
    assert value(bad, "error.type") == "OUT_OF_MEMORY"
    assert spans.children(spans.one("run")) == []
    operator = await server.connect()
    await submit(client, "unwanted")
    (stream,) = await operator.open(Cancel(job="unwanted"))
    await operator.last(stream)
    await spans.until("job", 2)
    unwanted = [span for span in spans.all() if span.name == "job"][-1]
    assert (value(unwanted, "pixwire.state"), unwanted.status.status_code) == ("cancelled", StatusCode.UNSET)
    operator.close()


async def test_an_upload_is_a_submit_until_it_is_on_disk(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.client()
    picture = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    answer = await client.post(
        "/v1/jobs",
        data={"request": '{"kind":"img2img","job":"up","params":{"prompt":"a","strength":0.5}}'},
        files={"image": ("a.png", picture)},
    )
    assert answer.status_code == 201, answer.text
    await spans.until("job")
    assert value(spans.one("submit"), "pixwire.upload_bytes") == len(picture)
    assert parent(spans.one("job")) == number(spans.one("submit"))


async def test_an_upload_that_stops_in_the_middle_ends_its_span(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.connect()
    about = Attachment("image", 100, hashlib.sha256(b"x" * 100).hexdigest(), "image/png")
    (stream,) = await client.open(
        Submit(job="up", kind="img2img", tail=PARAMS_TAIL, attachments=[about], traceparent=PARENT)
    )
    client.connection.send_data(stream, b"x" * 10)
    await client.flush()
    client.close()
    await spans.until("SUBMIT")
    assert value(spans.one("SUBMIT"), "error.type") == "given up"
    assert "job" not in spans.names()


async def test_who_leaves_is_told_of(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, engine := HeldEngine())
    async with httpx.AsyncClient(base_url=await server.url(), timeout=10) as client:
        asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a"}))
        await engine.wait(engine.started)
        asked.cancel()
        await engine.wait(engine.cancelled)
    await spans.until("POST /v1/images/generations")
    await spans.until("job")
    gone = spans.one("POST /v1/images/generations")
    assert value(gone, "error.type") == "client gone"
    assert value(spans.one("job"), "pixwire.state") == "cancelled"


async def test_a_fetch_of_an_image_belongs_to_its_job(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.connect()
    (stream,) = await client.open(Submit(job="j1", kind="txt2img", watch=True, traceparent=PARENT, tail=PARAMS_TAIL))
    while (await client.body(stream))["state"] != "succeeded":
        pass
    (stream,) = await client.open(Fetch(job="j1"))
    await client.image(stream)
    await spans.until("deliver")
    client.close()
    assert parent(spans.one("deliver")) == number(spans.one("job"))
    assert trace_of(spans.one("deliver")) == TRACE


async def test_the_trace_of_a_job_outlives_its_server(start_http: StartHttp, spans: SpanList) -> None:
    first = start_http(ToyEngine(), max_resident=0, otel=True)
    client = await first.client()
    body = {"job": "j1", "params": PROMPT}
    assert (await client.post("/v1/jobs", json=body, headers={"traceparent": PARENT})).status_code == 201
    first.exit.cancel()
    await asyncio.wait((first.exit,))
    assert "job" not in spans.names()
    await start(start_http, WorkingEngine())
    await spans.until("job")
    job = spans.one("job")
    assert (trace_of(job), parent(job)) == (TRACE, CALLER)  # the request's own span went with its server
    assert spans.children(job) == ["queue", "run", "store"]


async def test_health_and_metrics_are_not_told(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, ToyEngine())
    client = await server.client()
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/overview"):
        assert (await client.get(path)).status_code == 200
    await client.get("/v1/models")
    await spans.until("GET /v1/models")
    assert spans.names() == ["GET /v1/models"]


# ---------------------------------------------------------------------- settings


async def test_without_the_setting_there_is_nothing_of_it(
    start_http: StartHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_tracing", lambda: pytest.fail("nobody asked for traces"))
    server = start_http()
    client = await server.client()
    await submit(client, "j1", **PROMPT)
    assert (await ended(client, "j1"))["state"] == "succeeded"


def test_an_environment_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999")
    with pytest.raises(TracingError, match=r"cannot be used: max_export_batch_size .*; look at .*_EXPORT_BATCH_SIZE"):
        open_tracing("one", "1")


def test_another_protocol_of_the_collector_is_refused() -> None:
    with pytest.raises(TracingError, match="OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is not spoken here; use http/protobuf"):
        open_tracing("one", "1", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


async def test_a_server_that_cannot_trace_says_so_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    config = ServerConfig(listen="127.0.0.1:0", data_dir=tmp_path, otel=True)  # type: ignore[arg-type]
    engine = ToyEngine()
    assert await app.serve(config, lambda line: None, lambda: engine) == app.EXIT_FAILED
    assert "otel: OTEL_EXPORTER_OTLP_PROTOCOL" in capsys.readouterr().err
    assert not engine.spawned.is_set()


async def test_a_server_without_the_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pixwire_server.tracing.setup", None)  # as if its import failed
    config = ServerConfig(listen="127.0.0.1:0", data_dir=tmp_path, otel=True)  # type: ignore[arg-type]
    assert await app.serve(config, lambda line: None, ToyEngine) == app.EXIT_FAILED
    assert "pip install 'pixwire-server[otel]'" in capsys.readouterr().err


def test_nothing_of_it_is_loaded_by_a_server_that_does_not_trace() -> None:
    program = "import sys, pixwire_server.app, pixwire_server.doors.http.door; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_prompts_are_not_told(start_http: StartHttp, spans: SpanList) -> None:
    server = await start(start_http, WorkingEngine())
    client = await server.client()
    answer = await client.post("/v1/images/generations", json={"prompt": "a secret", "negative_prompt": "a secret"})
    assert answer.status_code == 200
    await spans.until("job")
    assert "secret" not in " ".join(str(span.to_json()) for span in spans.all())


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "pixwire-server"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=theirs,a=b"}, "theirs"),
    ],
)
async def test_the_operator_names_the_service(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, said in environment.items():
        monkeypatch.setenv(key, said)
    tracing = open_tracing("one", "1", environment)
    span = tracing.spans.tracer.start_span("x")
    assert isinstance(span, ReadableSpan)
    assert span.resource.attributes["service.name"] == name
    assert span.resource.attributes["service.instance.id"] == "one"
    await tracing.close()
