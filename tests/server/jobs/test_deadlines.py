"""Terms of jobs: deadlines, times to live, priorities, shares; and what a clock may do to them."""

import asyncio
from pathlib import Path

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import RequestError, Terms

from .conftest import Bench
from .teaching import refused, taught
from .test_recovery import crash

# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (Terms("urgent"), "priority"),
        (Terms(""), "priority"),
        (Terms("HIGH"), "priority"),
        (Terms(timeout_ms=0), "timeout_ms"),
        (Terms(timeout_ms=-5), "timeout_ms"),
        (Terms(timeout_ms=2**31), "timeout_ms"),
        (Terms(queue_ttl_ms=0), "queue_ttl_ms"),
        (Terms(run_timeout_ms=2**63), "run_timeout_ms"),
    ],
)
async def test_absurd_terms_are_refused_with_what_is_allowed(bench: Bench, terms: Terms, field: str) -> None:
    await bench.open()
    with pytest.raises(RequestError) as caught:
        bench.submit("star", terms=terms)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == field
    assert caught.value.details["allowed"]
    assert bench.jobs.queued == 0


@pytest.mark.req("PXW-REQ-039")
async def test_a_repeat_on_other_terms_is_the_same_job(bench: Bench) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star", terms=Terms("low", tags=("a",)))
    again = await bench.submit("star", terms=Terms("high", timeout_ms=5, tags=("b",)))
    assert again.duplicate
    assert (again.status.priority, again.status.tags, again.status.deadline_ms) == ("low", ("a",), None)


# ---------------------------------------------------------------------------------------------- deadlines


@pytest.mark.req("PXW-JOB-028")
@pytest.mark.req("PXW-JOB-024")
@pytest.mark.req("PXW-JOB-028")
async def test_a_job_that_waits_too_long_expires_in_the_queue(bench: Bench) -> None:
    await bench.open(max_resident=0)
    submitted = await bench.submit("star", terms=Terms(timeout_ms=1500))
    assert submitted.status.deadline_ms == 1500
    follower = await bench.follow("star")
    bench.pass_time(1.2)
    assert (await bench.status("star")).deadline_ms == 300
    bench.pass_time(0.4)
    status = await follower.until("expired")
    assert (status.error.name, status.error.retry) == ("DEADLINE_EXCEEDED", "no")
    assert "queued: the job waited for 1600 ms" in status.error.message
    assert "timeout_ms = 1500" in status.error.message
    assert (await bench.status("star")).state == "expired"
    assert bench.jobs.queued == 0
    assert bench.engine.tasks == {}, "nothing was computed for it"


async def test_a_job_expires_as_soon_as_it_could_not_be_done_any_more(bench: Bench) -> None:
    await taught(bench, max_resident=1)
    await bench.submit("long", steps=100)
    await bench.farm.running("teacher", "long")
    await bench.submit("star", terms=Terms(timeout_ms=20_000))
    follower = await bench.follow("star")
    bench.pass_time(10.5)
    await asyncio.sleep(0)
    assert (await bench.status("star")).state == "queued", "9 of its 10 s are certain, and 9.5 are left"
    bench.pass_time(1.0)
    status = await follower.until("expired")
    assert "needs about 9000 ms more, which goes beyond timeout_ms = 20000" in status.error.message


async def test_a_job_that_is_stopping_is_in_nobodys_way(bench: Bench) -> None:
    await taught(bench, max_resident=2)
    await bench.submit("long", terms=Terms("high"), steps=100)
    await bench.farm.running("teacher", "long")
    await bench.jobs.cancel("anonymous", "long")
    await bench.submit("star", terms=Terms(timeout_ms=20_000))
    await bench.farm.running("teacher", "long", "star")


async def test_a_job_for_which_others_leave_no_time_is_told_so(bench: Bench) -> None:
    await taught(bench, max_resident=2)
    await bench.submit("long", terms=Terms("high"), steps=100)
    await bench.farm.running("teacher", "long")
    await bench.submit("star", terms=Terms(timeout_ms=20_000))
    status = await (await bench.follow("star")).until("expired")
    assert "needs about 9000 ms more, for which what runs before it leaves no time in the 20000 ms" in (
        status.error.message
    )


@pytest.mark.req("PXW-REQ-044")
async def test_a_job_that_nobody_could_do_in_time_is_not_accepted(bench: Bench) -> None:
    await taught(bench)
    error = await refused(bench.submit("star", terms=Terms(timeout_ms=8000)))
    assert error.code is ErrorCode.DEADLINE_EXCEEDED
    assert (error.details["eta_ms"], error.details["timeout_ms"]) == (9000, 8000)
    assert (await refused(bench.jobs.status("anonymous", "star"))).code is ErrorCode.JOB_NOT_FOUND
    assert not (await bench.submit("star", terms=Terms(timeout_ms=12_000))).duplicate
    known = await bench.submit("star", terms=Terms(timeout_ms=1))
    assert known.duplicate, "it is in time for what has been accepted already"


async def test_an_ended_job_is_told_of_even_to_who_asks_the_impossible(bench: Bench) -> None:
    await taught(bench, recent_limit=0)
    known = await bench.submit("teacher", terms=Terms(timeout_ms=1))
    assert (known.duplicate, known.status.state) == (True, "succeeded")


async def test_what_is_only_guessed_refuses_nobody(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=50), steps=100)
    await bench.farm.running("star")


@pytest.mark.req("PXW-JOB-024", "PXW-JOB-028")
@pytest.mark.req("PXW-JOB-024")
@pytest.mark.req("PXW-JOB-028")
async def test_a_deadline_that_passes_while_the_job_runs(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.step("star", 7)
    bench.pass_time(1.1)
    await bench.farm.until(lambda: api.Cancel(1) in bench.engine.commands)
    assert (await bench.status("star")).state == "running", "until the engine has let it go"
    bench.engine.cancel("star", 7)
    status = await follower.until("expired")
    assert status.error.name == "DEADLINE_EXCEEDED"
    assert "running: timeout_ms = 1000 is over, at step 7 of 20 in attempt 1" in status.error.message
    assert (status.step, status.timings["queue_ms"]) == (7, 0.0)


async def test_a_run_that_cannot_be_done_in_time_any_more_is_stopped_early(bench: Bench) -> None:
    await taught(bench)
    await bench.submit("star", terms=Terms(timeout_ms=12_000))
    follower = await bench.follow("star")
    await bench.farm.running("teacher", "star")
    bench.pass_time(2.9)
    await asyncio.sleep(0)
    assert api.Cancel(2) not in bench.engine.commands, "9.1 s are left, of which it needs 9 for certain"
    bench.pass_time(0.3)
    await bench.farm.until(lambda: api.Cancel(2) in bench.engine.commands)
    bench.engine.cancel("star", 0)
    assert "more are needed than timeout_ms = 12000 leaves" in (await follower.until("expired")).error.message


async def test_an_image_that_is_done_in_time_after_all_is_kept(bench: Bench) -> None:
    """Stopping early is a guess; a finished image in time is a fact."""
    await taught(bench)
    await bench.submit("star", terms=Terms(timeout_ms=12_000))
    follower = await bench.follow("star")
    await bench.farm.running("teacher", "star")
    bench.pass_time(6.0)
    await bench.farm.until(lambda: api.Cancel(2) in bench.engine.commands)
    bench.engine.finish("star")
    assert (await follower.until("succeeded")).artifacts


async def test_an_image_that_comes_too_late_is_not_kept(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.now += 1.5  # nobody's timer was so quick
    bench.engine.finish("star")
    status = await follower.until("expired")
    assert (status.error.name, status.artifacts) == ("DEADLINE_EXCEEDED", ())


async def test_a_failure_is_a_failure_also_when_it_is_late(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.pass_time(2.0)
    bench.engine.fail("star", api.FailureKind.OUT_OF_MEMORY)
    assert (await follower.until("failed")).error.name == "OUT_OF_MEMORY"


async def test_a_cancel_goes_before_a_deadline(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    await bench.cancel("star", "enough")
    bench.pass_time(2.0)
    bench.engine.cancel("star", 3)
    assert (await follower.until("cancelled")).error.message == "enough"


async def test_an_engine_that_dies_under_an_expiring_job_ends_it(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.pass_time(2.0)
    await bench.farm.until(lambda: api.Cancel(1) in bench.engine.commands)
    bench.engine.exit(-9)
    assert (await follower.until("expired")).attempt == 1


# ---------------------------------------------------------------------------------------------- other times


@pytest.mark.req("PXW-JOB-025")
@pytest.mark.req("PXW-JOB-025")
async def test_a_job_lives_in_the_queue_as_long_as_it_was_given(bench: Bench) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a", terms=Terms(queue_ttl_ms=500))
    await bench.farm.running("a")
    await bench.submit("b", terms=Terms(queue_ttl_ms=500))
    follower = await bench.follow("b")
    bench.pass_time(1.0)
    status = await follower.until("expired")
    assert "was not started within queue_ttl_ms = 500" in status.error.message
    assert (await bench.status("a")).state == "running", "it was started in time, and has no deadline"


async def test_a_job_that_was_started_once_may_wait_again(bench: Bench) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a", terms=Terms(queue_ttl_ms=500))
    await bench.farm.running("a")
    bench.farm.on_start = lambda engine: None  # none comes up any more
    bench.engine.exit(-9)
    bench.pass_time(5.0)
    bench.jobs._dispatcher._pump()  # now rather than in the next turn
    assert bench.jobs.queued == 1
    assert ((await bench.status("a")).state, (await bench.status("a")).attempt) == ("queued", 2)


async def test_deadlines_go_on_while_there_is_no_engine(bench: Bench) -> None:
    await bench.open()
    bench.farm.on_start = lambda engine: None  # none comes up any more
    bench.engine.exit(-9)
    await bench.submit("a", terms=Terms(timeout_ms=500))
    follower = await bench.follow("a")
    bench.pass_time(1.0)
    await follower.until("expired")


@pytest.mark.req("PXW-JOB-026")
@pytest.mark.req("PXW-JOB-026")
async def test_each_attempt_has_its_own_time(bench: Bench) -> None:
    await bench.open()
    await bench.submit("star", terms=Terms(run_timeout_ms=1000))
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.pass_time(0.8)
    bench.engine.exit(-9)
    await bench.farm.until(lambda: len(bench.farm.engines) == 2 and bool(bench.engine.tasks))
    bench.pass_time(0.8)
    assert (await bench.status("star")).state == "running"
    bench.pass_time(0.3)
    await bench.farm.until(lambda: any(isinstance(c, api.Cancel) for c in bench.engine.commands))
    bench.engine.cancel("star", 2)
    status = await follower.until("expired")
    assert "running: run_timeout_ms = 1000 is over" in status.error.message
    assert "in attempt 2" in status.error.message


@pytest.mark.req("PXW-JOB-027")
async def test_deadlines_go_on_through_a_crash(bench: Bench, tmp_path: Path) -> None:
    await bench.open(max_resident=0)
    await bench.submit("short", terms=Terms("high", 4000, tags=("a", "b")))
    await bench.submit("long", terms=Terms(timeout_ms=60_000, queue_ttl_ms=20_000, run_timeout_ms=5))
    await bench.jobs._ledger.flush()
    copy = await crash(bench, tmp_path / "copy")
    bench.pass_time(3.0)
    bench.now = 50.0  # another boot: the monotonic clock begins anew
    await bench.open(copy, max_resident=0)
    status = await bench.status("short")
    assert (status.deadline_ms, status.priority, status.tags) == (1000, "high", ("a", "b"))
    long = await bench.status("long")
    assert long.deadline_ms == 57_000
    follower = await bench.follow("short")
    bench.pass_time(1.1)
    assert "waited for 41" in (await follower.until("expired")).error.message
    follower = await bench.follow("long")
    bench.pass_time(17.0)
    assert "queue_ttl_ms = 20000" in (await follower.until("expired")).error.message


@pytest.mark.req("PXW-JOB-027")
async def test_what_ran_out_while_the_server_was_away_is_not_run(bench: Bench, tmp_path: Path) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star", terms=Terms(timeout_ms=4000))
    await bench.submit("moon")
    copy = await crash(bench, tmp_path / "copy")
    bench.wall += 3_600_000
    await bench.open(copy)
    await bench.farm.running("moon")
    await (await bench.follow("star")).until("expired")


async def test_a_wall_clock_that_jumps_changes_no_deadline(bench: Bench) -> None:
    await bench.open(max_resident=0)
    await bench.submit("star", terms=Terms(timeout_ms=10_000))
    for jump in (86_400_000_000, -2 * 86_400_000_000):
        bench.wall += jump
        bench.pass_time(1.0)
        await asyncio.sleep(0)
        assert (await bench.status("star")).state == "queued"
    assert (await bench.status("star")).deadline_ms == 8000
