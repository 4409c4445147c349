"""Accepting jobs: durable when acknowledged, the same one only once, refused with reasons."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.jobs import RequestError
from pixwire_server.store import StoreUnavailableError


def stored(bench: Any) -> list[tuple[str, str]]:
    """What another process would see in the journal."""
    path = bench.data_dir / "journal.sqlite3"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as other:
        return list(other.execute("SELECT job, state FROM job ORDER BY position"))


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


@pytest.mark.req("PXW-REQ-001")
@pytest.mark.req("PXW-REQ-002")
async def test_an_accepted_job_is_on_disk(bench: Any) -> None:
    await bench.open(max_resident=0)
    future = bench.submit("star")
    seen: list[Any] = []
    future.add_done_callback(lambda done: seen.append(stored(bench)))
    submitted = await future
    await asyncio.sleep(0)
    assert seen == [[("star", "queued")]]
    assert not submitted.duplicate
    status = submitted.status
    assert (status.job, status.kind, status.state, status.seq, status.attempt) == ("star", "txt2img", "queued", 1, 1)
    assert (status.queue_position, status.step, status.steps) == (1, 0, 20)


async def test_every_choice_is_made_before_the_job_is_kept(bench: Any) -> None:
    await bench.open(max_resident=0)
    submitted = await bench.submit("star", steps=7)
    assert submitted.status.seed == 100
    assert (await bench.status("star")).params == {
        "prompt": "star",
        "negative_prompt": "",
        "model": "test/model",
        "width": 64,
        "height": 128,
        "steps": 7,
        "guidance_scale": 5.0,
        "seed": 100,
        "count": 1,
        "media_type": "image/png",
    }
    assert (await bench.status("star", with_params=False)).params is None


async def test_64_submits_share_commits_and_are_all_on_disk(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    journal = jobs._store.journal
    before = journal.commits
    futures = [bench.submit(f"job-{n}") for n in range(64)]
    for future in futures:
        future.add_done_callback(lambda done: commits.append(journal.commits))
    commits: list[int] = []
    await asyncio.gather(*futures)
    assert journal.commits - before < 64
    assert stored(bench) == [(f"job-{n}", "queued") for n in range(64)]


async def test_no_task_is_made_for_a_submit(bench: Any) -> None:
    await bench.open(max_resident=0)
    before = asyncio.all_tasks()
    futures = [bench.submit(f"job-{n}") for n in range(3)]
    assert asyncio.all_tasks() == before
    await asyncio.wait(futures)


@pytest.mark.req("PXW-REQ-003")
async def test_the_same_submit_attaches(bench: Any) -> None:
    await bench.open(max_resident=0)
    first = await bench.submit("star", seed=1)
    again = bench.submit("star", seed=1)
    assert again.done()  # known without asking the journal
    assert again.result().duplicate
    assert again.result().status == first.status
    assert len(stored(bench)) == 1


async def test_a_submit_without_seed_attaches_to_the_seed_drawn_first(bench: Any) -> None:
    await bench.open(max_resident=0)
    assert (await bench.submit("star")).status.seed == 100
    assert (await bench.submit("star")).status.seed == 100
    assert (await bench.submit("moon")).status.seed == 200


@pytest.mark.req("PXW-REQ-002")
@pytest.mark.req("PXW-REQ-003")
async def test_simultaneous_submits_attach_to_one_commit(bench: Any) -> None:
    await bench.open(max_resident=0)
    futures = [bench.submit("star") for _ in range(5)]
    results = await asyncio.gather(*futures)
    assert [result.duplicate for result in results] == [False, True, True, True, True]
    assert {result.status.seed for result in results} == {100}
    assert len(stored(bench)) == 1


async def test_giving_up_the_first_leaves_the_second(bench: Any) -> None:
    await bench.open(max_resident=0)
    first, second = bench.submit("star"), bench.submit("star")
    first.cancel()
    assert (await second).status.state == "queued"


@pytest.mark.parametrize("when", ["pending", "in memory", "in the journal only"])
@pytest.mark.req("PXW-REQ-004")
async def test_another_request_with_the_same_id_is_a_conflict(bench: Any, when: str) -> None:
    jobs = await bench.open(max_resident=0, recent_limit=0)
    first = bench.submit("star", "id")
    if when != "pending":
        await first
    if when == "in the journal only":
        await bench.cancel("id")
        assert jobs._table.get(("anonymous", "id")) is None
    error = await refused(bench.submit("moon", "id"))
    assert error.code is ErrorCode.JOB_CONFLICT
    assert "'id'" in error.message
    assert (await first).status.job == "id"
    assert (await bench.jobs.submit("somebody else", "id", "txt2img", bench.tail("moon"))).status.state == "queued"


@pytest.mark.req("PXW-REQ-003")
async def test_the_same_submit_attaches_to_a_job_that_left_memory(bench: Any) -> None:
    jobs = await bench.open(max_resident=0, recent_limit=0)
    await bench.submit("star")
    await bench.cancel("star", "enough")
    assert jobs._table.get(("anonymous", "star")) is None
    again = await bench.submit("star")
    assert again.duplicate
    assert again.status.state == "cancelled"
    assert jobs.queued == 0


async def test_a_full_queue_says_when_to_come_back(bench: Any) -> None:
    await bench.open(max_resident=0, queue_limit=2)
    first = bench.submit("one")
    second = bench.submit("two")
    error = await refused(bench.submit("three"))  # counts those whose commit is under way
    assert error.code is ErrorCode.QUEUE_FULL
    assert error.retry_after_ms == 1000
    assert "2 jobs" in error.message
    await asyncio.gather(first, second)
    assert (await refused(bench.submit("three"))).code is ErrorCode.QUEUE_FULL
    assert (await bench.submit("one")).duplicate  # an old job is no new one
    await bench.cancel("one")
    assert (await bench.submit("three")).status.queue_position == 2
    assert (await bench.submit("one")).status.state == "cancelled"
    assert [name for name, _ in stored(bench)] == ["one", "two", "three"]


async def test_a_full_queue_still_finds_jobs_that_left_memory(bench: Any) -> None:
    await bench.open(max_resident=0, queue_limit=1, recent_limit=0)
    await bench.submit("old")
    await bench.cancel("old")
    await bench.submit("waiting")
    assert (await refused(bench.submit("new"))).code is ErrorCode.QUEUE_FULL
    again = await bench.submit("old")
    assert (again.duplicate, again.status.state) == (True, "cancelled")


async def test_a_draining_server_takes_no_new_jobs(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("old")
    await jobs.drain(0)
    error = await refused(bench.submit("new"))
    assert error.code is ErrorCode.DRAINING
    assert error.retry_after_ms == 2000
    assert (await bench.submit("old")).duplicate


@pytest.mark.req("PXW-REQ-001")
@pytest.mark.req("PXW-REQ-002")
async def test_a_full_disk_refuses_and_accepts_nothing(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("before")
    writer = jobs._store.journal._writer
    await writer.submit(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone())
    futures = [bench.submit("x" * 3999, f"job-{n}") for n in range(9)]
    for future in [*futures, bench.submit("x" * 3999, "job-0")]:
        error = await refused(future)
        assert error.code is ErrorCode.QUEUE_FULL
        assert error.retry_after_ms == 5000
        assert "disk" in error.message
    assert stored(bench) == [("before", "queued")]
    assert jobs.queued == 1
    assert (await refused(bench.jobs.status("anonymous", "job-0"))).code is ErrorCode.JOB_NOT_FOUND
    assert (await bench.status("before")).state == "queued"
    await writer.submit(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    assert not (await bench.submit("x" * 3999, "job-0")).duplicate


async def test_a_read_only_disk_is_an_internal_error(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await jobs._store.journal._writer.submit(lambda c: c.execute("PRAGMA query_only = ON"))
    error = await refused(bench.submit("star"))
    assert error.code is ErrorCode.INTERNAL
    assert error.retry_after_ms == 5000
    assert jobs.queued == 0
    jobs._store.journal._writer._connection.execute("PRAGMA query_only = OFF")
    assert not (await bench.submit("star")).duplicate


async def test_a_job_whose_failed_commit_had_arrived_is_taken_up_by_its_next_submit(bench: Any) -> None:
    """The disk may report an error for something it has kept. Then the row is there and nobody runs it."""
    jobs = await bench.open(max_resident=1)
    real, journal = jobs._store.journal.enter, jobs._store.journal
    kept = asyncio.Event()

    def enter(told: Any, *arguments: Any) -> None:
        def arrived(existing: Any, error: Any) -> None:
            assert existing is error is None
            told(None, StoreUnavailableError("i/o error"))
            kept.set()

        real(arrived, *arguments)

    journal.enter = enter
    assert (await refused(bench.submit("star"))).code is ErrorCode.INTERNAL
    assert kept.is_set()
    del journal.enter
    assert (await bench.submit("star")).duplicate
    await bench.farm.running("star")


async def test_waiting_jobs_know_their_place(bench: Any) -> None:
    await bench.open(max_resident=1)
    for name in ("a", "b", "c", "d"):
        await bench.submit(name)
    await bench.farm.running("a")
    assert [(await bench.status(name)).queue_position for name in "abcd"] == [None, 1, 2, 3]
    await bench.cancel("c")
    assert [(await bench.status(name)).queue_position for name in "abcd"] == [None, 1, None, 2]


async def test_ended_jobs_leave_memory_and_are_read_from_the_journal(bench: Any) -> None:
    jobs = await bench.open(recent_limit=3)
    for n in range(8):
        await bench.submit(f"job-{n}", count=2)
        follower = await bench.follow(f"job-{n}")
        await bench.farm.until(lambda n=n: any(t.prompt == f"job-{n}" for t in bench.engine.tasks.values()))
        bench.engine.finish(f"job-{n}")
        await follower.until("succeeded")
    assert (len(jobs._table.live), jobs._table.recent) == (0, 3)
    asked = bench.jobs.status("anonymous", "job-0")
    assert not asked.done()
    status = await asked
    assert (status.state, len(status.artifacts), status.engine["passes"]) == ("succeeded", 2, 3)
    assert status.params["prompt"] == "job-0"
    assert bench.jobs.status("anonymous", "job-0").done()  # it is back for a while
    assert not bench.jobs.status("anonymous", "job-5").done()  # the one not asked for longest has made room
    follower = await bench.follow("job-2")
    assert follower.watch.snapshot.state == "succeeded"
    assert await bench.image("job-2", 1) != await bench.image("job-2", 0)


@pytest.mark.req("PXW-REQ-018")
async def test_jobs_of_others_do_not_exist(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("star")
    for future in (
        jobs.status("mallory", "star"),
        jobs.watch("mallory", "star", print),
        jobs.cancel("mallory", "star"),
        jobs.artifact("mallory", "star", 0),
        jobs.status("anonymous", "never"),
    ):
        assert (await refused(future)).code is ErrorCode.JOB_NOT_FOUND


async def test_a_job_found_in_the_journal_before_its_submit_was_told_is_one_job(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    journal, entries = jobs._store.journal, []
    found = asyncio.get_running_loop().create_future()
    journal.find = lambda *key: found
    journal.enter = lambda told, row, *more: entries.append((told, row))
    asked, submitted = jobs.status("anonymous", "star"), bench.submit("star")
    [(told, row)] = entries
    found.set_result(row)
    assert (await asked).state == "queued"
    told(None, None)
    assert not (await submitted).duplicate
    assert jobs.queued == 1
    del journal.find, journal.enter


async def test_a_job_may_be_asked_for_before_its_commit(bench: Any) -> None:
    await bench.open()
    submitted = bench.submit("star")
    follower = await bench.follow("star")
    assert submitted.done()
    assert follower.watch.snapshot.job == "star"
    assert (await bench.cancel("star")).job == "star"


async def test_a_listener_hears_nothing_before_the_snapshot_is_seen(bench: Any) -> None:
    await bench.open()
    told: list[Any] = []
    bench.submit("star")
    watching = bench.jobs.watch("anonymous", "star", told.append)
    assert not watching.done()
    snapshots: list[Any] = []
    watching.add_done_callback(lambda done: snapshots.append((done.result().snapshot, list(told))))
    await bench.farm.running("star")
    follower = await bench.follow("star")
    bench.engine.finish("star")
    await follower.until("succeeded")
    [(snapshot, before)] = snapshots
    assert before == []
    states = [snapshot.state.value, *(event.status.state.value for event in told)]
    assert states in (["queued", "running", "succeeded"], ["running", "succeeded"])
