"""What operators may do to jobs: pause, cancel anybody's, run failed ones again; and what they see."""

import asyncio
import logging
from typing import Any

import pytest

from pixwire_protocol.overview import FailedOverview, Overview, PrincipalOverview, QueueOverview
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import AdminCommand, RequestError, Terms

from .conftest import PAINTER, Follower, attachment, painted


def ask(bench: Any, action: str, by: str = "boss", **fields: Any) -> Any:
    return bench.jobs.admin.perform(AdminCommand(action, **fields), by)


def submit(bench: Any, principal: str, job: str, terms: Terms | None = None, **params: Any) -> Any:
    return bench.jobs.submit(principal, job, "txt2img", bench.tail(job, **params), terms=terms)


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


async def state(bench: Any, principal: str, job: str) -> str:
    return str((await bench.jobs.status(principal, job)).state)


async def reached(bench: Any, principal: str, job: str, wanted: str) -> None:
    """Wait until the job is in this state, on disk."""
    follower = Follower()
    follower.watch = await bench.jobs.watch(principal, job, follower)
    if follower.watch.snapshot.state != wanted:
        await follower.until(wanted)


# ---------------------------------------------------------------------- pause


@pytest.mark.req("PXW-ADM-004")
@pytest.mark.req("PXW-ADM-005")
async def test_a_pause_refuses_new_jobs_only(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("old")
    await bench.submit("waits")
    assert await ask(bench, "pause", reason="new drivers") == {"paused": True}
    error = await refused(bench.submit("new"))
    assert (error.code, error.retry_after_ms) == (ErrorCode.PAUSED, 5000)
    assert error.message.startswith("the operator takes no new jobs for now: new drivers; submit the job again later")
    assert (await bench.submit("old")).duplicate
    assert (await bench.cancel("waits")).state == "cancelled"
    follower = await bench.follow("old")
    await bench.farm.running("old")
    bench.engine.finish("old")
    await follower.until("succeeded")
    assert await bench.image("old")
    assert (await bench.submit("old")).duplicate
    assert await ask(bench, "resume") == {"paused": False}
    assert not (await bench.submit("new")).duplicate


async def test_a_pause_without_a_reason_and_its_end_with_a_restart(bench: Any) -> None:
    await bench.open()
    await ask(bench, "pause")
    await ask(bench, "pause")
    error = await refused(bench.submit("new"))
    assert "for now; submit" in error.message
    await bench.jobs.close()
    await bench.open()
    assert not (await bench.submit("new")).duplicate


async def test_an_upload_that_was_let_in_before_a_pause_is_finished(bench: Any) -> None:
    bench.farm.card = PAINTER
    await bench.open()
    data = painted()
    upload = await bench.begin("one", attachment("image", data))
    await ask(bench, "pause")
    assert (await refused(bench.begin("two", attachment("image", data)))).code == ErrorCode.PAUSED
    upload.write(data)
    assert not (await upload.finish()).duplicate


# ---------------------------------------------------------------------- cancel


@pytest.mark.req("PXW-ADM-006")
async def test_a_job_of_anybody_is_cancelled_and_asking_again_changes_nothing(bench: Any) -> None:
    await bench.open(max_resident=1)
    await submit(bench, "alice", "runs")
    await submit(bench, "bob", "waits")
    await bench.farm.running("runs")
    assert await ask(bench, "cancel", job="waits", principal="bob", reason="spam") == {"cancelled": 1}
    ended = await bench.jobs.status("bob", "waits")
    assert (ended.state, ended.error.name) == ("cancelled", "CANCELLED")
    assert ended.error.message == "cancelled by an operator: spam"
    assert await ask(bench, "cancel", job="runs", principal="alice") == {"cancelled": 1}
    assert await ask(bench, "cancel", job="runs", principal="alice") == {"cancelled": 0}
    bench.engine.cancel("runs", 3)
    assert await ask(bench, "cancel", job="runs", principal="alice") == {"cancelled": 0}
    await reached(bench, "alice", "runs", "cancelled")
    for job, whose in (("runs", "alice"), ("waits", "bob")):
        assert await ask(bench, "cancel", job=job, principal=whose) == {"cancelled": 0}
        assert await state(bench, whose, job) == "cancelled"
    assert (await bench.jobs.status("alice", "runs")).error.message == "cancelled by an operator"


async def test_without_a_principal_the_caller_is_meant(bench: Any) -> None:
    await bench.open(max_resident=0)
    await submit(bench, "alice", "j")
    await submit(bench, "boss", "j")
    assert await ask(bench, "cancel", job="j") == {"cancelled": 1}
    assert [await state(bench, whose, "j") for whose in ("alice", "boss")] == ["queued", "cancelled"]


async def test_all_of_a_principal_are_cancelled_and_nobody_elses(bench: Any) -> None:
    """Those that run, those that wait, and one whose acceptance is being written at this moment."""
    await bench.open(max_resident=1)
    await submit(bench, "alice", "runs")
    await bench.farm.running("runs")
    await asyncio.gather(*(submit(bench, "alice", f"a{number}") for number in range(500)))
    await submit(bench, "bob", "b")
    late = submit(bench, "alice", "late")
    assert await ask(bench, "cancel", principal="alice", reason="asked by mail") == {"cancelled": 502}
    assert not (await late).duplicate
    assert await state(bench, "alice", "late") == "cancelled"
    assert await state(bench, "bob", "b") == "queued"
    bench.engine.cancel("runs", 1)
    await bench.farm.running("runs", "b")
    assert await ask(bench, "cancel", principal="alice") == {"cancelled": 0}
    assert await ask(bench, "cancel", principal="nobody") == {"cancelled": 0}


@pytest.mark.req("PXW-ADM-003")
@pytest.mark.parametrize(
    ("action", "fields", "field"),
    [
        ("cancel", {}, "job"),
        ("requeue", {}, "job"),
        ("load", {}, "model"),
        ("unload", {}, "model"),
        ("add_model", {"path": "/x"}, "model"),
        ("add_model", {"model": "x"}, "path"),
        ("remove_model", {}, "model"),
    ],
)
async def test_what_an_action_needs_is_said(bench: Any, action: str, fields: dict[str, str], field: str) -> None:
    await bench.open()
    error = await refused(ask(bench, action, **fields))
    assert (error.code, error.details["field"]) == (ErrorCode.INVALID_ARGUMENT, field)
    assert action in error.message


async def test_unknown_jobs_and_actions(bench: Any) -> None:
    await bench.open()
    for action in ("cancel", "requeue"):
        assert (await refused(ask(bench, action, job="none"))).code == ErrorCode.JOB_NOT_FOUND
    with pytest.raises(RequestError) as caught:
        ask(bench, "explode")
    assert caught.value.details["allowed"][0] == "overview"


@pytest.mark.req("PXW-ADM-002")
async def test_a_drain_is_the_programs_business(bench: Any) -> None:
    await bench.open()
    assert (await refused(ask(bench, "drain"))).code == ErrorCode.UNSUPPORTED
    asked: list[bool] = []
    bench.jobs.admin.on_drain = lambda: asked.append(True)
    assert await ask(bench, "drain") == {"draining": True}
    await asyncio.sleep(0)
    assert asked == [True]


async def test_a_caller_that_goes_away_gives_up_the_answer_only(bench: Any) -> None:
    await bench.open(max_resident=0)
    await submit(bench, "alice", "j")
    future = ask(bench, "cancel", principal="alice")
    future.cancel()
    await reached(bench, "alice", "j", "cancelled")


async def test_everything_that_changes_something_leaves_a_line_in_the_log(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pixwire_server.jobs.admin")
    await bench.open(max_resident=0)
    await submit(bench, "alice", "j")
    await ask(bench, "overview")
    await ask(bench, "pause", by="e\nvil", reason="a\nb")
    await ask(bench, "cancel", job="j", principal="alice")
    with pytest.raises(RequestError):
        await ask(bench, "requeue", job="none")
    await ask(bench, "resume")
    assert [record.getMessage() for record in caplog.records] == [
        "admin: 'e\\nvil' did pause reason='a\\nb': {'paused': True}",
        "admin: 'boss' did cancel job='j' principal='alice': {'cancelled': 1}",
        "admin: 'boss' asked for requeue job='none': refused, JOB_NOT_FOUND",
        "admin: 'boss' did resume: {'paused': False}",
    ]


# ---------------------------------------------------------------------- overview


async def test_passes_that_are_told_after_the_end_of_a_job_leave_nothing_behind(bench: Any) -> None:
    jobs = await bench.open()
    await submit(bench, "alice", "star")
    await submit(bench, "alice", "moon")
    await bench.farm.running("star", "moon")
    star, moon = (bench.engine.handle(prompt) for prompt in ("star", "moon"))
    bench.engine.finish("star")
    bench.engine.report(api.Passed((api.Pass(7, "denoise", "s", 2, 64, 12.5, (star, moon)),)))
    assert [jobs.gauges.last_pass(handle) for handle in (star, moon)] == [None, 7]


async def test_an_overview_of_everything(bench: Any) -> None:
    await bench.open(max_resident=2)
    terms = Terms("high", tags=("web",))
    await submit(bench, "alice", "r1", terms, steps=10)
    await submit(bench, "bob", "r2")
    await bench.farm.running("r1", "r2")
    await submit(bench, "alice", "low", Terms("low"))
    await submit(bench, "alice", "normal")
    bench.engine.step("r1", 4)
    handles = tuple(bench.engine.handle(prompt) for prompt in ("r1", "r2"))
    bench.engine.report(api.Passed((api.Pass(7, "denoise", "s", 2, 64, 12.5, handles),)))
    bench.engine.report(api.Heartbeat(2, 1))
    bench.jobs.admin.connections = lambda: 3
    bench.now += 2.0
    seen = Overview.from_map(await ask(bench, "overview"))
    assert (seen.paused, seen.reason, seen.draining, seen.uptime_ms, seen.connections) == (False, None, False, 2000, 3)
    assert seen.queue == QueueOverview(0, 1, 1, 2000, 1000)
    one, two = seen.running
    assert (one.job, one.principal, one.kind, one.model, one.state) == (
        "r1",
        "alice",
        "txt2img",
        "test/model",
        "running",
    )
    assert (one.priority, one.tags, one.step, one.steps, one.age_ms) == ("high", ("web",), 4, 10, 2000)
    assert one.pass_id == two.pass_id == 7
    assert {job.job for job in seen.waiting} == {"low", "normal"}
    assert all(job.pass_id is None and job.eta_ms is not None for job in seen.waiting)
    engine = seen.engine
    assert (engine.state, engine.restarts, engine.resident, engine.parked, engine.passes) == ("ready", 0, 2, 0, 1)
    assert (engine.rows, engine.step_ms, engine.images_per_minute) == (2.0, 12.5, 0.0)
    assert [(model.name, model.state) for model in seen.models] == [("test/model", "loaded")]
    assert seen.principals == (PrincipalOverview("alice", 2, 1), PrincipalOverview("bob", 0, 1))
    assert seen.failed == ()
    bench.engine.finish("r1")
    bench.engine.fail("r2", api.FailureKind.OUT_OF_MEMORY, "too large")
    await reached(bench, "bob", "r2", "failed")
    bench.wall += 5000
    await ask(bench, "pause", reason="why not")
    seen = Overview.from_map(await ask(bench, "overview", limit=1))
    assert (seen.paused, seen.reason, seen.engine.images_per_minute) == (True, "why not", 1.0)
    assert (len(seen.waiting), len(seen.principals)) == (0, 1)  # both run by now
    expected = FailedOverview("r2", "bob", "txt2img", "test/model", "failed", "OUT_OF_MEMORY", "too large", 5000)
    assert seen.failed == (expected,)


@pytest.mark.req("PXW-ADM-012")
async def test_no_prompt_is_in_an_overview(bench: Any) -> None:
    await bench.open(max_resident=1)
    for number in range(3):
        await bench.submit(f"a secret wish {number}", job_id=f"j{number}", negative_prompt="a secret fear")
    await bench.farm.running("a secret wish 0")
    bench.engine.fail("a secret wish 0", api.FailureKind.PIPELINE_ERROR)
    await reached(bench, "anonymous", "j0", "failed")
    assert "secret" not in repr(await ask(bench, "overview"))


async def test_a_lost_engine_is_shown_as_such(bench: Any) -> None:
    await bench.open()
    bench.farm.on_start = lambda engine: None
    bench.engine.exit(-9)
    seen = Overview.from_map(await ask(bench, "overview"))
    assert (seen.engine.state, seen.engine.restarts) == ("lost", 0)
    await bench.farm.until(lambda: len(bench.farm.engines) == 2)
    seen = Overview.from_map(await ask(bench, "overview"))
    assert (seen.engine.state, seen.engine.restarts) == ("starting", 1)


async def test_jobs_are_counted_as_what_they_were_submitted(bench: Any) -> None:
    """A job of priority low that waits for long counts as normal when it is its turn, and nowhere else."""
    await bench.open(max_resident=1)
    await submit(bench, "alice", "runs")
    await bench.farm.running("runs")
    await submit(bench, "alice", "low", Terms("low"))
    bench.now += 100_000.0
    await submit(bench, "alice", "normal")
    seen = Overview.from_map(await ask(bench, "overview"))
    assert (seen.queue.normal, seen.queue.low) == (1, 1)
    await bench.jobs.cancel("alice", "low")
    seen = Overview.from_map(await ask(bench, "overview"))
    assert (seen.queue.normal, seen.queue.low) == (1, 0)


async def test_the_parts_of_an_overview_are_as_long_as_was_asked_for(bench: Any) -> None:
    await bench.open(max_resident=0)
    for number in range(20):
        await submit(bench, f"p{number % 7}", f"j{number}")
    seen = Overview.from_map(await ask(bench, "overview", limit=5))
    assert (len(seen.waiting), len(seen.principals), seen.queue.normal) == (5, 5, 20)
    assert [one.queued for one in seen.principals] == [3] * 5
