"""Who may come in over HTTP, and what they may see: tokens, certificates, roles, links, pages of other sites."""

import asyncio
import signal
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from http_server import HttpServer, StartHttp, ended, problem, submit
from pki import Pki

from pixwire_server.doors.tokens import entry_for


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A list with tokens of alice, bob, and of an operator."""
    path = tmp_path / "tokens.toml"
    operator = entry_for("olga", "o-token", roles=["admin"])
    path.write_text("\n".join([entry_for("alice", "a-token"), entry_for("bob", "b-token"), operator]))
    return path


def tls(pki: Pki, *names: str) -> ssl.SSLContext:
    return pki.client(*names, alpn=())


async def test_everybody_has_his_own_jobs(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(tokens=str(tokens))
    alice, bob = await server.client(token="a-token"), await server.client(token="b-token")
    await submit(alice, "j")
    await ended(alice, "j")
    assert problem(await bob.get("/v1/jobs/j"))["title"] == "JOB_NOT_FOUND"
    assert problem(await bob.get("/v1/jobs/j/artifacts/0"))["title"] == "JOB_NOT_FOUND"
    assert (await bob.get("/v1/jobs")).json() == {"jobs": []}
    assert [job["job"] for job in (await alice.get("/v1/jobs")).json()["jobs"]] == ["j"]


@pytest.mark.parametrize(
    ("authorization", "title"),
    [
        (None, "AUTH_REQUIRED"),
        ("", "AUTH_REQUIRED"),
        ("Basic YTpi", "AUTH_REQUIRED"),
        ("Bearer", "AUTH_REQUIRED"),
        ("Bearer wrong", "AUTH_FAILED"),
    ],
)
async def test_who_shows_no_good_token_is_told_so(
    start_http: StartHttp, tokens: Path, authorization: str | None, title: str
) -> None:
    client = await start_http(tokens=str(tokens)).client()
    headers = {} if authorization is None else {"authorization": authorization}
    for path in ("/v1/jobs", "/v1/models", "/metrics", "/v1/overview", "/v1/jobs/j/artifacts/0"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 401
        assert problem(answer)["title"] == title
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert (await client.get(path)).status_code == 200


async def test_the_openai_client_shows_its_key(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(tokens=str(tokens))
    url = f"{await server.url()}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="a-token", max_retries=0) as ai:
        assert [model.id async for model in await ai.models.list()] == ["toy"]
    async with openai.AsyncOpenAI(base_url=url, api_key="wrong", max_retries=0) as ai:
        with pytest.raises(openai.AuthenticationError):
            await ai.models.list()


async def test_a_token_that_is_withdrawn_holds_no_more(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(tokens=str(tokens))
    alice = await server.client(token="a-token")
    assert (await alice.get("/v1/jobs")).status_code == 200
    tokens.write_text(entry_for("bob", "b-token"))
    server.signal(signal.SIGHUP)
    async with asyncio.timeout(10):
        while (await alice.get("/v1/jobs")).status_code == 200:
            pass
    assert problem(await alice.get("/v1/jobs"))["title"] == "AUTH_FAILED"


# ---------------------------------------------------------------------- links


async def test_a_link_needs_no_token_and_is_good_for_its_image_only(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(tokens=str(tokens))
    alice, nobody = await server.client(token="a-token"), await server.client()
    answer = await alice.post("/v1/images/generations", json={"prompt": "a cat", "n": 2, "response_format": "url"})
    first, second = (urlsplit(image["url"]) for image in answer.json()["data"])
    got = await nobody.get(f"{first.path}?{first.query}")
    assert (got.status_code, got.content) == (200, b"toy image")
    assert problem(await nobody.get(f"{second.path}?{first.query}"))["title"] == "AUTH_FAILED"
    assert problem(await nobody.get(first.path))["title"] == "AUTH_REQUIRED"
    job = first.path.split("/")[3]
    assert problem(await nobody.get(f"/v1/jobs/{job}?{first.query}"))["title"] == "AUTH_REQUIRED"
    shorter = first.query[:-2]
    assert problem(await nobody.get(f"{first.path}?{shorter}"))["title"] == "AUTH_FAILED"


# ---------------------------------------------------------------------- operators


async def test_only_operators_see_everybody(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(tokens=str(tokens), admins="bob")
    for token, status in (("a-token", 403), ("b-token", 200), ("o-token", 200)):
        client = await server.client(token=token)
        answer = await client.get("/v1/overview")
        assert answer.status_code == status
        if status == 403:
            assert problem(answer)["title"] == "FORBIDDEN"
            assert (await client.get("/v1/overview/events")).status_code == 403
        else:
            assert answer.json()["queue"]["limit"] == 1000


async def test_without_authentication_this_machine_is_the_operator(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/overview")).status_code == 200
    async with client.stream("GET", "/v1/overview/events") as stream:
        lines = stream.aiter_lines()
        seen = [await anext(lines) for _ in range(4)]
    assert seen[2] == "event: overview"


# ---------------------------------------------------------------------- TLS


async def test_https_with_the_certificate_of_the_pxw_door(
    start_http: StartHttp, pki: Pki, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_http(
        listen="pixwires://127.0.0.1:0",
        http="https://127.0.0.1:0",
        tls_cert=str(pki.certificate),
        tls_key=str(pki.key),
        tokens=str(tokens),
    )
    assert (await server.url()).startswith("https://")
    client = await server.client(token="a-token", tls=tls(pki))
    await submit(client, "j")
    assert (await ended(client, "j"))["state"] == "succeeded"
    answer = await client.post("/v1/images/generations", json={"prompt": "a cat", "response_format": "url"})
    assert answer.json()["data"][0]["url"].startswith("https://")
    pxw = await server.connect(token="a-token", tls=pki.client())
    pxw.close()
    server.signal()
    assert await server.code() == 0
    assert "were cut" not in caplog.text  # idle connections, whose clients say no goodbye


async def test_a_client_certificate_says_who_it_is(start_http: StartHttp, pki: Pki) -> None:
    server = start_http(
        listen="pixwires://127.0.0.1:0",
        http="https://127.0.0.1:0",
        tls_cert=str(pki.certificate),
        tls_key=str(pki.key),
        tls_client_ca=str(pki.ca),
        admins="carol.example",
    )
    carol = await server.client(tls=tls(pki, "carol.example"))
    dave = await server.client(tls=tls(pki, "dave.example"))
    await submit(carol, "j")
    assert (await carol.get("/v1/jobs/j")).status_code == 200
    assert (await dave.get("/v1/jobs/j")).status_code == 404
    assert [(await one.get("/v1/overview")).status_code for one in (carol, dave)] == [200, 403]
    nobody = await server.client(tls=tls(pki))
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await nobody.get("/v1/jobs")


async def test_a_renewed_certificate_is_shown_after_sighup(start_http: StartHttp, pki: Pki, tmp_path: Path) -> None:
    renewed = Pki(tmp_path)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(pki.certificate.read_bytes())
    key.write_bytes(pki.key.read_bytes())
    server = start_http(listen="127.0.0.1:0", http="https://127.0.0.1:0", tls_cert=str(certificate), tls_key=str(key))
    old = await server.client(tls=tls(pki))
    assert (await old.get("/healthz")).status_code == 200
    certificate.write_bytes(renewed.certificate.read_bytes())
    key.write_bytes(renewed.key.read_bytes())
    server.signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while True:
        new = await server.client(tls=tls(renewed))
        try:
            assert (await new.get("/healthz")).status_code == 200
            break
        except httpx.ConnectError:
            assert time.monotonic() < deadline
    assert (await old.get("/healthz")).status_code == 200  # its connection goes on


# ---------------------------------------------------------------------- pages of other sites


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://SELF"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:1"}, 200),
    ],
)
async def test_pages_of_other_sites_cannot_use_this_server(
    server: HttpServer, client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    here = f"127.0.0.1:{await server.port()}"
    asked = {name: value.replace("SELF", here) for name, value in headers.items()}
    assert (await client.get("/v1/jobs", headers=asked)).status_code == status


async def test_a_form_without_preflight_is_no_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", content=b'{"params":{"prompt":"x"}}', headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert problem(answer)["title"] == "UNSUPPORTED"
    assert "application/json" in answer.headers["accept"]
