"""Jobs that ended badly, run again as new ones."""

import asyncio
from typing import Any

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import AdminCommand, RequestError, Terms

from .conftest import PAINTER, attachment, painted, picture


def again(bench: Any, job: str, principal: str | None = None, by: str = "anonymous") -> Any:
    return bench.jobs.admin.perform(AdminCommand("requeue", job=job, principal=principal), by)


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


async def fail(bench: Any, job: str, prompt: str | None = None) -> None:
    """Let the job, which runs now or soon, fail."""
    follower = await bench.follow(job)
    await bench.farm.until(lambda: any(task.prompt == (prompt or job) for task in bench.engine.tasks.values()))
    bench.engine.fail(prompt or job, api.FailureKind.OUT_OF_MEMORY)
    await follower.until("failed")


@pytest.mark.req("PXW-ADM-007")
@pytest.mark.req("PXW-ADM-009")
async def test_a_failed_job_runs_again_as_another_with_the_same_seed(bench: Any) -> None:
    await bench.open(max_resident=1)
    terms = Terms("high", timeout_ms=60_000, tags=("web", "night"))
    await bench.jobs.submit("anonymous", "star", "txt2img", bench.tail("star", count=2, steps=7), terms=terms)
    old = await bench.status("star")
    await fail(bench, "star")
    new_id = (await again(bench, "star"))["job"]
    assert new_id != "star"
    new = await bench.status(new_id)
    assert (new.params, new.seed, new.kind) == (old.params, old.seed, old.kind)
    assert (new.priority, new.tags, new.attempt) == ("high", ("web", "night"), 1)
    assert new.deadline_ms == 60_000  # its time counts anew
    assert (await bench.status("star")).state == "failed"
    assert await again(bench, "star") == {"job": new_id}  # asked twice, made once
    follower = await bench.follow(new_id)
    await bench.farm.until(lambda: len(bench.engine.tasks) == 2)
    bench.engine.finish("star")
    await follower.until("succeeded")
    assert await bench.image(new_id, 1) == picture((old.seed or 0) + 1)
    assert await again(bench, "star") == {"job": new_id}
    await bench.jobs.close()
    await bench.open()
    assert await again(bench, "star") == {"job": new_id}  # also by the next server


async def test_each_failure_is_followed_by_one_more_job(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("star")
    await fail(bench, "star")
    first = (await again(bench, "star"))["job"]
    await fail(bench, first, "star")
    second = (await again(bench, "star"))["job"]
    assert second not in ("star", first)
    assert await again(bench, first) == {"job": second}
    assert (await bench.status(second)).state in ("queued", "running")


async def test_requests_at_the_same_moment_make_one_job(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star")
    await bench.cancel("star")
    answers = await asyncio.gather(*(again(bench, "star") for _ in range(5)))
    assert len({answer["job"] for answer in answers}) == 1
    page = await bench.jobs.list_jobs("anonymous", 10)
    assert len(page.jobs) == 2


@pytest.mark.req("PXW-ADM-008")
async def test_a_job_that_is_well_is_not_run_again(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("runs")
    await bench.submit("waits")
    await bench.farm.running("runs")
    for job, state in (("runs", "running"), ("waits", "queued")):
        error = await refused(again(bench, job))
        assert (error.code, error.details["field"], error.details["value"]) == (
            ErrorCode.INVALID_ARGUMENT,
            "job",
            state,
        )
        assert f"job '{job}' is {state}" in error.message
    follower = await bench.follow("runs")
    bench.engine.finish("runs")
    await follower.until("succeeded")
    assert (await refused(again(bench, "runs"))).details["value"] == "succeeded"


async def test_the_owner_stays_the_owner(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.jobs.submit("alice", "star", "txt2img", bench.tail("star"))
    await bench.jobs.cancel("alice", "star")
    assert (await refused(again(bench, "star", by="boss"))).code == ErrorCode.JOB_NOT_FOUND
    new_id = (await again(bench, "star", "alice", by="boss"))["job"]
    assert (await bench.jobs.status("alice", new_id)).state == "queued"
    with pytest.raises(RequestError):
        await bench.jobs.status("boss", new_id)


@pytest.mark.req("PXW-ADM-007")
async def test_what_was_sent_along_is_used_again_and_outlives_the_old_job(bench: Any) -> None:
    bench.farm.card = PAINTER
    await bench.open(max_resident=1, retain_s=60.0, sweep_s=1e6)
    data = painted()
    await bench.send("star", data)
    await fail(bench, "star")
    new_id = (await again(bench, "star"))["job"]
    bench.wall += 61_000
    await bench.jobs._sweeper.sweep()
    assert (await refused(bench.status("star"))).code == ErrorCode.JOB_EXPIRED
    assert bench.files == [data]
    follower = await bench.follow(new_id)
    await bench.farm.until(lambda: len(bench.engine.tasks) == 2)
    task = bench.engine.tasks[bench.engine.handle("star")]
    assert [(one.name, one.media_type) for one in task.inputs] == [("image", "image/png")]
    bench.engine.finish("star")
    await follower.until("succeeded")
    assert [one.sha256 for one in (await bench.status(new_id)).attachments] == [attachment("image", data).sha256]


async def test_a_job_whose_results_are_gone_cannot_be_run_again(bench: Any) -> None:
    await bench.open(max_resident=0, retain_s=60.0, sweep_s=1e6)
    await bench.submit("star")
    await bench.cancel("star")
    new_id = (await again(bench, "star"))["job"]
    await bench.cancel(new_id)
    bench.wall += 61_000
    await bench.jobs._sweeper.sweep()
    assert (await refused(again(bench, "star"))).code == ErrorCode.JOB_EXPIRED


async def test_a_successor_that_is_forgotten_has_a_successor_itself(bench: Any) -> None:
    """The new job may lose its results before the old one does."""
    await bench.open(max_resident=0, retain_s=60.0, sweep_s=1e6)
    await bench.submit("star")
    await bench.cancel("star")
    first = (await again(bench, "star"))["job"]
    await bench.cancel(first)
    bench.jobs._table.drop(("anonymous", first), 2)
    await bench.jobs._store.journal.expire([2], bench.wall)
    second = (await again(bench, "star"))["job"]
    assert second != first
    assert (await bench.status(second)).state == "queued"


async def test_what_refuses_a_submit_refuses_this_but_a_pause_does_not(bench: Any) -> None:
    await bench.open(max_resident=0, queue_limit=1)
    await bench.submit("star")
    await bench.cancel("star")
    await bench.jobs.admin.perform(AdminCommand("pause"), "boss")
    await again(bench, "star")
    await bench.jobs.admin.perform(AdminCommand("resume"), "boss")
    await bench.cancel((await again(bench, "star"))["job"])
    await bench.submit("other")
    assert (await refused(again(bench, "star"))).code == ErrorCode.QUEUE_FULL


async def test_a_model_that_is_gone_refuses(bench: Any) -> None:
    from dataclasses import replace

    await bench.open(max_resident=0)
    await bench.submit("star")
    await bench.cancel("star")
    bench.engine.report(api.ModelChanged(api.ModelInfo("other", api.ModelState.LOADED, replace(PAINTER, name="other"))))
    bench.engine.report(api.ModelRemoved("test/model"))
    error = await refused(again(bench, "star"))
    assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "model")


async def test_a_server_that_stops_runs_nothing_again(bench: Any) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star")
    await bench.cancel("star")
    await bench.jobs.drain(0)
    assert (await refused(again(bench, "star"))).code == ErrorCode.DRAINING


async def test_what_was_sent_along_is_not_left_behind_when_the_old_job_goes_meanwhile(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.farm.card = PAINTER
    await bench.open(max_resident=0, retain_s=60.0, sweep_s=1e6)
    await bench.send("star", painted())
    await bench.cancel("star")
    asked, verdict = asyncio.Event(), asyncio.get_running_loop().create_future()

    def refuse(request: Any, *, begun: bool) -> Any:
        asked.set()
        return verdict

    monkeypatch.setattr(bench.jobs._intake, "refuse", refuse)
    future = again(bench, "star")
    await asked.wait()
    bench.wall += 61_000
    await bench.jobs._sweeper.sweep()
    assert len(bench.files) == 1  # held for the new job
    verdict.set_exception(RequestError(ErrorCode.QUEUE_FULL, "no"))
    assert (await refused(future)).code == ErrorCode.QUEUE_FULL
    assert bench.files == []
