"""Shutting down: what runs may finish, what does not goes back to the queue, and nothing is lost."""

import asyncio
import errno
import os
from typing import Any

import pytest

from pixwire_server.engine import api
from pixwire_server.store import StoreFullError


@pytest.mark.req("PXW-DRN-006")
async def test_drain_waits_for_what_runs_and_starts_nothing(bench: Any) -> None:
    jobs = await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.submit("b")
    follower = await bench.follow("a")
    await bench.farm.running("a")
    draining = asyncio.ensure_future(jobs.drain(1e6))
    await asyncio.sleep(0)
    bench.engine.finish("a")
    await draining
    assert follower.states[-1] == "succeeded"
    assert list(bench.engine.tasks) == [1]
    assert (await bench.status("b")).state == "queued"
    await jobs.drain(1e6)  # nothing is left to do


@pytest.mark.req("PXW-DRN-006")
async def test_what_does_not_finish_in_time_goes_back_to_the_queue(bench: Any) -> None:
    jobs = await bench.open(max_resident=2)
    for name in "abc":
        await bench.submit(name)
    follower = await bench.follow("a")
    await bench.farm.running("a", "b")
    await bench.cancel("b", "enough")
    await jobs.drain(0)
    status = await follower.until("queued")
    assert (status.attempt, status.queue_position) == (1, 1)
    assert [c for c in bench.engine.commands if isinstance(c, api.Cancel)][-2:] == [api.Cancel(1), api.Cancel(2)]
    assert (await bench.status("b")).state == "cancelled"
    bench.engine.finish("a")  # too late: the run was given up
    assert (await bench.status("a")).state == "queued"


async def test_an_image_that_is_being_stored_is_waited_for(bench: Any) -> None:
    jobs = await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    await jobs.drain(0)
    assert (await bench.status("star")).state == "succeeded"


async def test_a_full_disk_does_not_hold_up_the_end(bench: Any) -> None:
    jobs = await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")

    def full(images: Any) -> Any:
        failing = asyncio.get_running_loop().create_future()
        failing.set_exception(StoreFullError(os.strerror(errno.ENOSPC)))
        return failing

    jobs._store.artifacts.put = full
    bench.engine.finish("star")
    await jobs.close()
    jobs = await bench.open()
    await bench.farm.running("star")
    assert (await bench.status("star")).attempt == 2


async def test_close_ends_everything_and_may_be_repeated(bench: Any) -> None:
    jobs = await bench.open()
    before = asyncio.all_tasks()
    await jobs.close()
    await jobs.close()
    assert bench.engine.ended
    assert asyncio.all_tasks() <= before
    again = await bench.open()
    assert again is not jobs


async def test_an_idle_server_drains_at_once(bench: Any) -> None:
    jobs = await bench.open()
    await bench.submit("star", "star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    await jobs.drain(0)
    assert (jobs.running, jobs.queued) == (0, 0)
