"""A cancelled job takes no further step, and its place goes to the next in the queue: shown by step counts."""

from collections.abc import Callable
from typing import Any

import pytest

import pixwire


@pytest.fixture(scope="module")
def one_place(new_module_server: Callable[..., Any]) -> Any:
    """A server that runs one job at a time."""
    return new_module_server("--max-resident", "1").start()


async def wait_for_step(job: pixwire.AsyncJob, step: int) -> None:
    async for event in job.events():
        if isinstance(event, pixwire.Progress) and event.step >= step:
            return


async def test_cancelling_a_running_job_frees_its_place(one_place: Any) -> None:
    async with await pixwire.connect(one_place.url) as client:
        long = await client.submit("a red circle", seed=1, steps=200)
        short = await client.submit("a blue square", seed=2, steps=5)
        await wait_for_step(long, 3)
        assert (await short.status()).state == "queued"  # one place, and it is taken
        await long.cancel()
        with pytest.raises(pixwire.JobCancelled):
            await long.image(timeout=120)
        image = await short.image(timeout=120)
        cancelled: Any = await long.status()
        finished = await short.status()
    assert image.seed == 2
    assert cancelled.state == "cancelled"
    assert 3 <= cancelled.step < 200
    assert cancelled.engine["passes"] == cancelled.step  # not one forward pass more than the steps that were done
    assert (finished.step, finished.steps) == (5, 5)


async def test_cancelling_a_queued_job_runs_nothing(one_place: Any) -> None:
    async with await pixwire.connect(one_place.url) as client:
        running = await client.submit("a red circle", seed=1, steps=100)
        waiting = await client.submit("a blue square", seed=2, steps=5)
        await wait_for_step(running, 1)
        status = await waiting.cancel(reason="changed my mind")
        assert (status.state, status.step) == ("cancelled", 0)
        assert (await waiting.cancel()).state == "cancelled"  # cancelling twice is no error
        assert (await running.image(timeout=120)).seed == 1


async def test_cancelling_one_leaves_the_others_images_alone(server: Any) -> None:
    async with await pixwire.connect(server.url) as client:
        expected = await client.generate("a green star", seed=5, steps=40, timeout=120)
        victim = await client.submit("a red circle", seed=1, steps=200)
        await wait_for_step(victim, 1)
        kept = await client.submit("a green star", seed=5, steps=40)
        await wait_for_step(kept, 2)
        await victim.cancel()
        image = await kept.image(timeout=120)
    assert image.seed == expected.seed
    assert (image.width, image.height) == (expected.width, expected.height)
