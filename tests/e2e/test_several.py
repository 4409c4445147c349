"""Two real servers behind one client: the work is shared, each job is made once, and one of them may be killed."""

import time
from collections.abc import Callable
from typing import Any

import pixwire

SECONDS = 30.0  # a bound for a test that hangs, never a measure

SIZE: dict[str, Any] = {"width": 64, "height": 64, "steps": 2}


def until(condition: Callable[[], bool]) -> None:
    """Waits for what a thread is about to notice."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def test_one_of_two_is_killed(new_module_server: Callable[..., Any]) -> None:
    servers = [new_module_server(fast=True).start() for _ in range(2)]
    with pixwire.Client([server.url for server in servers]) as client:
        names = {}
        for server in servers:
            with pixwire.Client(server.url) as alone:
                names[alone.server.server_id] = server
        assert len(names) == 2
        jobs = [client.submit("a red circle", seed=seed, **SIZE) for seed in range(6)]
        homes = {job.id: job._known_at.server_id for job in jobs if job._known_at is not None}
        assert sorted(homes.values()).count(min(homes.values())) == 3, "three each"
        images = {job.id: job.image(timeout=120) for job in jobs}
        assert sorted(image.seed for image in images.values() if image.seed is not None) == list(range(6))
        assert {summary.job for summary in client.jobs()} == set(homes), "the lists of both"

        gone, stays = sorted(names)
        names[gone].kill()
        until(lambda: sum(link.connected for link in client._link._links) == 1)  # type: ignore[union-attr]
        more = list(client.generate_many(["a green star"] * 4, timeout=120, **SIZE))
        assert all(outcome.error is None for outcome in more), [outcome.error for outcome in more]
        for job in jobs:
            if homes[job.id] == stays:
                assert client.job(job.id).image(timeout=120).bytes == images[job.id].bytes
        names[gone].start()  # under another port: the client cannot know; its jobs are still on its disk
        with pixwire.Client([names[stays].url, names[gone].url]) as again:
            for job in jobs:
                assert again.job(job.id).image(timeout=120).bytes == images[job.id].bytes
            assert len(list(again.jobs())) == len(jobs) + len(more), "nothing was made twice"
