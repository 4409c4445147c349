"""`generate`, against a server that the test scripts."""

import asyncio
from typing import Any

import pytest
from aio_support import BIG, PNG, spawn
from scripted_server import ScriptedServer
from shells import LOOPS, Connected

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Status, Submit
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.usefixtures("tidy")


async def test_generate(server: ScriptedServer, client: Connected) -> None:
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


async def test_only_what_is_listened_for_is_asked_for(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x"))
    request = await server.next(Submit)
    assert request.message.want == ()
    request.accept()
    request.succeed([PNG])
    await task


async def test_count_makes_a_list(server: ScriptedServer, client: Connected) -> None:
    for count in (1, 3):
        task = spawn(client.generate("x", count=count))
        request = await server.next(Submit)
        assert parse(request.message.tail).count == count
        request.accept()
        request.succeed([b"%d" % index * 1000 for index in range(count)])
        assert [image.bytes for image in await task] == [b"%d" % index * 1000 for index in range(count)]


async def test_wrong_arguments_are_found_before_anything_is_sent(server: ScriptedServer, client: Connected) -> None:
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


async def test_a_timeout_that_is_no_number(server: ScriptedServer, client: Connected) -> None:
    """It fails its call alone, before anything is sent."""
    other = spawn(client.job("j").status())
    status = await server.next(Status)
    for call in (client.generate("x", timeout="5"), client.job("j").status(timeout="5")):
        with pytest.raises(TypeError):
            await spawn(call)
    status.result("running")
    assert (await other).state == "running"
    assert server.requests.empty()


async def test_a_failed_job(server: ScriptedServer, client: Connected) -> None:
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


async def test_a_refused_job(server: ScriptedServer, client: Connected) -> None:
    task = spawn(client.generate("x"))
    (await server.next(Submit)).error(ErrorCode.QUEUE_FULL, "1000 jobs wait", retry_after_ms=500)
    with pytest.raises(errors.QueueFull) as caught:
        await task
    assert caught.value.retry_after_ms == 500


async def test_a_mistake_in_a_callback_comes_out_of_the_call(server: ScriptedServer, client: Connected) -> None:
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


@LOOPS
@pytest.mark.parametrize(
    ("raised", "heard"), [(StopIteration(1), RuntimeError), (asyncio.CancelledError(), asyncio.CancelledError)]
)
async def test_what_no_future_holds(
    server: ScriptedServer, client: Connected, raised: BaseException, heard: type[BaseException]
) -> None:
    """It is the caller's, too, and must not end the connection that others use."""

    def broken(event: Any) -> None:
        raise raised

    other = spawn(client.job("j").status())
    status = await server.next(Status)
    task = spawn(client.generate("x", on_state=broken))
    (await server.next(Submit)).accept()
    with pytest.raises(heard):
        await task
    status.result("running")
    assert (await other).state == "running"
    assert len(server.peers) == 1


async def test_many_on_one_connection_each_get_their_own(client: Connected, server: ScriptedServer) -> None:
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
