"""An accepted job survives the death of server and engine; its image is the one an undisturbed server makes."""

import asyncio
import io
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import pixwire

PROMPTS = [
    f"a {color} {shape} on a white background"
    for color in ("red", "green", "blue", "yellow", "purple")
    for shape in ("circle", "star")
]


JOBS = 6


def request(i: int) -> dict[str, Any]:
    return {"prompt": PROMPTS[i], "seed": 7 + i, "steps": 8 + 2 * i}


async def undisturbed(server: Any) -> list[bytes]:
    async with await pixwire.connect(server.url) as client:
        return [(await client.generate(**request(i), timeout=300)).bytes for i in range(JOBS)]


async def first_progress(job: pixwire.AsyncJob) -> None:
    async for event in job.events():
        if isinstance(event, pixwire.Progress) and event.step >= 1:
            return


MODES = {"fast": (), "exact": ("--exact", "--threads", "2", "--max-rows", "8")}
# Of 255. After a restart other requests share the passes: in fast mode that changes the last bits, in exact mode none.
MAX_PIXEL_DIFFERENCE = {"fast": 2, "exact": 0}


def pixels(image: bytes) -> npt.NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.int16)


at_length = pytest.mark.skipif(
    not os.environ.get("PIXWIRE_CRASH_REAL"), reason="takes minutes; PIXWIRE_CRASH_REAL=1, or `make crash`, runs it"
)
"""The fast engine goes through the same, and more stages, in test_engines_fail.py and test_stages.py."""


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.parametrize("mode", ["fast", pytest.param("exact", marks=at_length)])
async def test_kill_9_of_the_server_loses_no_accepted_job(new_server: Callable[..., Any], mode: str) -> None:
    # Exact mode: a restart changes who shares a pass with whom, and the images shall be equal to the last bit.
    reference = new_server(*MODES[mode]).start()
    expected = await undisturbed(reference)
    reference.stop()
    victim = new_server("--max-resident", "4", *MODES[mode]).start()
    async with await pixwire.connect(victim.url) as client:
        jobs = [await client.submit(**request(i)) for i in range(JOBS)]
        await first_progress(jobs[0])
        victim.kill()
    victim.start()
    async with await pixwire.connect(victim.url) as client:
        images = [await client.job(job.id).image(timeout=300) for job in jobs]
        statuses = [await client.job(job.id).status() for job in jobs]
    for image, undisturbed_image in zip(images, expected, strict=True):
        difference = np.abs(pixels(image.bytes) - pixels(undisturbed_image)).max()
        assert difference <= MAX_PIXEL_DIFFERENCE[mode]
        assert mode == "fast" or image.bytes == undisturbed_image
    assert statuses[0].attempt == 2  # it was running when the server died
    assert all(status.state == "succeeded" for status in statuses)


@at_length
async def test_kill_9_of_the_engine_is_invisible_to_the_client(new_server: Callable[..., Any]) -> None:
    server = new_server().start()
    async with await pixwire.connect(server.url) as client:
        expected = await client.generate("a red circle", seed=3, steps=150, timeout=300)
        job = await client.submit("a red circle", seed=3, steps=150)
        await first_progress(job)
        for pid in server.engine_pids():
            os.kill(pid, signal.SIGKILL)
        image = await job.image(timeout=300)
        status = await job.status()
    assert image.bytes == expected.bytes
    assert status.attempt == 2
    assert server.stop() == 0


@at_length
async def test_a_job_that_kills_the_engine_every_time_fails_and_the_server_goes_on(
    new_server: Callable[..., Any],
) -> None:
    server = new_server().start()
    async with await pixwire.connect(server.url) as client:
        job = await client.submit("a red circle", seed=3, steps=200)
        attempts = set()
        async for event in job.events():
            if isinstance(event, pixwire.Progress) and event.attempt not in attempts:
                attempts.add(event.attempt)
                for pid in server.engine_pids():
                    os.kill(pid, signal.SIGKILL)
        status = await job.status()
        assert (status.state, status.attempt, status.error.name) == ("failed", 3, "WORKER_LOST")
        assert (await client.generate("a blue square", seed=1, steps=4, timeout=300)).width > 0


@at_length
async def test_sigterm_finishes_or_keeps_every_job(new_server: Callable[..., Any]) -> None:
    server = new_server("--max-resident", "2", "--drain-grace-s", "0").start()
    async with await pixwire.connect(server.url) as client:
        jobs = [await client.submit(**request(i) | {"steps": 100}) for i in range(6)]
        await first_progress(jobs[0])
        code = await asyncio.to_thread(server.stop)
    assert code == 0, server.log()
    server.start()
    async with await pixwire.connect(server.url) as client:
        for i, job in enumerate(jobs):
            assert (await client.job(job.id).image(timeout=300)).seed == 7 + i
