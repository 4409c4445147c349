"""The asyncio client over real sockets, against a server that the test scripts."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Request, ScriptedServer

import pixwire
from pixwire import AsyncClient, errors
from pixwire_protocol.messages import Cancel, Fetch, Status, Submit, Watch
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 8000  # two million bytes: several windows
SECONDS = 20.0  # a bound for a test that hangs, never a measure

pytestmark = pytest.mark.usefixtures("tidy")


def spawn(work: Awaitable[Any]) -> "asyncio.Task[Any]":
    async def wait() -> Any:
        async with asyncio.timeout(SECONDS):
            return await work

    return asyncio.get_running_loop().create_task(wait())


# --- connecting


async def test_both_ways_to_connect(server: ScriptedServer) -> None:
    async with await pixwire.connect(server.url) as first, pixwire.connect(server.url) as second:
        assert first.server.agent == second.server.agent == "scripted/1"
        assert first.url == server.url
        assert not first.closed
        assert await first.ping() >= 0
    assert first.closed
    assert second.closed
    await first.close()


async def test_unix_socket(tmp_path: Path) -> None:
    async with ScriptedServer(path=str(tmp_path / "s")) as server, pixwire.connect(server.url) as client:
        assert await client.ping() >= 0


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(errors.ConnectError, match="no such file") as caught:
        await pixwire.connect(f"pixwire+unix://{tmp_path}/none")
    assert caught.value.url == f"pixwire+unix://{tmp_path}/none"


async def test_refused(server: ScriptedServer) -> None:
    async with ScriptedServer() as other:
        url = other.url
    with pytest.raises(errors.ConnectError, match="refused"):
        await pixwire.connect(url)


async def test_a_server_that_says_nothing(server: ScriptedServer) -> None:
    server.mute = True
    with pytest.raises(errors.ConnectError, match=r"no answer within 0\.05 s"):
        await pixwire.connect(server.url, timeout=0.05)
    await server.peers[0].gone


async def test_a_server_that_hangs_up(server: ScriptedServer) -> None:
    server.mute = True
    connecting = spawn(pixwire.connect(server.url))
    (await server.arrived.get()).close()
    with pytest.raises(errors.ConnectError, match=r"closed the connection|reset by peer"):
        await connecting


async def test_a_cancelled_connect_leaves_nothing_open(server: ScriptedServer) -> None:
    server.mute = True
    connecting = spawn(pixwire.connect(server.url))
    peer = await server.arrived.get()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await peer.gone


def test_bad_urls_and_windows_are_found_at_once() -> None:
    with pytest.raises(errors.InvalidURL):
        pixwire.connect("http://localhost")
    with pytest.raises(errors.InvalidArgument, match="stream_window"):
        pixwire.connect(stream_window=1)


# --- generate


async def test_generate(server: ScriptedServer, client: AsyncClient) -> None:
    heard: list[Any] = []
    task = spawn(
        client.generate(
            "a red circle",
            seed=7,
            steps=4,
            guidance_scale=5.0,
            media_type="image/png",
            job_id="j-1",
            on_state=heard.append,
            on_progress=heard.append,
            on_preview=heard.append,
        )
    )
    request = await server.next(Submit)
    assert request.job == "j-1"
    params = parse(request.message.tail)
    assert (params.prompt, params.seed, params.steps, params.guidance_scale) == ("a red circle", 7, 4, 5.0)
    assert (params.width, params.count, params.model) == (None, None, None)
    assert request.message.want == ("progress", "preview")
    request.accept(queue_position=1)
    request.change("running")
    request.progress(1)
    request.preview(1, b"rough")
    request.succeed([BIG])
    image = await task
    assert isinstance(image, pixwire.Image)
    assert image.bytes == BIG
    assert (image.seed, image.metadata["engine"]["passes"]) == (100, 4)
    states = [event.state for event in heard if isinstance(event, pixwire.StateChange)]
    assert states == ["queued", "running", "succeeded"]
    assert client.bytes_received > len(BIG)


async def test_only_what_is_listened_for_is_asked_for(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    assert request.message.want == ()
    request.accept()
    request.succeed([PNG])
    await task


async def test_count_makes_a_list(server: ScriptedServer, client: AsyncClient) -> None:
    for count in (1, 3):
        task = spawn(client.generate("x", count=count))
        request = await server.next(Submit)
        assert parse(request.message.tail).count == count
        request.accept()
        request.succeed([b"%d" % index * 1000 for index in range(count)])
        assert [image.bytes for image in await task] == [b"%d" % index * 1000 for index in range(count)]


async def test_wrong_arguments_are_found_before_anything_is_sent(server: ScriptedServer, client: AsyncClient) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("prompt", {"prompt": " "}),
        ("width", {"width": 1}),
        ("steps", {"steps": 4.5}),
        ("guidance_scale", {"guidance_scale": float("nan")}),
        ("seed", {"seed": -1}),
        ("count", {"count": 0}),
        ("media_type", {"media_type": "image/gif"}),
        ("job id", {"job_id": "no spaces"}),
    ]
    for field, arguments in wrong:
        with pytest.raises(errors.InvalidArgument) as caught:
            await client.generate(**{"prompt": "x", **arguments})
        assert caught.value.field == field
        assert caught.value.allowed
        assert field in str(caught.value)
        assert caught.value.processed == "no"
    with pytest.raises(errors.InvalidArgument):
        client.job("")
    with pytest.raises(errors.InvalidArgument):
        await client.job("j").image(99)
    with pytest.raises(errors.InvalidArgument):
        await client.job("j").cancel("x" * 300)
    with pytest.raises(TypeError):
        await client.generate("x", stepps=4)  # type: ignore[call-overload]
    assert server.requests.empty()


async def test_a_failed_job(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    request.accept("running")
    request.change(
        "failed", end=True, error={"code": 1283, "name": "OUT_OF_MEMORY", "message": "too large", "retry": "no"}
    )
    with pytest.raises(errors.JobFailed, match="too large") as caught:
        await task
    assert caught.value.status.error is not None
    assert caught.value.status.error.name == "OUT_OF_MEMORY"


async def test_a_refused_job(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    (await server.next(Submit)).error(ErrorCode.QUEUE_FULL, "1000 jobs wait", retry_after_ms=500)
    with pytest.raises(errors.QueueFull) as caught:
        await task
    assert caught.value.retry_after_ms == 500


async def test_a_mistake_in_a_callback_comes_out_of_the_call(server: ScriptedServer, client: AsyncClient) -> None:
    def broken(event: Any) -> None:
        raise ZeroDivisionError("mine")

    task = spawn(client.generate("x", on_progress=broken))
    request = await server.next(Submit)
    request.accept("running")
    request.progress(1)
    with pytest.raises(ZeroDivisionError):
        await task
    assert await request.peer.resets.get() == request.stream
    assert await client.ping() >= 0


async def test_many_on_one_connection_each_get_their_own(client: AsyncClient, server: ScriptedServer) -> None:
    count = 300  # more than the 128 streams the server allows at once
    tasks = [spawn(client.generate(f"prompt {i}", job_id=f"job-{i}")) for i in range(count)]
    for _ in range(count // 4):
        requests = [await server.next(Submit) for _ in range(4)]
        for request in requests:
            request.accept()
        for request in reversed(requests):
            request.succeed([parse(request.message.tail).prompt.encode() * 300])
    images = await asyncio.gather(*tasks)
    assert [image.bytes for image in images] == [f"prompt {i}".encode() * 300 for i in range(count)]
    assert [image.job for image in images] == [f"job-{i}" for i in range(count)]


# --- jobs


async def test_submit_and_come_back(server: ScriptedServer, client: AsyncClient) -> None:
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


async def test_image_waits_and_fetches_the_one(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.job("j").image(2, timeout=SECONDS))
    request = await server.next(Watch)
    assert not request.message.deliver
    request.accept("running")
    request.succeed([PNG] * 3, deliver=False)
    fetch = await server.next(Fetch)
    assert fetch.message.artifact == 2
    fetch.image(2, BIG)
    assert (await task).bytes == BIG


async def test_images_come_with_the_watch(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.job("j").images())
    request = await server.next(Watch)
    assert request.message.deliver
    request.accept("succeeded", artifacts=[request.info(0, PNG), request.info(1, BIG)])
    request.succeed([PNG, BIG], announce=False)
    assert [image.bytes for image in await task] == [PNG, BIG]


async def test_an_unknown_job(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.job("nobody").status())
    (await server.next(Status)).error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobNotFound):
        await task


# --- events


async def test_events(server: ScriptedServer, client: AsyncClient) -> None:
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


async def test_a_cancelled_anext_loses_nothing(server: ScriptedServer, client: AsyncClient) -> None:
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


async def test_leaving_the_loop_early(server: ScriptedServer, client: AsyncClient) -> None:
    async with client.job("j").events() as events:
        waiting = spawn(anext(events))
        request = await server.next(Watch)
        request.accept("running")
        await waiting
    assert await request.peer.resets.get() == request.stream
    assert [event async for event in events] == []
    request.progress(2)
    assert await client.ping() >= 0


async def test_events_that_nobody_holds_end_by_themselves(server: ScriptedServer, client: AsyncClient) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    request = await server.next(Watch)
    request.accept("running")
    await waiting
    del events, waiting
    gc.collect()
    request.progress(1)
    assert await request.peer.resets.get() == request.stream


async def test_events_of_an_unknown_job(server: ScriptedServer, client: AsyncClient) -> None:
    events = client.job("j").events()
    waiting = spawn(anext(events))
    (await server.next(Watch)).error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobNotFound):
        await waiting
    assert [event async for event in events] == []


# --- timeouts and cancellation


async def test_every_call_takes_a_timeout(server: ScriptedServer, client: AsyncClient) -> None:
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


Step = Callable[[Request], None]
STAGES: list[tuple[str, list[Step]]] = [
    ("sent", []),
    ("accepted", [lambda r: r.accept()]),
    ("running", [lambda r: r.accept("running"), lambda r: r.progress(1)]),
    (
        "half an image",
        [
            lambda r: r.accept("running"),
            lambda r: r.change("succeeded", artifacts=[r.info(0, BIG)]),
            lambda r: r.announce_image(0, BIG),
            lambda r: r.data(BIG[:300_000]),
        ],
    ),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
async def test_a_cancelled_generate_leaves_job_and_connection_alone(
    server: ScriptedServer, client: AsyncClient, stage: tuple[str, list[Step]]
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


async def test_cancelled_before_it_was_sent(server: ScriptedServer, client: AsyncClient) -> None:
    task = asyncio.get_running_loop().create_task(client.generate("x"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.ping() >= 0
    assert server.requests.empty()


async def test_hundreds_of_cancelled_calls(server: ScriptedServer, client: AsyncClient) -> None:
    for _ in range(300):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.job("j").status()
    task = spawn(client.job("good").status())
    while (request := await server.next(Status)).job != "good":
        pass
    request.result("running")
    assert (await task).state == "running"


# --- the connection dies


@pytest.mark.parametrize("how", ["cut", "close"])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
async def test_every_waiting_call_hears_that_the_connection_died(
    server: ScriptedServer, client: AsyncClient, stage: tuple[str, list[Step]], how: str
) -> None:
    task = spawn(client.generate("x", job_id="j-1"))
    events = client.job("j-1").events()
    following = spawn(anext(events))
    request = await server.next(Submit)
    watch = await server.next(Watch)
    for step in stage[1]:
        step(request)
    await client.ping()
    getattr(request.peer, how)()
    with pytest.raises(errors.ConnectionLost) as caught:
        await task
    assert caught.value.job == "j-1"
    assert caught.value.processed == ("maybe" if stage[0] == "sent" else "yes")
    with pytest.raises(errors.ConnectionLost):
        await following
    assert client.closed
    with pytest.raises(errors.ConnectionLost) as caught:
        await client.generate("y")
    assert caught.value.processed == "no"
    assert watch.job == "j-1"
    async with pixwire.connect(server.url) as second:
        going_on = spawn(second.job("j-1").images())
        again = await server.next(Watch)
        again.accept("running")
        again.succeed([PNG])
        assert [image.bytes for image in await going_on] == [PNG]


async def test_cut_in_the_middle_of_a_frame(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    request.accept("running")
    request.change("succeeded", artifacts=[request.info(0, BIG)])
    request.announce_image(0, BIG)
    request.peer.transport.write(bytes.fromhex("c1008000210000000000") + b"\0\1" + BIG[:1000])
    await client.ping(timeout=None) if False else None
    request.peer.close()
    with pytest.raises(errors.ConnectionLost):
        await task


async def test_closing_the_client_ends_its_calls(server: ScriptedServer) -> None:
    client = await pixwire.connect(server.url)
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    await client.close()
    with pytest.raises(errors.ConnectionLost, match="the client was closed"):
        await task
    await request.peer.gone
    assert [goodbye.code for goodbye in server.goaways] == [ErrorCode.NO_ERROR]


async def test_a_server_that_drains(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    request.peer.goaway(ErrorCode.DRAINING, "restart", last_stream=request.stream, reconnect_after_ms=250)
    request.accept("running")
    await client.ping()
    with pytest.raises(errors.Draining) as caught:
        await client.generate("y")
    assert caught.value.retry_after_ms == 250
    request.succeed([PNG])
    assert (await task).bytes == PNG


@pytest.mark.asyncio(loop_factories=["asyncio"])  # it takes its time
async def test_a_server_that_falls_silent(tidy: None) -> None:
    settings = Settings(agent="s", idle_ms=1000, ping_timeout_ms=1000)
    async with ScriptedServer(settings) as server, pixwire.connect(server.url) as client:
        task = spawn(client.generate("x"))
        await server.next(Submit)
        server.peers[0].hold()
        with pytest.raises(errors.ConnectionLost, match="silent"):
            await task


async def test_a_server_that_talks_nonsense(server: ScriptedServer, client: AsyncClient) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    request.peer.transport.write(b"\0" * 64)
    with pytest.raises(errors.ConnectionLost, match="PXW/1"):
        await task
    await request.peer.gone
