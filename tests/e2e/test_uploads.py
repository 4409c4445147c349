"""Pictures go up and come back changed: image-to-image and inpaint through every layer, on the built-in model."""

import asyncio
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

import pixwire

SIZE = 64
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def red_circle() -> Image.Image:
    """What the model would be given by a user: a red circle on white, drawn by hand."""
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill=(222, 32, 40))
    return picture


def right_half() -> Image.Image:
    """A mask: the right half is to be painted anew."""
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (SIZE // 2, 0, SIZE, SIZE))
    return mask


def difference(a: Image.Image, b: Image.Image, box: tuple[int, int, int, int]) -> float:
    """Mean difference of two pictures inside a box, 0 to 255."""
    left, right = (picture.convert("RGB").crop(box).tobytes() for picture in (a, b))
    return sum(abs(x - y) for x, y in zip(left, right, strict=True)) / len(left)


def decoded(image: pixwire.Image) -> Image.Image:
    return Image.open(io.BytesIO(image.bytes))


async def test_an_image_is_painted_over_and_the_strength_says_how_much(server: Any) -> None:
    source, whole = red_circle(), (0, 0, SIZE, SIZE)
    async with pixwire.connect(server.url) as client:
        light, heavy = await asyncio.gather(
            *(
                client.generate("a blue square on a yellow background", image=png(source), strength=strength, seed=3)
                for strength in (0.1, 1.0)
            )
        )
    assert (light.width, light.height) == (SIZE, SIZE)
    assert difference(source, decoded(light), whole) < 60 < difference(source, decoded(heavy), whole)


async def test_inpaint_changes_what_the_mask_shows_and_keeps_the_rest(server: Any) -> None:
    source = red_circle()
    async with pixwire.connect(server.url) as client:
        made = decoded(
            await client.generate(
                "a green square on a black background", image=png(source), mask=png(right_half()), strength=1.0, seed=5
            )
        )
    kept = difference(source, made, (0, 0, SIZE // 2 - 8, SIZE))
    painted = difference(source, made, (SIZE // 2 + 8, 0, SIZE, SIZE))
    assert kept < 20 < 60 < painted, (kept, painted)


async def test_status_tells_what_was_sent_along_and_the_trace_is_in_every_event(server: Any) -> None:
    data = png(red_circle())
    async with pixwire.connect(server.url) as client:
        job = await client.submit("a red circle", image=data, strength=0.5, traceparent=TRACE)
        states = [event.status async for event in job.events() if isinstance(event, pixwire.StateChange)]
        assert states
        assert {status.traceparent for status in states} == {TRACE}
        status = await job.status()
    (attachment,) = status.attachments
    assert (attachment.name, attachment.size) == ("image", len(data))
    assert attachment.sha256 == hashlib.sha256(data).hexdigest()
    assert status.kind == "img2img"


async def test_the_same_picture_is_sent_once_for_many_jobs(server: Any) -> None:
    """The server has it from the first job of this principal: the second is answered before all its bytes went up."""
    data = png(Image.effect_noise((512, 512), 80).convert("RGB"))
    sent: list[tuple[int, int]] = []
    async with pixwire.connect(server.url) as client:
        await client.submit("a red circle", image=data, width=SIZE, height=SIZE, strength=0.2)
        second = await client.submit(
            "a blue circle",
            image=data,
            width=SIZE,
            height=SIZE,
            strength=0.2,
            on_upload=lambda done, size: sent.append((done, size)),
        )
        assert (await second.status()).attachments[0].size == len(data)
    assert not sent or sent[-1][0] <= len(data)


async def test_jobs_with_pictures_survive_a_killed_server(new_server: Callable[..., Any]) -> None:
    victim = new_server("--max-resident", "0", fast=True)  # it makes no image
    data = png(red_circle())
    how: dict[str, Any] = {"strength": 0.6, "steps": 12, "guidance_scale": 4.0}
    async with pixwire.connect(victim.start().url) as client:
        jobs = [
            await client.submit("a green star", image=data, **how, seed=seed, job_id=f"picture-{seed}")
            for seed in range(3)
        ]
        victim.kill()
    heir = new_server(data_dir=victim.data_dir).start()
    async with pixwire.connect(heir.url) as client:
        images = [await client.job(job.id).image(timeout=120) for job in jobs]
        again = await client.generate("a green star", image=data, **how, seed=1)
    assert len({image.bytes for image in images}) == len(images)
    assert difference(decoded(images[1]), decoded(again), (0, 0, SIZE, SIZE)) <= 2
    assert heir.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"image": b"GIF89a not a picture we take"}, "image"),
        ({"image": b"\x89PNG\r\n\x1a\n" + bytes(100)}, "attachments[0].media_type"),
        ({"mask": png(right_half())}, "mask"),
        ({"strength": 0.5}, "strength"),
        ({"image": png(red_circle()), "strength": 1.5}, "strength"),
        ({"image": png(red_circle()), "control": png(red_circle())}, "attachments"),
    ],
)
async def test_what_cannot_be_painted_over_is_refused_by_name(server: Any, arguments: Any, field: str) -> None:
    async with pixwire.connect(server.url) as client:
        with pytest.raises(pixwire.InvalidArgument) as caught:
            await client.generate("a red circle", **arguments)
    assert caught.value.field == field, caught.value
