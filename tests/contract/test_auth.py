"""Tokens: shown to the server that asks, and to nobody else."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_support import PNG, spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Shell

import pixwire
from pixwire import errors
from pixwire.core import auth
from pixwire.url import parse_url
from pixwire_protocol.messages import Submit, Watch
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

SETTINGS = Settings(agent="s", auth=("bearer",))
TOKEN = "pxw-very-secret-5c2a"

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture
async def guarded(tidy: None) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(SETTINGS) as server:
        server.tokens = {TOKEN: None}
        yield server


async def ask_later() -> str:
    await asyncio.sleep(0)
    return TOKEN


@pytest.mark.parametrize("token", [TOKEN, lambda: TOKEN], ids=["str", "function"])
async def test_a_server_that_asks(shell: Shell, guarded: ScriptedServer, token: Any) -> None:
    async with shell.connect(guarded.url, token=token) as client:
        assert client.principal == "alice"
        task = spawn(client.submit("x"))
        (await guarded.next(Submit)).result("queued")
        await task
    assert [auth.token for auth in guarded.auths] == [TOKEN]


@LOOPS
async def test_an_asynchronous_function(shell: Shell, guarded: ScriptedServer) -> None:
    async with shell.connect(guarded.url, token=ask_later) as client:
        assert client.principal == "alice"


@pytest.mark.asyncio(loop_factories=["threads"])
async def test_an_asynchronous_function_is_of_no_use_to_threads(shell: Shell, guarded: ScriptedServer) -> None:
    with pytest.raises(errors.ConnectError, match=r"only pixwire\.connect can use"):
        await shell.connect(guarded.url, token=ask_later)


async def test_a_server_that_does_not_ask(shell: Shell, server: ScriptedServer) -> None:
    async with shell.connect(server.url, token=TOKEN) as client:
        assert await client.ping() >= 0
    assert server.auths == []


async def test_no_token(shell: Shell, guarded: ScriptedServer) -> None:
    with pytest.raises(errors.AuthRequired, match="wants a token"):
        await shell.connect(guarded.url)
    assert guarded.auths == []


@pytest.mark.req("PXW-AUT-020")
async def test_a_wrong_token(shell: Shell, guarded: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "pxw-wrong-secret-77aa"
    connecting = shell.connect(guarded.url, token=wrong)
    with pytest.raises(errors.AuthFailed, match="does not let us in: wrong token") as caught:
        await connecting
    assert len(guarded.auths) == 1
    shown = [str(caught.value), repr(caught.value), repr(connecting), repr(vars(caught.value)), caplog.text]
    shown += traceback.format_exception(caught.value)
    assert all(wrong not in text for text in shown)


@pytest.mark.req("PXW-AUT-020")
@pytest.mark.parametrize("make", [pixwire.connect, pixwire.Client])
@pytest.mark.parametrize("token", ["", "two words", "x" * 4000, "line\n", b"bytes", 7])
def test_what_cannot_be_a_token_is_refused_unseen(make: Any, token: Any) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        make("pixwire://localhost", token=token)
    assert caught.value.field == "token"
    if isinstance(token, str) and token:
        assert token not in str(caught.value)
    assert "secret" not in repr(auth.Credentials("secret"))


async def test_a_function_that_fails(shell: Shell, guarded: ScriptedServer) -> None:
    def broken() -> str:
        raise LookupError("no keyring")

    with pytest.raises(errors.ConnectError, match="no keyring"):
        await shell.connect(guarded.url, token=broken)
    with pytest.raises(errors.ConnectError, match="the token must be"):
        await shell.connect(guarded.url, token=lambda: "two words")


@pytest.mark.req("PXW-AUT-010")
async def test_a_token_that_is_withdrawn_ends_the_client(shell: Shell, guarded: ScriptedServer) -> None:
    async with shell.connect(guarded.url, token=TOKEN) as client:
        task = spawn(client.generate("x"))
        request = await guarded.next(Submit)
        request.accept("running")
        await client.ping()
        guarded.tokens.clear()
        request.peer.cut()
        with pytest.raises(errors.AuthFailed):
            await task
        assert client.closed
        with pytest.raises(errors.AuthFailed):
            await client.generate("y")
    assert len(guarded.peers) == 2
    assert len(guarded.auths) == 2


@pytest.mark.asyncio(loop_factories=["asyncio", "threads"])  # it takes its time
async def test_renewal_before_the_end(shell: Shell, guarded: ScriptedServer) -> None:
    tokens = iter(["first", "second", "third"])
    guarded.tokens = {"first": 1_250, "second": None}
    async with shell.connect(guarded.url, token=lambda: next(tokens)) as client:
        assert [await guarded.shown.get() for _ in range(2)] == ["first", "second"]
        assert await client.ping() >= 0
        assert client.connected
    assert [auth.token for auth in guarded.auths] == ["first", "second"]
    assert len(guarded.peers) == 1


async def test_an_expired_token_is_replaced_and_the_job_goes_on(shell: Shell, guarded: ScriptedServer) -> None:
    tokens = iter(["old", "new"])
    guarded.tokens = {"old": None, "new": None}
    async with shell.connect(guarded.url, token=lambda: next(tokens)) as client:
        task = spawn(client.generate("x"))
        request = await guarded.next(Submit)
        request.accept("running")
        await client.ping()
        request.peer.goaway(ErrorCode.AUTH_EXPIRED, "too old", last_stream=request.stream)
        request.peer.close()
        again = await guarded.next(Watch)
        again.accept("running")
        again.succeed([PNG])
        assert (await task).bytes == PNG
    assert [auth.token for auth in guarded.auths] == ["old", "new"]


async def test_an_expired_token_that_nobody_can_replace(shell: Shell, guarded: ScriptedServer) -> None:
    async with shell.connect(guarded.url, token=TOKEN) as client:
        task = spawn(client.generate("x"))
        request = await guarded.next(Submit)
        request.peer.goaway(ErrorCode.AUTH_EXPIRED, "too old", last_stream=request.stream)
        request.peer.close()
        with pytest.raises(errors.AuthExpired):
            await task


@pytest.mark.req("PXW-AUT-016")
@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("pixwires://example.org", True),
        ("pixwire+unix:///run/p.sock", True),
        ("pixwire://localhost", True),
        ("pixwire://LOCALHOST.", True),
        ("pixwire://127.0.0.1", True),
        ("pixwire://127.8.8.8:80", True),
        ("pixwire://[::1]", True),
        ("pixwire://example.org", False),
        ("pixwire://10.0.0.1", False),
        ("pixwire://localhost.example.org", False),
        ("pixwire://127.0.0.1.example.org", False),
        ("pixwire://[::2]", False),
    ],
)
def test_a_token_travels_where_nobody_reads_it(url: str, fine: bool) -> None:
    if fine:
        auth.check_transport(parse_url(url), False)
        return
    with pytest.raises(errors.InvalidArgument, match="pixwires://") as caught:
        pixwire.connect(url, token=TOKEN)
    assert TOKEN not in str(caught.value) + repr(caught.value.details)
    with pytest.raises(errors.InvalidArgument, match="pixwires://"):
        pixwire.Client(url, token=TOKEN)
    pixwire.connect(url, token=TOKEN, allow_insecure_auth=True)
