"""From the queue through the engine to the image, and what watchers are told on the way."""

import asyncio
import errno
import re
from typing import Any

import pytest

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.jobs import PreviewShown, Progressed, RequestError, StateChanged, model, resolve
from pixwire_server.store import StoreFullError

from .conftest import picture


async def refused(future: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await future
    return caught.value


@pytest.mark.req("PXW-JOB-010")
@pytest.mark.req("PXW-JOB-013")
async def test_a_job_from_submit_to_image(bench: Any) -> None:
    await bench.open()
    submitted = bench.submit("star", seed=5, count=2, width=72, media_type="image/webp")
    bench.pass_time(2.0)
    await submitted
    follower = await bench.follow("star", "progress")
    await bench.farm.running("star")
    task = bench.engine.tasks[1]
    assert task == api.GenerateTask(1, "star", "", 72, 128, 20, 5.0, 5, 2, "image/webp", model="test/model")
    bench.engine.step("star", 1)
    bench.engine.step("star", 2)
    bench.now += 0.5
    bench.engine.finish("star")
    status = await follower.until("succeeded")
    assert [(a.artifact, a.seed, a.size, a.media_type) for a in status.artifacts] == [
        (0, 5, 1280, "image/webp"),
        (1, 6, 1280, "image/webp"),
    ]
    assert [await bench.image("star", i) for i in (0, 1)] == [picture(5), picture(6)]
    assert (status.step, status.steps, status.attempt, status.seed, status.error) == (20, 20, 1, 5, None)
    assert status.timings == {
        "queue_ms": 2000.0,
        "run_ms": 500.0,
        "encode_ms": 1.0,
        "denoise_ms": 2.0,
        "decode_ms": 3.0,
        "image_ms": 4.0,
    }
    assert status.engine == {"passes": 3, "pass_share": 1.5}
    seqs = [e.status.seq if isinstance(e, StateChanged) else e.seq for e in follower.events]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == status.seq
    steps = [(e.step, e.steps, e.attempt) for e in follower.events if isinstance(e, Progressed)]
    assert steps == [(1, 20, 1), (2, 20, 1)]
    assert await bench.status("star", with_params=False) == status


@pytest.mark.req("PXW-REQ-046")
async def test_timesteps_are_those_of_the_attempt_and_go_with_the_job(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")
    follower = await bench.follow("star")
    assert list(follower.watch.timesteps()) == []
    bench.engine.step("star", 1, 900)
    bench.engine.step("star", 2, 800.5)
    assert list(follower.watch.timesteps()) == [900, 800.5]
    bench.engine.step("star", 3)  # one that is not known, so that the next ones have no place
    bench.engine.step("star", 4, 600)
    assert list(follower.watch.timesteps()) == [900, 800.5]
    bench.engine.step("star", 1, 901)  # the next attempt
    late = await bench.follow("star")
    assert list(late.watch.timesteps()) == [901]
    bench.engine.finish("star")
    await late.until("succeeded")
    assert list(late.watch.timesteps()) == []


async def test_first_come_first_served_within_the_places(bench: Any) -> None:
    jobs = await bench.open(max_resident=2)
    for name in "abcde":
        await bench.submit(name)
    await bench.farm.running("a", "b")
    bench.engine.leave("b")  # its steps are done, its image is not: the place is free already
    await bench.farm.running("a", "b", "c")
    assert (jobs.running, jobs.queued) == (3, 2)
    assert (await bench.status("b")).state == "running"
    bench.engine.finish("b", left=False)
    bench.engine.finish("a")
    await bench.farm.running("a", "b", "c", "d")
    bench.engine.fail("c", api.FailureKind.PIPELINE_ERROR)
    await bench.farm.running("a", "b", "c", "d", "e")


@pytest.mark.req("PXW-JOB-010")
async def test_the_end_is_told_when_it_is_on_disk(bench: Any) -> None:
    """Whoever hears "succeeded" may fetch the image, here and after a crash."""
    jobs = await bench.open()
    await bench.submit("star")
    order: list[str] = []
    put, update = jobs._store.artifacts.put, jobs._store.journal.update

    def noted(name: str, future: Any) -> Any:
        future.add_done_callback(lambda done: order.append(name))
        return future

    jobs._store.artifacts.put = lambda images: noted("stored", put(images))
    jobs._store.journal.update = lambda row, files: noted(row.state, update(row, files))
    follower = await bench.follow("star")
    await bench.jobs.watch("anonymous", "star", lambda e: order.append(f"told {e.status.state.value}"))
    await bench.farm.running("star")
    bench.engine.finish("star")
    await follower.until("succeeded")
    assert order[-3:] == ["stored", "succeeded", "told succeeded"]


async def test_previews_are_made_only_while_somebody_wants_them(bench: Any) -> None:
    await bench.open(max_resident=1)
    await bench.submit("a")
    await bench.submit("b")
    await bench.farm.running("a")
    waiting = await bench.follow("b", "preview")
    one, two = await bench.follow("a", "preview"), await bench.follow("a", "preview", "progress")
    plain = await bench.follow("a", "progress")
    switched = lambda: [c for c in bench.engine.commands if isinstance(c, api.SetPreviews)]  # noqa: E731
    assert switched() == [api.SetPreviews(1, True)]
    bench.engine.report(api.PreviewReady(1, 3, 20, "image/jpeg", 8, 16, b"tiny"))
    [shown] = one.events
    assert isinstance(shown, PreviewShown)
    assert (shown.job, shown.step, shown.steps, shown.media_type, shown.width, shown.height, shown.image) == (
        *("a", 3, 20, "image/jpeg", 8, 16),
        b"tiny",
    )
    assert two.events == [shown]
    assert plain.events == []
    one.watch.close()
    assert len(switched()) == 1
    two.watch.close()
    two.watch.close()
    assert switched() == [api.SetPreviews(1, True), api.SetPreviews(1, False)]
    bench.engine.finish("a")
    await bench.farm.running("a", "b")
    await bench.farm.until(lambda: switched()[2:] == [api.SetPreviews(2, True)])
    waiting.watch.close()


async def test_a_closed_watch_and_a_failing_one_disturb_nobody(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    await bench.open()
    await bench.submit("star")

    def broken(event: Any) -> None:
        raise ZeroDivisionError

    await bench.jobs.watch("anonymous", "star", broken)
    silent, last = await bench.follow("star"), await bench.follow("star")
    silent.watch.close()
    await bench.farm.running("star")
    bench.engine.finish("star")
    await last.until("succeeded")
    assert silent.events == []
    assert "a watcher failed" in caplog.text


async def test_a_watch_of_an_ended_job_is_its_snapshot(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    await follower.until("succeeded")
    late = await bench.follow("star", "progress")
    assert late.watch.snapshot.state == "succeeded"
    assert late.events == []
    late.watch.close()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (api.FailureKind.OUT_OF_MEMORY, ErrorCode.OUT_OF_MEMORY),
        (api.FailureKind.PIPELINE_ERROR, ErrorCode.PIPELINE_ERROR),
        (api.FailureKind.INVALID_ARGUMENT, ErrorCode.INVALID_ARGUMENT),
        ("something new", ErrorCode.PIPELINE_ERROR),
    ],
)
@pytest.mark.req("PXW-JOB-011")
async def test_a_failed_job_says_why(bench: Any, kind: Any, code: ErrorCode) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.fail("star", kind, "no" * 1000)
    status = await follower.until("failed")
    assert (status.error.code, status.error.name, status.error.message) == (code, code.name, "no" * 500)
    error = await refused(bench.jobs.artifact("anonymous", "star", 0))
    assert error.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert "failed" in error.message


async def test_reports_of_runs_that_are_over_are_ignored(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star", "progress", "preview")
    await bench.farm.running("star")
    bench.engine.report(api.Heartbeat(1, 0))
    bench.engine.report(api.Started(1))
    bench.engine.finish("star")
    bench.engine.report(api.Cancelled(1, 3, api.JobStats(0, 0, 0, 0, 0, 0)))
    bench.engine.report(api.Failed(1, "pipeline_error", "late"))
    bench.engine.report(api.Progress(1, 19, 20))
    bench.engine.report(api.Left(1))
    bench.engine.report(api.Progress(77, 1, 20))
    await follower.until("succeeded")
    assert [type(event) for event in follower.events[-1:]] == [StateChanged]
    assert follower.states == ["running", "succeeded"]


@pytest.mark.req("PXW-REQ-023")
@pytest.mark.req("PXW-REQ-024")
async def test_artifacts_are_refused_with_reasons(bench: Any) -> None:
    await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    early = await refused(bench.jobs.artifact("anonymous", "star", 0))
    assert early.code is ErrorCode.ARTIFACT_NOT_FOUND
    await bench.farm.running("star")
    bench.engine.finish("star")
    [info] = (await follower.until("succeeded")).artifacts
    missing = await refused(bench.jobs.artifact("anonymous", "star", 1))
    assert missing.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert "no artifact 1" in missing.message
    changed = await refused(bench.jobs.artifact("anonymous", "star", 0, "another"))
    assert changed.code is ErrorCode.ARTIFACT_CHANGED
    assert changed.details["allowed"] == info.etag
    at_hand = bench.jobs.artifact("anonymous", "star", 0, info.etag)
    assert at_hand.done(), "the file of a fresh image is open: no thread is asked"
    opened = at_hand.result()
    assert opened.info == info
    piece = opened.part(0, 4)
    opened.close()
    opened.close()
    assert piece.tobytes() == picture(info.seed)[:4]
    with pytest.raises(ValueError, match="was closed"):
        opened.read()
    [file] = list((bench.data_dir / "artifacts").rglob(info.etag))
    reading = await bench.jobs.artifact("anonymous", "star", 0)
    file.write_bytes(b"cut")
    with pytest.raises(RequestError, match="missing or damaged"):
        reading.read()
    assert "missing or damaged" in (await refused(bench.jobs.artifact("anonymous", "star", 0))).message
    file.unlink()
    assert "missing or damaged" in (await refused(bench.jobs.artifact("anonymous", "star", 0))).message


async def test_an_image_that_finds_no_room_waits_for_it(bench: Any) -> None:
    """The job is not lost and not failed; nothing new is started whose image would find no room either."""
    jobs = await bench.open(max_resident=1)
    for name in "ab":
        await bench.submit(name)
    follower = await bench.follow("a")
    put, failures = jobs._store.artifacts.put, asyncio.Event()

    def full(images: Any) -> Any:
        failures.set()
        failing = asyncio.get_running_loop().create_future()
        failing.set_exception(StoreFullError(f"the image cannot be stored: {errno.ENOSPC}"))
        return failing

    jobs._store.artifacts.put = full
    await bench.farm.running("a")
    await asyncio.sleep(0)  # the look at the queue that "b" has led to comes after its answer
    bench.engine.finish("a", left=False)
    for _ in range(3):
        failures.clear()
        await failures.wait()
    assert follower.states == ["running"]
    assert (await bench.status("b")).queue_position == 1
    assert len(bench.engine.tasks) == 1
    jobs._store.artifacts.put = put
    await follower.until("succeeded")
    assert await bench.image("a") == picture(100)
    await bench.farm.running("a", "b")


async def test_an_end_that_finds_no_room_in_the_journal_waits_for_it(bench: Any) -> None:
    jobs = await bench.open(max_resident=1)
    await bench.submit("a")
    follower = await bench.follow("a")
    await bench.farm.running("a")
    connection = jobs._store.journal._writer._connection
    await jobs._ledger.flush()
    connection.execute("PRAGMA query_only = ON")
    bench.engine.finish("a")
    await bench.farm.until(lambda: True)
    while not jobs._retry.troubled:
        await jobs._moved.wait()
    assert follower.states == ["running"]
    assert (await bench.status("a")).state == "running"
    connection.execute("PRAGMA query_only = OFF")
    await follower.until("succeeded")
    assert not jobs._retry.troubled


async def test_an_end_that_had_arrived_after_all_is_found(bench: Any) -> None:
    """The disk reported an error for a commit that it has kept: the second try finds the job ended, as it is."""
    jobs = await bench.open()
    await bench.submit("star")
    follower = await bench.follow("star")
    await bench.farm.running("star")
    await jobs._ledger.flush()
    journal = jobs._store.journal
    real = journal.update

    def update(row: Any, files: Any) -> Any:
        journal.update = real
        written, failing = real(row, files), asyncio.get_running_loop().create_future()
        written.add_done_callback(lambda done: failing.set_exception(StoreFullError("i/o error")))
        return failing

    journal.update = update
    bench.engine.finish("star")
    status = await follower.until("succeeded")
    assert status.artifacts
    assert await bench.image("star") == picture(100)


@pytest.mark.parametrize("where", ["cost", "store", "journal"])
async def test_a_defect_ends_its_job_and_touches_no_other(
    bench: Any, where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job is ever left without somebody who will end it."""
    jobs = await bench.open(max_resident=1)
    for name in "ab":
        await bench.submit(name)
    follower = await bench.follow("a")
    await bench.farm.running("a")

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("a defect")

    def put(images: Any) -> Any:
        failing = asyncio.get_running_loop().create_future()
        failing.set_exception(ZeroDivisionError("a defect"))
        return failing

    with monkeypatch.context() as patch:
        if where == "cost":
            patch.setattr(jobs._dispatcher._outcomes, "_cost", broken)
        elif where == "store":
            patch.setattr(jobs._store.artifacts, "put", put)
        else:
            real = model.to_row
            patch.setattr(model, "to_row", lambda job: broken() if job.id == "a" else real(job))
        bench.engine.finish("a", left=False)
        status = await follower.until("failed")
    assert status.error.name == "INTERNAL"
    incident = re.search(r"incident [0-9a-f]{8}", status.error.message)
    assert incident is not None
    assert incident[0] in caplog.text
    assert "ZeroDivisionError: a defect" in caplog.text
    assert (await bench.status("a")).error == status.error
    await bench.farm.running("a", "b")
    follower = await bench.follow("b")
    bench.engine.finish("b")
    await follower.until("succeeded")


async def test_a_defect_at_the_start_of_a_run_ends_its_job(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.open(max_resident=0)
    await bench.submit("a")
    await bench.jobs.close()
    monkeypatch.setattr(resolve, "task", lambda handle, params: 1 // 0)
    await bench.open()
    follower = await bench.follow("a")
    if not follower.watch.snapshot.state.terminal:
        await follower.until("failed")
    monkeypatch.undo()
    await bench.submit("b")
    await bench.farm.running("b")
    assert (await bench.status("a")).error.name == "INTERNAL"
