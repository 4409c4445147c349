"""Cancelling: at once in the queue, by the engine while running, harmless afterwards; the truth is how the job
ended.
"""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pixwire_server.engine import api
from pixwire_server.jobs import RequestError


def journalled(bench: Any, job: str) -> tuple[str, str | None]:
    """State and cancel reason on disk."""
    path = bench.data_dir / "journal.sqlite3"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as other:
        found: tuple[str, str | None] = other.execute(
            "SELECT state, cancel_reason FROM job WHERE job = ?", (job,)
        ).fetchone()
    return found


@pytest.mark.req("PXW-REQ-019")
async def test_a_queued_job_is_cancelled_at_once_and_on_disk(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("a")
    await bench.submit("b")
    follower = await bench.follow("a")
    status = await bench.cancel("a", "changed my mind")
    assert (status.state, status.error.name, status.error.message) == ("cancelled", "CANCELLED", "changed my mind")
    assert journalled(bench, "a")[0] == "cancelled"
    assert follower.states == ["cancelled"]
    assert (jobs.queued, (await bench.status("b")).queue_position) == (1, 1)
    assert bench.engine.tasks == {}
    assert await bench.cancel("a", "again") == status


@pytest.mark.req("PXW-REQ-020")
async def test_a_running_job_is_cancelled_by_the_engine(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.submit("b")
    follower = await bench.follow("a")
    await bench.farm.running("a")
    status = await bench.cancel("a", "too slow")
    assert status.state == "running"
    assert journalled(bench, "a") == ("running", "too slow")
    assert bench.engine.commands[-1] == api.Cancel(1)
    assert (await bench.cancel("a", "another reason")).seq == status.seq  # a repeat is no event
    bench.engine.cancel("a", 7)
    ended = await follower.until("cancelled")
    assert (ended.step, ended.error.message, ended.engine["passes"]) == (7, "too slow", 3)
    assert ended.timings["denoise_ms"] == 2.0
    await bench.farm.running("a", "b")
    assert (await bench.cancel("a")).state == "cancelled"


async def test_an_image_that_came_first_wins(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    asked = bench.cancel("star")
    bench.engine.finish("star")
    assert (await asked).state in ("running", "succeeded")
    assert (await follower.until("succeeded")).artifacts
    assert follower.states == ["running", "succeeded"]


async def test_a_cancel_while_the_image_is_stored_waits_for_the_truth(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    sent = list(bench.engine.commands)
    assert (await bench.cancel("star")).state == "succeeded"
    assert bench.engine.commands == sent


async def test_a_failure_that_came_first_wins(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    await bench.cancel("star")
    bench.engine.fail("star", api.FailureKind.OUT_OF_MEMORY)
    assert (await follower.until("failed")).error.name == "OUT_OF_MEMORY"


async def test_a_cancel_before_the_commit_of_the_submit(bench: Any) -> None:
    await bench.open(max_resident=0)
    submitted, cancelled, again = bench.submit("star"), bench.cancel("star"), bench.cancel("star")
    assert (await cancelled).state == "cancelled"
    assert (await again).state == "cancelled"
    assert (await submitted).status.job == "star"
    assert journalled(bench, "star")[0] == "cancelled"


async def test_two_cancels_at_once_are_one(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star")
    follower = await bench.follow("star")
    first, second = await asyncio.gather(bench.cancel("star", "one"), bench.cancel("star", "two"))
    assert first == second
    assert first.error.message == "one"
    assert follower.states == ["cancelled"]


async def test_giving_up_one_answer_leaves_the_other(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star")
    given_up, kept = bench.cancel("star"), bench.cancel("star")
    given_up.cancel()
    assert (await kept).state == "cancelled"


async def test_the_engines_death_ends_a_job_that_was_to_be_cancelled(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    await bench.cancel("star", "enough")
    bench.engine.exit(-11)
    status = await follower.until("cancelled")
    assert (status.attempt, status.error.message) == (1, "enough")


async def test_a_cancel_that_cannot_be_kept_is_refused_and_carried_out_later(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("star")
    follower = await bench.follow("star")
    connection = jobs._store.journal._writer._connection
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(RequestError, match="store failed"):
        await bench.cancel("star", "first")
    with pytest.raises(RequestError, match="store failed"):
        await bench.cancel("star", "second")
    assert follower.states == []
    connection.execute("PRAGMA query_only = OFF")
    assert (await follower.until("cancelled")).error.message == "first"
