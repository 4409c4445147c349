"""Connecting, and the ways in which it fails."""

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from aio_support import spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Shell

import pixwire
from pixwire import errors

pytestmark = pytest.mark.usefixtures("tidy")


async def test_both_ways_to_connect(shell: Shell, server: ScriptedServer) -> None:
    async with await shell.connect(server.url) as first, shell.connect(server.url) as second:
        assert first.server.agent == second.server.agent == "scripted/1"
        assert first.url == server.url
        assert not first.closed
        assert await first.ping() >= 0
    assert first.closed
    assert second.closed
    await first.close()


async def test_unix_socket(shell: Shell, tmp_path: Path) -> None:
    async with ScriptedServer(path=str(tmp_path / "s")) as server, shell.connect(server.url) as client:
        assert await client.ping() >= 0


async def test_nobody_listens(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(errors.ConnectError, match="no such file") as caught:
        await shell.connect(f"pixwire+unix://{tmp_path}/none")
    assert caught.value.url == f"pixwire+unix://{tmp_path}/none"


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_what_cannot_be_the_name_of_a_host(
    shell: Shell, host: str, tidy: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(errors.ConnectError, match="cannot be the name of a host"):
        await shell.connect(f"pixwire://{host}")
    assert capsys.readouterr().err == "", "no thread has died of it"


async def test_refused(shell: Shell, server: ScriptedServer) -> None:
    async with ScriptedServer() as other:
        url = other.url
    with pytest.raises(errors.ConnectError, match="refused"):
        await shell.connect(url)


async def test_a_server_that_says_nothing(shell: Shell, server: ScriptedServer) -> None:
    server.mute = True
    with pytest.raises(errors.ConnectError, match=r"no answer within 0\.05 s"):
        await shell.connect(server.url, timeout=0.05)
    await server.peers[0].gone


async def test_a_server_that_hangs_up(shell: Shell, server: ScriptedServer) -> None:
    server.mute = True
    connecting = spawn(shell.connect(server.url))
    (await server.arrived.get()).close()
    with pytest.raises(errors.ConnectError, match=r"closed the connection|reset by peer"):
        await connecting


@LOOPS
async def test_a_cancelled_connect_leaves_nothing_open(shell: Shell, server: ScriptedServer) -> None:
    server.mute = True
    connecting = spawn(shell.connect(server.url))
    peer = await server.arrived.get()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await peer.gone


@LOOPS
async def test_a_closed_client_is_forgotten(shell: Shell, server: ScriptedServer) -> None:
    """No timer holds it until the next look at a connection that is no more."""
    client = await shell.connect(server.url)
    link = weakref.ref(client._link)
    await client.close()
    del client
    gc.collect()
    assert link() is None


async def test_connections_are_told_of(shell: Shell, server: ScriptedServer) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with shell.connect(server.url, on_connection=heard.put_nowait) as client:
        for turn in range(2):
            (await server.arrived.get()).cut()
            reason = await heard.get()
            assert reason is not None
            assert "reset" in reason or "closed" in reason
            assert await heard.get() is None
            assert client.connected, turn
    assert heard.empty()


@pytest.mark.parametrize("make", [pixwire.connect, pixwire.Client])
def test_bad_urls_and_windows_are_found_at_once(make: Any) -> None:
    with pytest.raises(errors.InvalidURL):
        make("http://localhost")
    with pytest.raises(errors.InvalidArgument, match="on_disconnect"):
        make(on_disconnect="shrug")
    with pytest.raises(errors.InvalidArgument, match="stream_window"):
        make(stream_window=1)
    wrong = [
        ("patience", "60"),
        ("patience", -1),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", None),
    ]
    for name, value in [*wrong, ("max_image_bytes", "1e9"), ("max_image_bytes", 0)]:
        with pytest.raises(errors.InvalidArgument, match=f"{name} must be"):
            make(**{name: value})
