"""Images that go to the server, over real sockets."""

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aio_support import PNG, SECONDS, spawn
from pictures import png
from PIL import Image as Pillow
from scripted_server import ScriptedServer
from shells import LOOPS, Connected

import pixwire
from pixwire import errors
from pixwire.sources import IN_MEMORY
from pixwire_protocol.messages import Status, Submit
from pixwire_protocol.params import parse
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

IMAGE, MASK = png(filler=300_000), png((4, 4))
SETTINGS = Settings(agent="s", max_upload=1 << 25, stream_window=1 << 16, connection_window=1 << 18)

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture
async def server(tidy: None) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(SETTINGS) as running:
        yield running


async def test_the_kind_follows_from_the_images(server: ScriptedServer, client: Connected) -> None:
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("txt2img", {"control": MASK, "control_scale": 0.5}),
        ("img2img", {"image": IMAGE, "strength": 0.6}),
        ("inpaint", {"image": IMAGE, "mask": MASK, "strength": 1.0, "seed": 7}),
        ("inpaint", {"image": IMAGE, "mask": MASK, "control": MASK}),
    ]
    for kind, arguments in kinds:
        task = spawn(client.generate("a red hat", **arguments))
        submit = (await server.next(Submit)).message
        request = await server.uploads.get()
        names = [attachment.name for attachment in submit.attachments]
        assert submit.kind == kind
        assert names == [name for name in ("image", "mask", "control") if name in arguments]
        assert request.split() == [arguments[name] for name in names]
        params = parse(submit.tail, kind, submit.attachments)
        assert params.strength == arguments.get("strength")
        request.accept()
        request.succeed([PNG])
        assert (await task).bytes == PNG


async def test_from_a_file_and_from_pillow(server: ScriptedServer, client: Connected, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(filler=IN_MEMORY))
    told: list[tuple[int, int]] = []
    task = spawn(
        client.submit("x", image=path, mask=Pillow.new("L", (8, 8)), on_upload=lambda *args: told.append(args))
    )
    await server.next(Submit)
    request = await server.uploads.get()
    image, mask = request.split()
    assert image == path.read_bytes()
    assert Pillow.open(io.BytesIO(mask)).size == (8, 8)
    request.result("queued")
    assert (await task).last_status.state == "queued"
    assert told[-1] == (len(image) + len(mask), len(image) + len(mask))
    assert told == sorted(told)


async def test_an_image_that_was_made_is_painted_over(server: ScriptedServer, client: Connected) -> None:
    made = pixwire.Image(memoryview(MASK), "image/png", 4, 4)
    task = spawn(client.submit("x", image=made))
    await server.next(Submit)
    request = await server.uploads.get()
    assert request.split() == [MASK]
    request.result("queued")
    await task


async def test_an_early_answer(server: ScriptedServer, client: Connected) -> None:
    server.takes_uploads = False
    task = spawn(client.generate("x", image=IMAGE))
    request = await server.next(Submit)
    request.accept("running", duplicate=True)
    request.succeed([PNG])
    assert (await task).bytes == PNG
    refused = spawn(client.submit("x", image=IMAGE))
    (await server.next(Submit)).error(ErrorCode.QUOTA_EXCEEDED, "too much", retry_after_ms=100)
    with pytest.raises(errors.QuotaExceeded):
        await refused
    assert await client.ping() >= 0


async def test_wrong_arguments_are_found_before_a_file_is_opened(server: ScriptedServer, client: Connected) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("mask", {"mask": MASK}),
        ("strength", {"strength": 0.5}),
        ("strength", {"image": "/nowhere.png", "strength": 1.5}),
        ("control_scale", {"image": "/nowhere.png", "control_scale": 1.0}),
        ("steps", {"image": "/nowhere.png", "steps": 0}),
        ("image", {"image": "/nowhere.png"}),
        ("image", {"image": b"no image"}),
        ("traceparent", {"image": "/nowhere.png", "traceparent": "00-abc"}),
        ("job id", {"image": "/nowhere.png", "job_id": "a b"}),
    ]
    for field, arguments in wrong:
        with pytest.raises(errors.InvalidArgument) as caught:
            await client.generate("x", **arguments)
        assert caught.value.field == field, str(caught.value)
    assert server.requests.empty()


@LOOPS
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("stage", ["at once", "reading", "under way", "sent"])
async def test_a_cancelled_upload_leaves_nothing(
    server: ScriptedServer, client: Connected, tmp_path: Path, stage: str, size: str
) -> None:
    server.takes_uploads = stage == "sent"
    path = tmp_path / "a.png"
    path.write_bytes(png(filler=IN_MEMORY if size == "large" else 300_000))
    open_files = len(os.listdir("/proc/self/fd"))
    task = asyncio.get_running_loop().create_task(client.generate("x", image=path))
    request = None
    if stage == "reading":
        await asyncio.sleep(0)  # it has begun, and waits for the thread that reads
    elif stage != "at once":
        request = await server.next(Submit)
        if stage == "sent":
            await server.uploads.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if request is not None:
        assert await request.peer.resets.get() == request.stream
    other = spawn(client.job("j").status())
    found = await server.requests.get()
    if stage == "reading" and isinstance(found.message, Submit):  # a disk so quick that the job had left already
        assert await found.peer.resets.get() == found.stream
        found = await server.requests.get()
    assert isinstance(found.message, Status)
    found.result("running")
    assert (await other).state == "running"
    for thread in threading.enumerate():
        if thread.name == "pixwire reading":
            await asyncio.to_thread(thread.join)
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert server.requests.empty()


async def test_the_time_to_read_counts(client: Connected, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody ever writes: reading it does not end
    with pytest.raises(errors.RequestTimeout, match="reading the images"):
        await client.generate("x", image=pipe, timeout=0.05)
    with pipe.open("wb"):  # lets the thread go
        pass


async def test_a_broken_callback_comes_out_of_the_call(server: ScriptedServer, client: Connected) -> None:
    def broken(sent: int, total: int) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        await client.generate("x", image=IMAGE, on_upload=broken, timeout=SECONDS)
    request = await server.next(Submit)
    assert await request.peer.resets.get() == request.stream


async def test_trace(server: ScriptedServer, client: Connected) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    task = spawn(client.submit("x", traceparent=parent, tracestate="vendor=1"))
    request = await server.next(Submit)
    assert (request.message.traceparent, request.message.tracestate) == (parent, "vendor=1")
    request.result("queued", traceparent=parent, retain_ms=1000)
    status = (await task).last_status
    assert (status.traceparent, status.retain_ms) == (parent, 1000)
