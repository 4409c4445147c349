"""A connection that dies, for a client that is not to wait for another."""

import asyncio

import pytest
from aio_support import BIG, PNG, STAGES, Step, spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Connected, Shell

from pixwire import errors
from pixwire_protocol.messages import Submit, Watch
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.mark.parametrize("how", ["cut", "close"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
async def test_every_waiting_call_hears_that_the_connection_died(
    shell: Shell, server: ScriptedServer, impatient: Connected, stage: tuple[str, list[Step]], how: str
) -> None:
    task = spawn(impatient.generate("x", job_id="j-1"))
    request = await server.next(Submit)
    events = impatient.job("j-1").events()
    following = spawn(anext(events))
    watch = await server.next(Watch)
    for step in stage[1]:
        step(request)
    await impatient.ping()
    getattr(request.peer, how)()
    with pytest.raises(errors.ConnectionLost) as caught:
        await task
    assert caught.value.job == "j-1"
    assert caught.value.processed == ("maybe" if stage[0] == "sent" else "yes")
    with pytest.raises(errors.ConnectionLost):
        await following
    assert not impatient.closed
    if not impatient.connected:  # it makes another connection by itself, within a moment
        with pytest.raises(errors.ConnectionLost) as caught:
            await impatient.generate("y")
        assert caught.value.processed == "no"
    assert watch.job == "j-1"
    async with shell.connect(server.url) as second:
        going_on = spawn(second.job("j-1").images())
        again = await server.next(Watch)
        again.accept("running")
        again.succeed([PNG])
        assert [image.bytes for image in await going_on] == [PNG]


async def test_cut_in_the_middle_of_a_frame(server: ScriptedServer, impatient: Connected) -> None:
    task = spawn(impatient.generate("x"))
    request = await server.next(Submit)
    request.accept("running")
    request.change("succeeded", artifacts=[request.info(0, BIG)])
    request.announce_image(0, BIG)
    request.peer.transport.write(bytes.fromhex("c1008000210000000000") + b"\0\1" + BIG[:1000])
    request.peer.close()
    with pytest.raises(errors.ConnectionLost):
        await task


async def test_closing_the_client_ends_its_calls(shell: Shell, server: ScriptedServer) -> None:
    client = await shell.connect(server.url)
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    await client.close()
    with pytest.raises(errors.ConnectionLost, match="the client was closed"):
        await task
    await request.peer.gone
    assert [goodbye.code for goodbye in server.goaways] == [ErrorCode.NO_ERROR]


async def test_a_server_that_drains(server: ScriptedServer, impatient: Connected) -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = spawn(impatient.generate("x", on_state=lambda _: loop.call_soon_threadsafe(heard.set)))
    request = await server.next(Submit)
    request.peer.goaway(ErrorCode.DRAINING, "restart", last_stream=request.stream, reconnect_after_ms=250)
    request.accept("running")
    await heard.wait()
    with pytest.raises(errors.Draining) as caught:
        await impatient.generate("y")
    assert caught.value.retry_after_ms == 250
    request.succeed([PNG])
    assert (await task).bytes == PNG


@pytest.mark.asyncio(loop_factories=["asyncio", "threads"])  # it takes its time
async def test_a_server_that_falls_silent(shell: Shell, tidy: None) -> None:
    settings = Settings(agent="s", idle_ms=1000, ping_timeout_ms=1000)
    async with ScriptedServer(settings) as server, shell.connect(server.url, on_disconnect="fail") as client:
        task = spawn(client.generate("x"))
        await server.next(Submit)
        server.peers[0].hold()
        with pytest.raises(errors.ConnectionLost, match="silent"):
            await task


async def test_a_server_that_talks_nonsense(server: ScriptedServer, impatient: Connected) -> None:
    task = spawn(impatient.generate("x"))
    request = await server.next(Submit)
    request.peer.transport.write(b"\0" * 64)
    with pytest.raises(errors.ConnectionLost, match="PXW/1"):
        await task
    await request.peer.gone


@LOOPS
async def test_a_deadline_that_is_due_already_is_no_surprise(
    client: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop gives a plain handle, which does not know its time, for a timer of less than half a millisecond."""
    link = client._link
    with monkeypatch.context() as patched:
        patched.setattr(type(link.session), "next_deadline", lambda session, now: now)
        link._set_timer()
        link._set_timer()
    assert await client.ping() >= 0
