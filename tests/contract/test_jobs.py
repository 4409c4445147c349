"""Handles on jobs and their events."""

import asyncio
import gc

import pytest
from aio_support import BIG, PNG, SECONDS, spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Connected

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Cancel, Fetch, Status, Submit, Watch
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.usefixtures("tidy")


# --- jobs


async def test_submit_and_come_back(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.submit("x", seed=3))
    request = await server.next(Submit)
    assert not request.message.watch
    request.result("queued")
    job = await task
    assert job.id == request.job
    assert job.last_status is not None
    assert job.last_status.state == "queued"

    task = spawn(job.status())
    (await server.next(Status)).result("running", params={"prompt": "x"})
    assert (await task).params == {"prompt": "x"}

    task = spawn(job.cancel("changed my mind"))
    request = await server.next(Cancel)
    assert request.message.reason == "changed my mind"
    request.result("running")
    assert (await task).state == "running"

    task = spawn(job.wait())
    request = await server.next(Watch)
    request.accept("running")
    request.change("cancelled", end=True)
    assert (await task).state == "cancelled"
    assert (await job.wait()).state == "cancelled"
    with pytest.raises(errors.JobCancelled):
        await job.image()
    assert server.requests.empty()


async def test_image_waits_and_fetches_the_one(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.job("j").image(2, timeout=SECONDS))
    request = await server.next(Watch)
    assert not request.message.deliver
    request.accept("running")
    request.succeed([PNG] * 3, deliver=False)
    fetch = await server.next(Fetch)
    assert fetch.message.artifact == 2
    fetch.image(2, BIG)
    assert (await task).bytes == BIG


async def test_images_come_with_the_watch(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.job("j").images())
    request = await server.next(Watch)
    assert request.message.deliver
    request.accept("succeeded", artifacts=[request.info(0, PNG), request.info(1, BIG)])
    request.succeed([PNG, BIG], announce=False)
    assert [image.bytes for image in await task] == [PNG, BIG]


async def test_an_unknown_job(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.job("nobody").status())
    (await server.next(Status)).error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobNotFound):
        await task


# --- events


async def test_events(server: ScriptedServer, client: Connected) -> None:
    events = client.job("j").events(previews=True)
    first = spawn(anext(events))
    request = await server.next(Watch)
    assert request.message.want == ("progress", "preview")
    request.accept("queued", queue_position=1)
    event = await first
    assert isinstance(event, pixwire.StateChange)
    assert event.status.queue_position == 1
    request.change("running")
    request.progress(1)
    request.preview(1, b"rough")
    request.succeed([PNG], deliver=False)
    rest = [event async for event in events]
    assert [type(event).__name__ for event in rest if isinstance(event, pixwire.StateChange)] == ["StateChange"] * 2
    assert rest[-1].step == 0
    assert [event async for event in events] == []


@LOOPS
async def test_a_cancelled_anext_loses_nothing(server: ScriptedServer, client: Connected) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    request = await server.next(Watch)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    request.accept("running")
    assert isinstance(await anext(events), pixwire.StateChange)
    request.succeed([PNG], deliver=False)
    assert [event.state async for event in events if isinstance(event, pixwire.StateChange)] == ["succeeded"]


async def test_leaving_the_loop_early(server: ScriptedServer, client: Connected) -> None:
    async with client.job("j").events() as events:
        waiting = spawn(anext(events))
        request = await server.next(Watch)
        request.accept("running")
        await waiting
    assert await request.peer.resets.get() == request.stream
    assert [event async for event in events] == []
    request.progress(2)
    assert await client.ping() >= 0


async def test_events_that_nobody_holds_end_by_themselves(server: ScriptedServer, client: Connected) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    request = await server.next(Watch)
    request.accept("running")
    await waiting
    del events, waiting
    gc.collect()
    request.progress(1)
    assert await request.peer.resets.get() == request.stream


async def test_events_of_an_unknown_job(server: ScriptedServer, client: Connected) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    (await server.next(Watch)).error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobNotFound):
        await waiting
    assert [event async for event in events] == []
