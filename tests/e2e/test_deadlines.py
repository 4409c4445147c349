"""Deadlines, times to live and priorities of real jobs on a real server: shown by states, steps and order."""

from collections.abc import Callable
from typing import Any

import pixwire


async def running(job: pixwire.AsyncJob) -> None:
    async for event in job.events():
        if isinstance(event, pixwire.Progress):
            return


async def test_time_runs_out_in_the_queue_and_while_running(new_server: Callable[..., Any]) -> None:
    server = new_server("--max-resident", "1").start()
    async with await pixwire.connect(server.url) as client:
        long = await client.submit("a red circle", seed=1, steps=200, run_timeout=600.0)
        await running(long)
        waiting = await client.submit("a blue square", seed=2, steps=5, queue_ttl=0.2)
        low = await client.submit("a green star", seed=3, steps=5, priority="low", tags=["later"])
        high = await client.submit("a green star", seed=4, steps=5, priority="high")
        expired: Any = await waiting.wait()
        assert (expired.state, expired.step, expired.error.name) == ("expired", 0, "DEADLINE_EXCEEDED")
        assert "queue_ttl_ms = 200" in expired.error.message
        told: tuple[Any, ...] = await high.status(), await low.status()
        assert [status.priority for status in told] == ["high", "low"]
        assert told[0].queue_position < told[1].queue_position
        assert all(status.eta_ms >= 0 for status in told)
        await long.cancel()
        first: Any = await high.wait()
        second: Any = await low.wait()
        assert (first.state, second.state) == ("succeeded", "succeeded")
        assert first.timings["queue_ms"] < second.timings["queue_ms"], "it came later and started earlier"
        assert [one.job async for one in client.jobs(tag="later")] == [low.id]

        short = await client.submit("a red circle", seed=5, steps=200, run_timeout=0.05)
        expired = await short.wait()
        assert (expired.state, expired.attempt) == ("expired", 1)
        assert 0 <= expired.step < 200
        assert "running: run_timeout_ms = 50 is over" in expired.error.message
        assert (await client.generate("a green star", seed=6, steps=5, timeout=120)).seed == 6, "its place is free"


async def test_deadlines_outlive_the_server(new_server: Callable[..., Any]) -> None:
    server = new_server("--max-resident", "0", fast=True).start()
    async with await pixwire.connect(server.url) as client:
        soon = await client.submit("a red circle", seed=1, deadline=1.0)
        later = await client.submit("a blue square", seed=2, deadline=3600.0, priority="high", tags=["kept"])
        before: Any = await later.status()
    server.kill()
    server.start()
    async with await pixwire.connect(server.url) as client:
        expired: Any = await client.job(soon.id).wait()
        assert (expired.state, expired.error.name) == ("expired", "DEADLINE_EXCEEDED")
        status: Any = await client.job(later.id).status()
    assert (status.state, status.priority, status.tags) == ("queued", "high", ("kept",))
    assert 0 < status.deadline_ms < before.deadline_ms <= 3_600_000
