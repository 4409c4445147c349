"""Time that runs out, and awaits that are cancelled, at every point there is: nothing hangs, nothing is left over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aio_support import BIG, SECONDS, STAGES, Step, spawn
from pictures import png
from scripted_server import ScriptedServer
from shells import LOOPS, Connected, Shell
from steady_server import SteadyServer, images_of

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Submit, Watch
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.usefixtures("tidy")

IMAGE = png(filler=600_000)  # more than one piece, so an upload takes several turns


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
async def test_a_deadline_at_every_stage(
    server: ScriptedServer, client: Connected, stage: tuple[str, list[Step]]
) -> None:
    task = spawn(client.generate("x", job_id="j", timeout=0.4))
    request = await server.next(Submit)
    for step in stage[1]:
        step(request)
    with pytest.raises(errors.RequestTimeout) as caught:
        await task
    assert caught.value.job == "j"
    assert (caught.value.status is None) == (stage[0] == "sent")
    assert await request.peer.resets.get() == request.stream
    again = spawn(client.generate("y"))
    other = await server.next(Submit)
    other.accept()
    other.succeed([BIG])
    assert (await again).bytes == BIG


async def test_a_deadline_without_a_connection(server: ScriptedServer, client: Connected) -> None:
    server.mute = True
    (await server.arrived.get()).cut()
    with pytest.raises(errors.RequestTimeout):
        await client.generate("x", timeout=0.05)


async def test_a_server_that_is_started_anew_in_the_middle_of_a_job(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x", job_id="j"))
    request = await server.next(Submit)
    request.accept("running")
    request.change("succeeded", artifacts=[request.info(0, BIG)])
    request.announce_image(0, BIG)
    request.data(BIG[:300_000])
    request.peer.goaway(ErrorCode.DRAINING, "restart", last_stream=request.stream, reconnect_after_ms=1)
    request.peer.close()
    fetch = await server.requests.get()
    assert fetch.message.job == "j"
    assert 0 < fetch.message.offset <= 300_000
    assert fetch.message.etag == request.info(0, BIG)["etag"]
    fetch.announce_image(0, BIG, fetch.message.offset)
    fetch.data(BIG[fetch.message.offset :], end=True)
    assert (await task).bytes == BIG


async def test_a_job_that_the_new_server_does_not_know_is_lost(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x", job_id="j"))
    request = await server.next(Submit)
    heard = asyncio.Event()
    events = client.job("j").events()
    first = spawn(anext(events))
    watch = await server.next(Watch)
    request.accept("running")
    watch.accept("running")
    await first
    heard.set()
    server.settings = pixwire_settings("e2")
    request.peer.cut()
    for _ in range(2):
        again = await server.next(Watch)
        again.error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobLost):
        await task
    with pytest.raises(errors.JobLost):
        await anext(events)


def pixwire_settings(epoch: str) -> Any:
    from dataclasses import replace

    from scripted_server import SETTINGS

    return replace(SETTINGS, epoch=epoch)


# --- cancellation at every await


Work = Callable[[Any, str], Awaitable[Any]]


async def follow(client: Any, job: str) -> None:
    await client.submit("x", count=2, job_id=job)
    async with client.job(job).events() as events:
        async for _ in events:
            pass


WORK: list[tuple[str, Work]] = [
    ("generate", lambda client, job: client.generate("x", count=2, job_id=job)),
    ("upload", lambda client, job: client.generate("x", count=2, job_id=job, image=IMAGE)),
    ("submit", lambda client, job: client.submit("x", count=2, job_id=job)),
    ("events", follow),
]


@LOOPS
@pytest.mark.parametrize("work", WORK, ids=lambda work: work[0])
async def test_cancelled_after_every_turn_of_the_loop(shell: Shell, work: tuple[str, Work]) -> None:
    """The call is cancelled one turn of the loop later each time, until it is done before that."""
    async with SteadyServer(size=300_000) as server, shell.connect(server.url) as client:
        turns = 0
        while True:
            task = asyncio.ensure_future(work[1](client, f"j{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            turns += 1
            assert turns < 2000
        task.result()
        assert turns > 3
        assert not client._link._waiters
        images = await client.generate("x", count=2, job_id="last", timeout=SECONDS)
        assert [image.bytes for image in images] == images_of("last", 2, 300_000)


@LOOPS
async def test_connecting_cancelled_after_every_turn_of_the_loop(shell: Shell) -> None:
    async with SteadyServer() as server:
        turns = 0
        while True:
            task: asyncio.Task[pixwire.AsyncClient] = asyncio.ensure_future(_connect(server.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            turns += 1
        await (await task).close()
        assert turns > 1
        async with asyncio.timeout(SECONDS):  # a connection that nobody holds would stay for ever
            await asyncio.gather(*(peer.gone for peer in server.peers))


async def _connect(url: str) -> pixwire.AsyncClient:
    return await pixwire.connect(url)


@LOOPS
async def test_a_client_that_nobody_closed(server: ScriptedServer, recwarn: pytest.WarningsRecorder) -> None:
    client = await pixwire.connect(server.url)
    peer = await server.arrived.get()
    with pytest.warns(ResourceWarning, match="unclosed pixwire client"):
        del client
    await peer.gone
