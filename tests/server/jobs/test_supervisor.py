"""Engines that die, hang or do not start: jobs are tried again, a bounded number of times, and the server goes on."""

import asyncio
from typing import Any

import pytest

from pixwire_server.engine import api
from pixwire_server.jobs import EngineLostError, RestartPolicy, StartupError

from .conftest import CARD, SECONDS, FakeEngine, picture, ready


async def engines(bench: Any, count: int) -> Any:
    """Wait until this many engines were made and the last is being used or ready."""
    await bench.farm.until(lambda: len(bench.farm.engines) >= count)
    return bench.farm.engines[count - 1]


async def test_jobs_of_a_dead_engine_run_again_in_their_order(bench: Any) -> None:
    await bench.open(max_resident=2)
    for name in "abc":
        await bench.submit(name)
    follower = await bench.follow("b", "progress")
    await bench.farm.running("a", "b")
    bench.engine.step("b", 5)
    bench.engine.exit(-11)
    status = await follower.until("queued")
    assert (status.attempt, status.step, status.queue_position) == (2, 0, 2)
    assert (await bench.status("c")).queue_position == 3
    await bench.farm.until(lambda: len(bench.farm.engines) == 2)
    await bench.farm.running("a", "b")
    bench.engine.finish("a")
    bench.engine.finish("b")
    status = await follower.until("succeeded")
    assert status.attempt == 2
    assert await bench.image("b") == picture(200)  # the seed that was drawn at first
    await bench.farm.running("a", "b", "c")
    assert follower.states[-4:] == ["running", "queued", "running", "succeeded"]


async def test_a_job_that_kills_every_engine_fails_and_harms_no_other(bench: Any) -> None:
    """Its last attempt is made alone, so that nobody else uses up attempts with it."""
    await bench.open(max_resident=3)
    for name in ("good", "poison", "fine"):
        await bench.submit(name)
    poison = await bench.follow("poison")
    for number in (1, 2):
        await bench.farm.running("good", "poison", "fine")
        bench.engine.exit(-9)
        await engines(bench, number + 1)
    await bench.farm.running("good")  # the third attempts, one at a time
    bench.engine.finish("good")
    await bench.farm.running("good", "poison")
    bench.engine.exit(-9)
    status = await poison.until("failed")
    assert (status.attempt, status.error.name, status.error.retry) == (3, "WORKER_LOST", "same_id")
    assert "3 attempts" in status.error.message
    await engines(bench, 4)
    await bench.farm.running("fine")
    bench.engine.finish("fine")
    fine = await ended(bench, "fine")
    assert (fine.state, fine.attempt) == ("succeeded", 3)
    assert (await ended(bench, "good")).state == "succeeded"


async def ended(bench: Any, job: str) -> Any:
    """The status of a job once it has ended."""
    follower = await bench.follow(job)
    if not follower.watch.snapshot.state.terminal:
        await follower.until("succeeded")
    return await bench.status(job)


async def test_a_job_alone_keeps_others_out_until_its_image_is_made(bench: Any) -> None:
    await bench.open(max_resident=3, max_attempts=2)
    await bench.submit("suspect")
    await bench.farm.running("suspect")
    bench.engine.exit(1)
    await engines(bench, 2)
    await bench.farm.running("suspect")
    await bench.submit("other")
    bench.engine.leave("suspect")
    await asyncio.gather(*(bench.submit(f"job-{n}") for n in range(3)))
    assert list(bench.engine.tasks) == [2]
    bench.engine.finish("suspect", left=False)
    await bench.farm.running("suspect", "other", "job-0", "job-1")


async def test_reports_of_a_dead_engine_are_ignored(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star", "progress")
    await bench.farm.running("star")
    dead = bench.engine
    dead.exit(-9)
    await engines(bench, 2)
    await bench.farm.running("star")
    dead.finish("star")
    dead.step("star", 9)
    bench.engine.step("star", 1)
    bench.engine.finish("star")
    await follower.until("succeeded")
    assert [event.step for event in follower.events if hasattr(event, "step")] == [1]
    assert bench.engine.handle("star") == 2  # a handle is never used twice


async def test_jobs_may_come_while_there_is_no_engine(bench: Any) -> None:
    jobs = await bench.open()
    bench.farm.on_start = lambda engine: None
    bench.engine.exit(-9)
    await bench.submit("star")
    engine = await engines(bench, 2)
    assert engine.tasks == {}
    assert jobs.queued == 1
    engine.report(ready(CARD))
    await bench.farm.running("star")


async def test_a_finished_job_is_safe_from_the_death_of_its_engine(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    bench.engine.exit(-9)
    assert (await follower.until("succeeded")).attempt == 1
    assert "queued" not in follower.states


async def test_a_silent_engine_is_killed_and_replaced(bench: Any) -> None:
    jobs = await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, silent_ticks=3))
    await bench.submit("star")
    await bench.farm.running("star")
    supervisor, hung = jobs._supervisor, bench.engine
    supervisor.tick()
    supervisor.tick()
    hung.report(api.Heartbeat(1, 0))
    for _ in range(3):
        supervisor.tick()
    assert not hung.killed
    supervisor.tick()
    assert hung.killed
    assert (await bench.status("star")).state == "queued"  # at once, not only when the process is gone
    hung.finish("star")  # too late
    await engines(bench, 2)
    await bench.farm.running("star")
    assert (await bench.status("star")).attempt == 2


async def test_a_hung_engine_is_killed_although_its_heart_beats(bench: Any) -> None:
    await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, max_busy_s=60.0))
    await bench.submit("star")
    await bench.farm.running("star")
    hung = bench.engine
    hung.report(api.Heartbeat(1, 0, busy_s=60.0))
    assert not hung.killed
    hung.report(api.Heartbeat(1, 0, busy_s=60.5))
    assert hung.killed
    assert (await bench.status("star")).state == "queued"
    await engines(bench, 2)
    await bench.farm.running("star")


async def test_the_next_engine_waits_until_the_killed_one_is_gone(bench: Any) -> None:
    jobs = await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, silent_ticks=0))
    bench.farm.hard_to_kill = True
    jobs._supervisor.tick()
    jobs._supervisor.tick()
    await bench.submit("star")
    assert len(bench.farm.engines) == 1
    bench.engine.exit(-9)
    await engines(bench, 2)


async def test_silence_while_loading_is_allowed_longer(bench: Any) -> None:
    jobs = await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, silent_ticks=1, start_ticks=5))
    bench.farm.on_start = lambda engine: None
    bench.engine.exit(-9)
    engine = await engines(bench, 2)
    for _ in range(5):
        jobs._supervisor.tick()
    assert not engine.killed
    jobs._supervisor.tick()
    assert engine.killed
    await engines(bench, 3)


async def test_an_engine_that_never_starts_is_a_startup_error(bench: Any) -> None:
    bench.farm.on_start = lambda engine: engine.exit(1)
    with pytest.raises(StartupError, match=r"the engine cannot start: .*exit status 1.*log"):
        await bench.open()
    bench.farm.on_start = lambda engine: engine.report(ready(CARD))
    await bench.open()  # the data directory was given back


async def test_a_refused_model_says_why(bench: Any) -> None:
    def refuse(engine: Any) -> None:
        engine.report(api.Refused("no model_index.json in /models/x"))
        engine.exit(api.EXIT_REFUSED)

    bench.farm.on_start = refuse
    with pytest.raises(StartupError, match=r"the engine cannot start: no model_index\.json in /models/x"):
        await bench.open()


async def test_a_process_that_cannot_be_made_is_a_startup_error(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: Any, config: Any) -> None:
        raise OSError("out of processes")

    monkeypatch.setattr(FakeEngine, "start", start)
    with pytest.raises(StartupError, match="out of processes"):
        await bench.open()


async def test_an_engine_that_cannot_come_back_is_fatal_and_the_jobs_stay(bench: Any) -> None:
    jobs = await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, max_failed_starts=3))
    await bench.submit("star")
    await bench.farm.running("star")
    bench.farm.on_start = lambda engine: engine.exit(1)
    bench.engine.exit(-9)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(EngineLostError, match="cannot be started again"):
            await jobs.fatal
    assert len(bench.farm.engines) == 4
    assert (await bench.status("star")).state == "queued"
    await jobs.close()
    bench.farm.on_start = lambda engine: engine.report(ready(CARD))
    await bench.open()
    await bench.farm.running("star")


async def test_a_model_that_is_gone_after_a_death_is_fatal_at_once(bench: Any) -> None:
    jobs = await bench.open()
    bench.farm.on_start = lambda engine: (engine.report(api.Refused("the folder is gone")), engine.exit(78))
    bench.engine.exit(-9)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(EngineLostError, match="the folder is gone"):
            await jobs.fatal
    assert len(bench.farm.engines) == 2


async def test_a_start_fails_for_its_own_reason(bench: Any) -> None:
    jobs = await bench.open(restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9, max_failed_starts=2))
    ends = iter((lambda engine: (engine.report(api.Refused("no memory")), engine.exit(1)), lambda e: e.exit(-9)))
    bench.farm.on_start = lambda engine: next(ends)(engine)
    bench.engine.exit(-9)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(EngineLostError, match=r"again: its process ended .*killed by signal 9"):
            await jobs.fatal


async def test_a_long_life_forgives_earlier_deaths(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RestartPolicy(base_delay_s=0.0, tick_s=1e9, stable_s=60.0)
    counted: list[int] = []
    monkeypatch.setattr(RestartPolicy, "delay", lambda self, deaths, jitter: counted.append(deaths) or 0.0)
    await bench.open(restart=policy)
    for number, lived in enumerate((0.0, 59.0, 60.0, 1.0), start=1):
        bench.now += lived
        bench.engine.exit(-9)
        await engines(bench, number + 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert counted == [1, 2, 1, 2]
