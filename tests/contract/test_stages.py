"""Time that runs out, and awaits that are cancelled, at every point there is: nothing hangs, nothing is left over."""

import asyncio
import contextlib
import io
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
from pixwire_protocol.settings import Settings

pytestmark = pytest.mark.usefixtures("tidy")

IMAGE = png(filler=600_000)  # more than one piece, so an upload takes several turns
SIZE = 300_000  # bytes of an image


def named(name: str) -> Settings:
    return Settings(agent="steady/1", server_id=name, epoch="e1", max_upload=1 << 24)


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


DEADLINES: list[tuple[str, Callable[[Any], Awaitable[Any]], list[Step]]] = [
    ("status", lambda client: client.job("j").status(timeout=0.2), []),
    ("cancel", lambda client: client.job("j").cancel(timeout=0.2), []),
    ("models", lambda client: client.models(timeout=0.2), []),
    ("jobs", lambda client: anext(client.jobs(timeout=0.2)), []),
    ("wait", lambda client: client.job("j").wait(timeout=0.2), [lambda r: r.accept("running")]),
    ("images", lambda client: client.job("j").images(timeout=0.2), STAGES[-1][1]),
    ("upload", lambda client: client.submit("x", image=IMAGE, timeout=0.2), []),
    ("events", lambda client: exhausted(client.job("j").events(timeout=0.2)), [lambda r: r.accept("running")]),
]


async def exhausted(events: Any) -> None:
    async for _ in events:
        pass


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("case", DEADLINES, ids=lambda case: case[0])
async def test_a_deadline_of_every_call(shell: Shell, case: tuple[str, Any, list[Step]], servers: int) -> None:
    """It ends the waiting, resets the stream, and harms nothing else; also where several servers could be asked."""
    async with contextlib.AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(ScriptedServer(named(f"s{n}"))) for n in range(servers)]
        for host in hosts:
            host.takes_uploads = case[0] != "upload"
        client = await stack.enter_async_context(shell.connect([host.url for host in hosts]))
        task = spawn(case[1](client))
        asked = [asyncio.ensure_future(host.requests.get()) for host in hosts]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        request = next(one for one in asked if one.done()).result()
        for step in case[2]:
            step(request)
        with pytest.raises(errors.RequestTimeout) as caught:
            await task
        assert caught.value.timeout == 0.2
        assert await request.peer.resets.get() == request.stream
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert await client.ping() >= 0


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


async def fetch_to_a_file(client: Any, job: str) -> None:
    file = io.BytesIO()
    await client.job("there").fetch_to(file, 1)
    assert file.getvalue() == images_of("there", 2, SIZE)[1]


async def list_jobs(client: Any, job: str) -> None:
    assert [found async for found in client.jobs()] == []


async def make_many(client: Any, job: str) -> None:
    many = client.generate_many([{"prompt": "x", "job_id": f"{job}-{turn}"} for turn in range(3)], count=2)
    async with contextlib.aclosing(many) as outcomes:
        async for outcome in outcomes:
            assert [image.bytes for image in outcome.images] == images_of(f"{job}-{outcome.index}", 2, SIZE)


WORK: list[tuple[str, Work]] = [
    ("generate", lambda client, job: client.generate("x", count=2, job_id=job)),
    ("upload", lambda client, job: client.generate("x", count=2, job_id=job, image=IMAGE)),
    ("submit", lambda client, job: client.submit("x", count=2, job_id=job)),
    ("events", follow),
    ("status", lambda client, job: client.job("there").status()),
    ("cancel", lambda client, job: client.job("there").cancel()),
    ("wait", lambda client, job: client.job("there").wait()),
    ("image", lambda client, job: client.job("there").image()),
    ("images", lambda client, job: client.job("there").images()),
    ("fetch_to", fetch_to_a_file),
    ("models", lambda client, job: client.models()),
    ("jobs", list_jobs),
    ("generate_many", make_many),
]


PLACES = [(work, 1) for work in WORK]
PLACES += [(work, 2) for work in WORK if work[0] in ("generate", "submit", "events", "status", "generate_many")]


def waiters(client: Any) -> list[Any]:
    """Whoever waits for something, over all connections."""
    link = client._link
    return [call for one in getattr(link, "_links", [link]) for call in one._waiters]


@LOOPS
@pytest.mark.parametrize(("work", "servers"), PLACES, ids=lambda value: value[0] if isinstance(value, tuple) else None)
async def test_cancelled_after_every_turn_of_the_loop(shell: Shell, work: tuple[str, Work], servers: int) -> None:
    """The call is cancelled one turn of the loop later each time, until it is done before that."""
    async with contextlib.AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(SteadyServer(size=SIZE, settings=named(f"s{n}"))) for n in range(servers)
        ]
        client = await stack.enter_async_context(shell.connect([store.url for store in stores]))
        await client.generate("x", count=2, job_id="there")
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
        assert not waiters(client)
        assert not getattr(client._link, "_trips", {})
        images = await client.generate("x", count=2, job_id="last", timeout=SECONDS)
        assert [image.bytes for image in images] == images_of("last", 2, SIZE)
        made = [job for store in stores for job in store.jobs]
        assert len(made) == len(set(made)), "no job is at two servers"


@LOOPS
@pytest.mark.parametrize("work", WORK, ids=lambda work: work[0])
async def test_cancelled_while_there_is_no_connection(shell: Shell, work: tuple[str, Work]) -> None:
    async with SteadyServer(size=SIZE) as server, shell.connect(server.url) as client:
        server.mute = True
        (await server.arrived.get()).cut()
        await server.arrived.get()  # the client tries again, and nobody answers
        task = asyncio.ensure_future(work[1](client, "j"))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not waiters(client)
        assert not client._link.session._held
        assert not server.jobs


@LOOPS
async def test_a_token_function_cancelled_with_its_connection(shell: Shell, tidy: None) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def token() -> str:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    async with ScriptedServer(Settings(agent="s", auth=("bearer",))) as server:
        task = asyncio.ensure_future(connect_with(server.url, token))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()
        await server.peers[0].gone


async def connect_with(url: str, token: Any) -> pixwire.AsyncClient:
    return await pixwire.connect(url, token=token)


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
