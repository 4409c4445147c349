"""What one client may take of the server: size and time of heads and bodies, connections, answers that nobody reads."""

import asyncio
import json

import httpx
import pytest
from held_engine import HeldEngine
from http_server import PROMPT, HttpServer, StartHttp, ended, problem, raw, submit
from pki import Pki
from toy_engine import ToyEngine

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


async def answer_to(server: HttpServer, data: bytes) -> bytes:
    """Everything the server says until it closes."""
    reader, writer = await raw(await server.port(), data)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


def said_problem(said: bytes) -> tuple[int, str]:
    """Status and name of a problem that ends a connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["title"]


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"x: " + b"a" * 40_000 + b"\r\n\r\n",
        HEAD + b"x: " + b"a" * 300_000,
        HEAD + b"".join(b"x%d: a\r\n" % number for number in range(5_000)) + b"\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["one field", "a field without end", "many fields", "a long path"],
)
async def test_a_head_has_a_largest_size(server: HttpServer, data: bytes) -> None:
    assert said_problem(await answer_to(server, data)) == (431, "INVALID_ARGUMENT")


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_told_so(server: HttpServer, data: bytes) -> None:
    assert said_problem(await answer_to(server, data)) == (400, "PROTOCOL_ERROR")


async def test_a_head_has_a_longest_time(start_http: StartHttp) -> None:
    server = start_http(handshake_timeout_s=0.5)
    assert said_problem(await answer_to(server, HEAD)) == (408, "HANDSHAKE_TIMEOUT")
    assert await answer_to(server, b"") == b""


async def test_a_body_that_stalls_is_given_up(start_http: StartHttp) -> None:
    server = start_http(upload_stall_s=1.0)
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    assert said_problem(await answer_to(server, head)) == (408, "UPLOAD_STALLED")


async def test_an_idle_connection_is_closed(start_http: StartHttp) -> None:
    server = start_http(idle_timeout_s=1.0)
    said = await answer_to(server, HEAD + b"\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK")


async def test_a_body_has_a_largest_size(client: httpx.AsyncClient) -> None:
    body = json.dumps({"params": PROMPT | {"negative_prompt": "x" * (1 << 20)}}).encode()
    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/jobs", content=body, headers=headers)
    assert answer.status_code == 413
    assert problem(answer)["details"]["field"] == "body"
    assert (await client.get("/healthz")).status_code == 200

    async def pieces() -> object:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await client.post("/v1/jobs", content=pieces(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 413


async def test_a_file_has_a_largest_size(start_http: StartHttp) -> None:
    client = await start_http(max_upload_bytes=1000).client()
    form = {"image": ("a.png", b"x" * 2000, "image/png")}
    answer = await client.post("/v1/images/edits", files=form, data={"prompt": "x"})
    assert answer.status_code == 400
    assert problem(answer)["details"]["field"] == "image"


@pytest.mark.parametrize(
    ("files", "data", "field"),
    [
        ({"image": ("a", b"x"), "other": ("b", b"x")}, {"prompt": "x"}, "other"),
        ({"mask": ("a", b"x")}, {"prompt": "x"}, "image"),
        ({"image": ("a", b"x")}, {"prompt": "x", "steps": "many"}, "steps"),
        ({"image": ("a", b"x")}, {"prompt": "x", "stream": "maybe"}, "stream"),
        ({"image": ("a", b"x")}, {"prompt": "x", "tags": "a,b"}, "tags"),
        ({"image": ("a", b"x")}, {"prompt": "x", "image": "text"}, "image"),
        ({"image": ("a", b"")}, {"prompt": "x"}, "image"),
    ],
)
async def test_a_wrong_form_is_refused(
    client: httpx.AsyncClient, files: dict[str, tuple[str, bytes]], data: dict[str, str], field: str
) -> None:
    answer = await client.post("/v1/images/edits", files=files, data=data)
    assert answer.status_code == 400
    assert problem(answer)["details"]["field"] == field


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b'{"params":NaN}', b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert problem(answer)["details"]["field"] == "body"


async def test_a_form_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = await client.post("/v1/images/edits", content=b"nonsense", headers={"content-type": kind})
        assert answer.status_code == 400
        assert problem(answer)["details"]["field"] == "body"


async def test_connections_have_a_largest_number(start_http: StartHttp) -> None:
    server = start_http(max_connections=2)
    held = [await raw(await server.port(), HEAD) for _ in range(2)]
    assert said_problem(await answer_to(server, b"")) == (503, "EXCESSIVE_LOAD")
    reader, writer = held[0]
    writer.write(b"Connection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert (await answer_to(server, HEAD + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
    held[1][1].close()


async def test_who_never_shakes_hands_takes_a_seat_and_only_for_a_while(start_https: StartHttp, pki: Pki) -> None:
    server = start_https(max_connections=2, handshake_timeout_s=2.0)
    port = await server.port()
    held = [await raw(port, said) for said in (b"", b"\x16\x03\x01\x02")]
    tls = pki.client(alpn=())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    assert said_problem(await reader.read()) == (503, "EXCESSIVE_LOAD")
    writer.close()
    for reader, writer in held:
        assert await reader.read() == b""
        writer.close()
    client = await server.client(tls=tls)
    assert (await client.get("/healthz")).status_code == 200


async def test_a_client_that_does_not_read_its_image_is_cut(start_http: StartHttp) -> None:
    server = start_http(ToyEngine(image=b"x" * (32 << 20)), write_stall_s=1.0)
    client = await server.client()
    await submit(client, "j")
    await ended(client, "j")
    request = b"GET /v1/jobs/j/artifacts/0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.port(), limit=1024)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(10):  # the metrics come over a connection of their own
        while "pixwire_http_requests_in_progress 2.0" in (await client.get("/metrics")).text:
            pass
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(32 << 20)
    writer.close()


# ---------------------------------------------------------------------- the end


async def test_a_drain_lets_those_who_wait_have_their_images(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a cat"}))
    await engine.wait(engine.started)
    server.signal()
    other = await server.client()
    with pytest.raises(httpx.TransportError):
        await _ask_until_shut(other)
    engine.finish(engine.tasks[0])
    answer = await asked
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert await server.code() == 0


async def _ask_until_shut(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            await client.get("/healthz", headers={"connection": "close"})


async def test_who_waits_in_vain_is_told_to_come_again_and_the_job_is_cancelled(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine(), drain_grace_s=0.1)
    client = await server.client()
    asked = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a cat"}))
    keyed = asyncio.create_task(
        client.post("/v1/images/generations", json={"prompt": "a dog"}, headers={"idempotency-key": "k"})
    )
    while len(engine.tasks) < 2:
        await engine.wait(engine.started)
    await submit(client, "watched")
    url = "/v1/jobs/watched/events"
    async with client.stream("GET", url) as stream:
        server.signal()
        assert b"state" in await stream.aread()  # it ends, in order
    for answer, processed in ((await asked, "maybe"), (await keyed, "yes")):
        found = problem(answer)
        assert (answer.status_code, found["title"], found["processed"]) == (503, "DRAINING", processed)
        assert "retry-after" in answer.headers
    assert await server.code() == 0
    again = start_http(engine := HeldEngine())
    client = await again.client()
    states = {job["job"][:4]: job["state"] for job in (await client.get("/v1/jobs")).json()["jobs"]}
    assert states.pop("key-") in ("queued", "running")
    assert states.pop("watc") in ("queued", "running")
    assert list(states.values()) == ["cancelled"]
