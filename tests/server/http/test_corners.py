"""Corners of HTTP: several requests behind one another, what follows a body, text that is none, no room for a form."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from held_engine import HeldEngine
from http_server import PROMPT, HttpServer, StartHttp, events, problem, raw, submit

from pixwire_server.doors.tokens import entry_for

HOST = b"Host: localhost\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = HEALTH[:-2] + b"Connection: close\r\n\r\n"


def post(path: bytes, body: object, *fields: bytes) -> bytes:
    """A request with a JSON body."""
    data = json.dumps(body).encode()
    head = b"POST " + path + b" HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
    return head + HOST + b"".join(fields) + b"\r\n" + data


GENERATION = post(b"/v1/images/generations", PROMPT)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What the server says until it closes; a bound for a hang, never a measure."""
    async with asyncio.timeout(20):
        return await reader.read()


async def test_who_goes_is_missed_also_with_another_request_behind_the_one_that_is_answered(
    start_http: StartHttp,
) -> None:
    server = start_http(engine := HeldEngine())
    _, writer = await raw(await server.port(), GENERATION + HEALTH)
    await engine.wait(engine.started)
    writer.close()
    await engine.wait(engine.cancelled)


async def test_nonsense_behind_a_request_ends_it_and_not_in_a_defect(
    start_http: StartHttp, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_http(engine := HeldEngine())
    reader, writer = await raw(await server.port(), GENERATION)
    await engine.wait(engine.started)
    writer.write(HEALTH + b"nonsense\r\n\r\n")
    assert await all_of(reader) == b""
    await engine.wait(engine.cancelled)
    writer.close()
    assert not [line.getMessage() for line in caplog.records if line.levelname == "ERROR"]


async def test_a_head_that_this_server_does_not_read_is_not_late(start_http: StartHttp) -> None:
    """While a request waits behind another one nothing is read, so what follows it cannot come."""
    server = start_http(engine := HeldEngine(), handshake_timeout_s=0.5)
    reader, writer = await raw(await server.port(), GENERATION)
    await engine.wait(engine.started)
    writer.write(HEALTH + LAST[:20])
    await writer.drain()
    late, other = await raw(await server.port(), LAST[:20])  # begun after it, and read
    assert (await all_of(late)).startswith(b"HTTP/1.1 408 ")
    other.close()
    writer.write(LAST[20:])
    engine.finish(engine.tasks[0])
    assert (await all_of(reader)).count(b"HTTP/1.1 200 OK") == 3
    writer.close()


async def test_what_follows_a_body_is_no_field_of_the_request(start_http: StartHttp) -> None:
    server = start_http()
    head = b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    body = json.dumps({"params": PROMPT}).encode()
    trailer = b"Idempotency-Key: mine\r\nOrigin: http://evil.example\r\n"
    chunks = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailer)
    reader, writer = await raw(await server.port(), head + HOST + b"Connection: close\r\n\r\n" + chunks)
    said = await all_of(reader)
    assert said.startswith(b"HTTP/1.1 201 ")
    assert b"/v1/jobs/key-" not in said
    writer.close()


def test_a_range_of_many_blanks_holds_nobody_up() -> None:
    """In time that grows with their number, not with its square, which would be half an hour here."""
    program = "from pixwire_server.doors.http.ranges import span; print(span('bytes=' + ' ' * 1_000_000 + 'x', 9))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "Span(start=0, stop=9, size=9, partial=False)\n"


async def test_half_a_character_in_an_admins_words_is_refused_and_changes_nothing(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine(), max_resident=1)
    client = await server.client()
    await submit(client, "runs")
    await engine.wait(engine.started)
    await submit(client, "waits")
    for field in ("reason", "principal"):
        body = json.dumps({"action": "cancel", "job": "waits", field: "half \ud83d"})
        answer = await client.post("/v1/admin", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert problem(answer)["details"]["field"] == field
    assert (await client.get("/v1/jobs/waits")).json()["state"] == "queued"


async def test_a_token_that_is_withdrawn_hears_no_more_of_a_job_that_goes_on(
    start_http: StartHttp, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("\n".join([entry_for("alice", "a-token"), entry_for("bob", "b-token")]))
    server = start_http(engine := HeldEngine(), tokens=str(tokens))
    alice = await server.client(token="a-token")
    await submit(alice, "j")
    await engine.wait(engine.started)
    async with alice.stream("GET", "/v1/jobs/j/events?want=preview") as stream:
        told = events(stream)
        assert (await anext(told))["data"]["state"] == "running"
        tokens.write_text(entry_for("bob", "b-token"))
        server.signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while (await alice.get("/v1/jobs")).status_code != 401:
                pass
        engine.preview(1)
        assert [event async for event in told] == []


@pytest.mark.parametrize(
    ("charset", "status"), [("punycode", 400), ("idna", 400), ("zlib", 400), ("", 400), ("UTF8", 201)]
)
async def test_a_form_is_in_a_charset_that_is_quick_to_read(
    server: HttpServer, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, charset: str, status: int
) -> None:
    """The others end in a defect, or keep everybody waiting for seconds."""
    text = "a-" + "a9" * 500 if status == 400 else json.dumps({"params": PROMPT})
    body = f'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n{text}\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    answer = await client.post("/v1/jobs", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    if status == 400:
        assert problem(answer)["details"]["field"] == "Content-Type"
    assert "incident" not in caplog.text


async def test_a_form_for_whose_files_there_is_no_room_is_to_come_again(
    start_http: StartHttp, caplog: pytest.LogCaptureFixture
) -> None:
    client: httpx.AsyncClient = await start_http().client()
    form = {"request": json.dumps({"kind": "img2img", "params": {"prompt": "a"}})}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, hard))
    try:
        answer = await client.post("/v1/jobs", data=form, files={"image": bytes(3 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.status_code == 503
    body = problem(answer)
    assert (body["title"], body["retry"]) == ("QUEUE_FULL", "after")
    assert "temporary directory" in body["detail"]
    assert "incident" not in caplog.text
