"""What no client should send. Each blow is answered with a refusal or a closed connection, never with a defect of this
program, and a witness is served after it.
"""

import asyncio
import contextlib
import json
import logging
import re
from typing import Any

import httpx
import pytest
from held_engine import HeldEngine
from http_server import PROMPT, HttpServer, StartHttp, ended, events, problem, raw, submit

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
BODY = json.dumps({"params": PROMPT}).encode()


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A request as it is written, whatever is in it."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return line + b" HTTP/1.1\r\n" + HOST + CLOSE + b"".join(fields) + length + b"\r\n" + body


async def answers(server: HttpServer, data: bytes) -> tuple[list[int], bytes]:
    """The status of each answer, and all bytes until the server closes; no status: it closed without an answer."""
    reader, writer = await raw(await server.port(), data)
    said = b""
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionResetError):
            said = await reader.read()
    writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)], said


async def ask_until_shut(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            await client.get("/healthz", headers={"connection": "close"})


async def unharmed(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    """A witness is served, and nothing went wrong inside."""
    witness = await server.client()
    assert (await witness.get("/healthz")).status_code == 200
    assert not [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]


POST = b"POST /v1/jobs"
PART = b'--x\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n\r\n'
BLOWS = {
    "two lengths": (request(POST, JSON, b"Content-Length: 3\r\n", body=BODY), {400}),
    "a length and chunks": (request(POST, JSON, CHUNKED, body=BODY), {400}),
    "a negative length": (request(POST, JSON, b"Content-Length: -1\r\n"), {400}),
    "a length that is no number": (request(POST, JSON, b"Content-Length: 0x10\r\n"), {400}),
    "a length beyond all numbers": (request(POST, JSON, b"Content-Length: 99999999999999999999999\r\n"), {400}),
    "an unknown transfer coding": (request(POST, JSON, b"Transfer-Encoding: gzip\r\n"), {400, 501}),
    "chunks that are none": (request(POST, JSON, CHUNKED) + b"zz\r\n", {400}),
    "a chunk of many bytes": (
        request(POST, JSON, CHUNKED) + b"ffffffffffffffffff\r\n",
        {400},
    ),
    "a field without a colon": (request(b"GET /v1/jobs", b"nonsense\r\n"), {400}),
    "a field with a NUL": (request(b"GET /v1/jobs", b"x: a\0b\r\n"), {400}),
    "a bare carriage return": (request(b"GET /v1/jobs", b"x: a\rb: c\r\n"), {400}),
    "a folded field": (request(b"GET /v1/jobs", b"x: a\r\n b\r\n"), {200, 400}),
    "bytes in a field": (request(b"GET /v1/jobs", b"x-thing: \xff\xfe\r\n"), {200}),
    "bytes in the token": (request(b"GET /v1/jobs", b"Authorization: Bearer \xff\xfe\r\n"), {200}),
    "bytes in the path": (request(b"GET /v1/jobs/\xff\xfe"), {400, 404}),
    "escaped bytes in the path": (request(b"GET /v1/jobs/%ff%fe"), {400, 404}),
    "an escaped NUL in the path": (request(b"GET /v1/jobs/%00"), {400, 404}),
    "an escaped slash": (request(b"GET /v1/jobs/..%2f..%2fetc%2fpasswd"), {400, 404}),
    "dots": (request(b"GET /v1/jobs/../../../../etc/passwd"), {404}),
    "an image of dots": (request(b"GET /v1/jobs/j/artifacts/..%2f0"), {400, 404}),
    "bytes in the query": (request(b"GET /v1/jobs?tag=%ff%fe&after=%00"), {400}),
    "a query of many parts": (request(b"GET /v1/jobs?" + b"a&" * 10_000), {400}),
    "an absolute target": (request(b"GET http://elsewhere.example/v1/jobs"), {200, 400, 403, 404}),
    "an asterisk": (request(b"OPTIONS *"), {400, 404, 405}),
    "a tunnel": (request(b"CONNECT example.org:443"), {400, 404, 405}),
    "another protocol": (
        request(b"GET /v1/jobs", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        {200, 400, 426},
    ),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "two hosts": (request(b"GET /v1/jobs", b"Host: evil.example\r\n"), {400}),
    "no host": (b"GET /v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n", {400, 403}),
    "two origins": (request(b"GET /v1/jobs", b"Origin: http://localhost\r\nOrigin: http://evil.example\r\n"), {400}),
    "an origin that is none": (request(b"GET /v1/jobs", b"Origin: null\r\n"), {403}),
    "an origin in brackets": (request(b"GET /v1/jobs", b"Origin: http://[::1\r\n"), {403}),
    "two types": (request(POST, JSON, b"Content-Type: text/plain\r\n", body=BODY), {400}),
    "two keys": (request(POST, JSON, b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n", body=BODY), {400}),
    "a key of bytes": (request(POST, JSON, b"Idempotency-Key: \xff\r\n", body=BODY), {400}),
    "no traceparent": (request(POST, JSON, b"traceparent: 00-zz\r\ntracestate: \xff\r\n", body=BODY), {201}),
    "deep JSON": (request(POST, JSON, body=b"[" * 200_000), {400}),
    "JSON that is no text": (request(POST, JSON, body=b"\xff\xfe{}"), {400}),
    "JSON in UTF-16": (request(POST, JSON, body=json.dumps({"params": PROMPT}).encode("utf-16")), {201, 400}),
    "half of a pair": (request(POST, JSON, body=b'{"params":{"prompt":"\\ud800"}}'), {400}),
    "a number of many digits": (
        request(POST, JSON, body=b'{"params":{"prompt":"a","seed":%s}}' % (b"9" * 5000)),
        {400},
    ),
    "a number beyond all": (request(POST, JSON, body=b'{"params":{"prompt":"a","guidance_scale":1e999}}'), {400}),
    "no number": (request(POST, JSON, body=b'{"params":{"prompt":"a","guidance_scale":NaN}}'), {400}),
    "the same key twice": (request(POST, JSON, body=b'{"params":{"prompt":"a"},"params":{"prompt":1}}'), {400}),
    "a form without end": (
        request(POST, FORM, body=b"--x\r\nContent-Disposition: form-data"),
        {400},
    ),
    "a form of many parts": (
        request(
            POST,
            FORM,
            body=b"".join(b'--x\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n\r\n' % n for n in range(500))
            + b"--x--",
        ),
        {400},
    ),
    "a part of many fields": (
        request(
            POST,
            FORM,
            body=b"--x\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(5000)) + b"\r\n\r\n--x--",
        ),
        {400},
    ),
    "names of bytes": (
        request(
            POST,
            FORM,
            body=b'--x\r\nContent-Disposition: form-data; name="\xff"; filename="../\xff\0"\r\n\r\na\r\n--x--',
        ),
        {400},
    ),
    "a boundary that is none": (request(POST, b"Content-Type: multipart/form-data; boundary=\r\n", body=b"x"), {400}),
    "a form that expects to be asked": (
        request(POST, JSON, b"Expect: 100-continue\r\n", body=BODY),
        {100, 201},
    ),
}


@pytest.mark.parametrize("name", BLOWS)
async def test_a_blow_is_refused(server: HttpServer, caplog: pytest.LogCaptureFixture, name: str) -> None:
    data, allowed = BLOWS[name]
    found, said = await answers(server, data)
    assert set(found) <= allowed, said
    assert found, "closed without a word"
    await unharmed(server, caplog)


RANGES = {
    "bytes=0-0": 206,
    "bytes=0-999999999999999999999999": 200,
    "bytes=99999999999999999999-": 416,
    "bytes=" + "0-0," * 5000 + "0-0": 200,
    "bytes=-" + "9" * 1000: 200,
    "bytes=--1": 200,
    "bytes=1-0": 200,
    "bytes=5-,0-2": 200,
    "bytes=\u0660-\u0661": 200,
    "BYTES=0-3": 206,
    "bytes = 0-3": 200,
    "lines=0-3": 200,
}


async def test_ranges_give_the_image_once_or_a_part_of_it(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    client = await server.client()
    await submit(client, "j")
    await ended(client, "j")
    whole = (await client.get("/v1/jobs/j/artifacts/0")).content
    for asked, status in RANGES.items():
        answer = await client.get("/v1/jobs/j/artifacts/0", headers={b"range": asked.encode()})  # type: ignore[dict-item]
        assert answer.status_code == status, asked
        assert status == 416 or answer.content in whole
        assert int(answer.headers["content-length"]) == len(answer.content)
    await unharmed(server, caplog)


async def test_many_that_say_little_keep_nobody_out(start_http: StartHttp, caplog: pytest.LogCaptureFixture) -> None:
    server = start_http(handshake_timeout_s=2.0)
    port = await server.port()
    slow = [await raw(port, b"GET /v1/jobs HTTP/1.1\r\nx: ") for _ in range(100)]
    for _, writer in slow:
        writer.write(b"a")  # one more byte gives them no more time
    await unharmed(server, caplog)
    for reader, writer in slow:
        async with asyncio.timeout(15):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()
    await unharmed(server, caplog)


async def test_requests_in_one_write_are_answered_in_their_order(server: HttpServer) -> None:
    one = b"GET /v1/jobs/%d HTTP/1.1\r\n" + HOST + b"\r\n"
    last = request(b"GET /v1/jobs/last")
    found, said = await answers(server, b"".join(one % number for number in range(50)) + last)
    assert found == [404] * 51
    places = [said.index(b"'%d'" % number) for number in range(50)]
    assert places == sorted(places)


async def test_who_goes_in_the_middle_of_everything(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    """Every prefix of a conversation, and then a reset."""
    port = await server.port()
    talk = request(POST, JSON, body=BODY).replace(CLOSE, b"") + request(b"GET /v1/jobs/j/events")
    for length in range(0, len(talk), 7):
        _, writer = await raw(port, talk[:length])
        writer.transport.abort()
    await unharmed(server, caplog)


async def test_a_drain_ends_those_who_watch(start_http: StartHttp, caplog: pytest.LogCaptureFixture) -> None:
    """Watchers of a job that runs see its end; those of one that waits are let go, and nobody is waited for."""
    server = start_http(engine := HeldEngine(), max_resident=1)
    client = await server.client()
    await submit(client, "runs")
    await engine.wait(engine.started)
    await submit(client, "waits")

    async def watch(path: str) -> list[str]:
        async with client.stream("GET", path) as stream:
            watching.release()
            return [one["data"].get("state", one["event"]) async for one in events(stream)]

    watching = asyncio.Semaphore(0)
    tasks = [
        asyncio.create_task(watch(path))
        for path in ("/v1/jobs/runs/events", "/v1/jobs/waits/events", "/v1/overview/events")
    ]
    for _ in tasks:
        await watching.acquire()
    other = await server.client()
    server.signal()
    with pytest.raises(httpx.TransportError):
        await ask_until_shut(other)
    engine.finish(engine.tasks[0])
    runs, waits, overview = await asyncio.gather(*tasks)
    assert runs[-1] == "succeeded"
    assert waits == ["queued"]
    assert overview
    assert await server.code() == 0
    assert not [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]


TEXTS = ("user", "safety_identifier", "prompt", "negative_prompt")
"""Fields that take any text."""


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/jobs"])
async def test_a_wrong_type_in_every_place_is_refused(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    document = (await client.get("/openapi.json")).json()
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    fields = properties(document, content["schema"])
    assert len(fields) > 4
    for field in fields:
        for wrong in ({"a": 1}, [[]], [None], 1e300, *(() if field in TEXTS else ("\0",))):
            body = {"prompt": "a"} if path != "/v1/jobs" else {"params": {"prompt": "a"}}
            answer = await client.post(path, json=body | {field: wrong})
            assert answer.status_code == 400, (field, wrong, answer.text)
            assert problem(answer)["details"]["field"].startswith((field, "a")), answer.text  # params: {"a": 1}
    assert not [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR]


def properties(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """All names that a schema of the document has."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = set(schema.get("properties", {}))
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        found |= properties(document, part)
    return found
