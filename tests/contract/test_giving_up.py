"""Timeouts and cancelled calls."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aio_support import BIG, STAGES, Step, spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Connected

from pixwire import errors
from pixwire_protocol.messages import Status, Submit

pytestmark = pytest.mark.usefixtures("tidy")


async def test_every_call_takes_a_timeout(server: ScriptedServer, client: Connected) -> None:
    job = client.job("j")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.generate("x", timeout=0.01),
        lambda: client.submit("x", timeout=0.01),
        lambda: job.status(timeout=0.01),
        lambda: job.cancel(timeout=0.01),
        lambda: job.wait(timeout=0.01),
        lambda: job.image(timeout=0.01),
        lambda: job.images(timeout=0.01),
        lambda: anext(job.events(timeout=0.01)),
    ]
    for call in calls:
        with pytest.raises(errors.RequestTimeout) as caught:
            await call()
        assert caught.value.timeout == 0.01
        assert caught.value.job is not None
        request = await server.requests.get()
        assert await request.peer.resets.get() == request.stream
    server.peers[0].hold()
    with pytest.raises(TimeoutError):
        await client.ping(timeout=0.01)


@LOOPS
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
async def test_a_cancelled_generate_leaves_job_and_connection_alone(
    server: ScriptedServer, client: Connected, stage: tuple[str, list[Step]]
) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    for step in stage[1]:
        step(request)
    await client.ping()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await request.peer.resets.get() == request.stream
    again = spawn(client.generate("y"))
    other = await server.next(Submit)
    other.accept()
    other.succeed([BIG])
    assert (await again).bytes == BIG
    assert server.requests.empty()


@LOOPS
async def test_cancelled_before_it_was_sent(server: ScriptedServer, client: Connected) -> None:
    task = asyncio.get_running_loop().create_task(client.generate("x"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.ping() >= 0
    assert server.requests.empty()


@LOOPS
async def test_hundreds_of_cancelled_calls(server: ScriptedServer, client: Connected) -> None:
    for _ in range(300):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.job("j").status()
    task = spawn(client.job("good").status())
    while (request := await server.next(Status)).job != "good":
        pass
    request.result("running")
    assert (await task).state == "running"
