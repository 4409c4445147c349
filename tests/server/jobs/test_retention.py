"""What has ended is kept for a while, then its id alone, then nothing. Time is an argument here."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import FailureKind
from pixwire_server.jobs import RequestError, StartupError, Submitted, Upload, retention, sweeper
from pixwire_server.jobs.retention import Fate, Retention
from pixwire_server.store import ARTIFACTS, EndedRow, FileRef

from .conftest import PAINTER, SECONDS, Bench, attachment, painted, picture

HOUR = 3_600_000
BOUNDS = Retention(retain_ms=10, dedupe_ms=25, retain_bytes=100)


def file(n: int, size: int = 10) -> FileRef:
    return FileRef(ARTIFACTS, f"{n:064x}", size)


def ended(position: int, finished_ms: int, **files: Any) -> EndedRow:
    return EndedRow(position, "p", f"job-{position}", finished_ms, tuple(files.get("files", ())))


# ------------------------------------------------------------------------------------------- the decision


def test_the_fate_of_a_job() -> None:
    assert BOUNDS.fate(None, None, 10**9) is Fate.KEPT
    fates = [BOUNDS.fate(100, None, now) for now in (90, 100, 109, 110, 124, 125)]
    assert fates == [Fate.KEPT, Fate.KEPT, Fate.KEPT, Fate.GONE, Fate.GONE, Fate.FORGOTTEN]
    assert BOUNDS.fate(100, 105, 106) is Fate.GONE


def test_how_long_the_results_stay() -> None:
    assert [BOUNDS.left_ms(100, now) for now in (50, 100, 103, 110, 999)] == [10, 10, 7, 0, 0]


@pytest.mark.req("PXW-JOB-018")
def test_an_id_is_known_at_least_as_long_as_its_results() -> None:
    with pytest.raises(ValueError, match="must not be negative or longer"):
        Retention(retain_ms=11, dedupe_ms=10)


async def test_a_server_whose_bounds_contradict_each_other_does_not_start(bench: Bench) -> None:
    with pytest.raises(StartupError, match="longer than dedupe"):
        await bench.open(retain_s=2, dedupe_s=1)
    await bench.open(retain_s=1, dedupe_s=1)  # and has left nothing behind


def test_time_decides_first_then_room() -> None:
    rows = [ended(1, 85, files=[(file(1), 1)]), ended(2, 95, files=[(file(2, 60), 1)]), ended(3, 96)]
    rows += [ended(4, 97, files=[(file(4, 30), 1)]), ended(5, 98, files=[(file(5, 80), 1)])]
    verdict = BOUNDS.judge(rows, 180, 100)
    assert [row.position for row in verdict.expiring] == [1, 2, 4]
    assert (verdict.kept_bytes, verdict.complete) == (80, True)


def test_a_shared_file_frees_nothing_before_its_last_job() -> None:
    rows = [ended(n, 95 + n, files=[(file(1, 101), 3)]) for n in range(3)]
    assert [len(BOUNDS.judge(rows[:n], 101, 100).expiring) for n in range(4)] == [0, 1, 2, 3]
    assert BOUNDS.judge(rows, 101, 100).kept_bytes == 0


def test_without_a_bound_there_is_always_room() -> None:
    unbounded = Retention(10, 25)
    assert unbounded.judge([ended(1, 95, files=[(file(1, 10**15), 1)])], 10**15, 100).expiring == ()


@given(
    st.lists(st.tuples(st.integers(0, 60), st.lists(st.integers(0, 6), max_size=3)), max_size=20),
    st.integers(0, 120),
    st.integers(1, 8),
)
def test_pieces_decide_as_the_whole(jobs: list[tuple[int, list[int]]], now: int, piece: int) -> None:
    """However the ended jobs are cut, and by a model that is too simple to be wrong."""
    jobs.sort(key=lambda job: job[0])
    uses = {n: sum(n in files for _, files in jobs) for n in range(7)}
    rows = [
        ended(position, finished, files=[(file(n, 20 + n), uses[n]) for n in sorted(set(files))])
        for position, (finished, files) in enumerate(jobs)
    ]
    kept = {n for n, count in uses.items() if count}
    left = list(rows)

    def size() -> int:
        return sum(20 + n for n in {int(ref.name, 16) for row in left for ref, _ in row.files})

    total = size()
    assert total == sum(20 + n for n in kept)
    for row in rows:
        if row.finished_ms + 10 <= now or (row.files and size() > 100):
            left.remove(row)
    expected = [row.position for row in rows if row not in left]
    whole = BOUNDS.judge(rows, total, now)
    assert [row.position for row in whole.expiring] == expected
    assert whole.kept_bytes == size()
    assert whole.complete or not rows or rows[-1] in whole.expiring or not rows[-1].files or whole.kept_bytes <= 100


# ------------------------------------------------------------------------------------------- the life of a job


async def done(bench: Bench, name: str, **params: Any) -> Any:
    """A job that has succeeded; its status."""
    await bench.submit(name, **params)
    follower = await bench.follow(name)
    await bench.farm.until(lambda: any(task.prompt == name for task in bench.engine.tasks.values()))
    bench.engine.finish(name)
    return await follower.until("succeeded")


async def code(future: Any) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        await future
    assert caught.value.details["field"] == "job"
    return caught.value.code


def images(bench: Bench) -> list[bytes]:
    return sorted(path.read_bytes() for path in (bench.data_dir / "artifacts").rglob("*") if path.is_file())


async def answers(bench: Bench, job: str) -> set[ErrorCode]:
    """What everything that is asked of a job that is no more is answered."""
    jobs = bench.jobs
    return {
        await code(jobs.status("anonymous", job)),
        await code(jobs.watch("anonymous", job, print)),
        await code(jobs.cancel("anonymous", job)),
        await code(jobs.artifact("anonymous", job, 0)),
    }


@pytest.mark.req("PXW-JOB-016")
@pytest.mark.req("PXW-JOB-017")
@pytest.mark.parametrize("swept", [True, False], ids=["swept", "before the sweep"])
@pytest.mark.parametrize("recent_limit", [1000, 0], ids=["in memory", "in the journal"])
async def test_results_go_then_the_id(bench: Bench, swept: bool, recent_limit: int) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200, recent_limit=recent_limit)
    status = await done(bench, "star", seed=1)
    assert status.retain_ms == HOUR
    bench.wall += HOUR - 1
    if swept:
        await jobs._sweeper.sweep()
    assert (await bench.status("star")).retain_ms == 1
    assert await bench.image("star") == picture(1)
    bench.wall += 1
    if swept:
        await jobs._sweeper.sweep()
        assert images(bench) == []
        assert jobs._table.recent == 0
    assert await answers(bench, "star") == {ErrorCode.JOB_EXPIRED}
    assert await code(bench.submit("star", seed=1)) is ErrorCode.JOB_EXPIRED
    assert await code(bench.submit("another request", "star")) is ErrorCode.JOB_EXPIRED
    bench.wall += HOUR
    if swept:
        await jobs._sweeper.sweep()
    assert await answers(bench, "star") == {ErrorCode.JOB_NOT_FOUND}
    again = await bench.submit("another request", "star")
    assert (again.duplicate, again.status.state) == (False, "queued")
    await bench.farm.until(lambda: any(task.prompt == "another request" for task in bench.engine.tasks.values()))
    bench.engine.finish("another request")
    assert (await (await bench.follow("star")).until("succeeded")).artifacts


async def test_a_queued_or_running_job_has_no_retain_ms(bench: Bench) -> None:
    await bench.open(max_resident=1)
    assert (await bench.submit("star")).status.retain_ms is None
    await bench.farm.running("star")
    assert (await bench.status("star")).retain_ms is None
    await bench.submit("moon")
    assert (await bench.cancel("moon")).retain_ms == 24 * HOUR


@pytest.mark.req("PXW-JOB-019")
async def test_a_job_that_has_not_ended_is_never_swept(bench: Bench) -> None:
    bench.farm.card = PAINTER
    jobs = await bench.open(max_resident=0, retain_s=1, dedupe_s=1, retain_bytes=1)
    data = painted()
    await bench.send("star", data)
    bench.wall += 10**12
    await jobs._sweeper.sweep()
    assert (await bench.status("star")).state == "queued"
    assert bench.files == [data]


async def test_attachments_stay_as_long_as_the_results(bench: Bench) -> None:
    bench.farm.card = PAINTER
    jobs = await bench.open(max_resident=0, retain_s=3600, dedupe_s=7200)
    data = painted()
    await bench.send("star", data)
    await bench.cancel("star")
    bench.wall += HOUR - 1
    await jobs._sweeper.sweep()
    assert isinstance(await bench.begin("moon", attachment("image", data)), Submitted)  # known: not sent again
    bench.wall += 1
    await jobs._sweeper.sweep()
    assert bench.files == [data]  # for the moon
    await bench.cancel("moon")
    bench.wall += HOUR
    await jobs._sweeper.sweep()
    assert bench.files == []
    upload = await bench.begin("sun", attachment("image", data))
    assert isinstance(upload, Upload)
    upload.abort()


async def test_shared_images_stay_until_their_last_job_goes(bench: Bench) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "first", seed=7)
    bench.wall += HOUR // 2
    await done(bench, "second", seed=7)
    bench.wall += HOUR // 2
    await jobs._sweeper.sweep()
    assert await answers(bench, "first") == {ErrorCode.JOB_EXPIRED}
    assert await bench.image("second") == picture(7)
    bench.wall += HOUR // 2
    await jobs._sweeper.sweep()
    assert images(bench) == []


@pytest.mark.req("PXW-JOB-021")
async def test_when_room_is_short_the_oldest_results_go_whole(bench: Bench) -> None:
    size = len(picture(0))
    jobs = await bench.open(retain_bytes=4 * size)
    for n in range(4):
        await done(bench, f"job-{n}", seed=10 * n, count=2)
        bench.wall += 1
    await jobs._sweeper.sweep()
    assert await answers(bench, "job-0") | await answers(bench, "job-1") == {ErrorCode.JOB_EXPIRED}
    assert len(images(bench)) == 4
    for n in (2, 3):
        assert [await bench.image(f"job-{n}", i) for i in range(2)] == [picture(10 * n + i) for i in range(2)]


@pytest.mark.req("PXW-JOB-020")
async def test_an_image_that_is_being_fetched_is_read_to_its_end(bench: Bench) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "star", seed=1)
    opened = await bench.jobs.artifact("anonymous", "star", 0)
    bench.wall += HOUR
    await jobs._sweeper.sweep()
    assert images(bench) == []
    assert opened.read() == picture(1)
    opened.close()


async def test_a_fetch_that_comes_while_the_job_goes_is_told_so(bench: Bench) -> None:
    """Found in time, and the file removed before it was opened."""
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "star", seed=1)
    real = jobs._store.artifacts.open

    def late(etag: str) -> Any:
        bench.wall += HOUR
        next(path for path in (bench.data_dir / "artifacts").rglob(etag)).unlink()
        return real(etag)

    jobs._store.artifacts.kept, jobs._store.artifacts.open = lambda etag: None, late
    assert await code(jobs.artifact("anonymous", "star", 0)) is ErrorCode.JOB_EXPIRED


async def test_a_lost_file_is_no_expired_job(bench: Bench) -> None:
    await bench.open()
    status = await done(bench, "star", seed=1)
    next(path for path in (bench.data_dir / "artifacts").rglob(status.artifacts[0].etag)).unlink()
    with pytest.raises(RequestError) as caught:
        await bench.jobs.artifact("anonymous", "star", 0)
    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


async def test_the_same_image_made_while_the_old_one_goes_is_there(bench: Bench) -> None:
    """Its file is stored, or found, before the journal says that a job refers to it."""
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "old", seed=7)
    await bench.submit("new", seed=7)
    await bench.farm.until(lambda: any(task.prompt == "new" for task in bench.engine.tasks.values()))
    bench.wall += HOUR
    real, sweeps = jobs._store.journal.update, []

    async def swept(arguments: Any) -> Any:
        await jobs._sweeper.sweep()  # between the image and the entry
        sweeps.append(images(bench))
        return await real(*arguments)

    jobs._store.journal.update = lambda *arguments: asyncio.ensure_future(swept(arguments))
    follower = await bench.follow("new")
    bench.engine.finish("new")
    await follower.until("succeeded")
    assert sweeps == [[picture(7)]]
    assert await answers(bench, "old") == {ErrorCode.JOB_EXPIRED}
    assert await bench.image("new") == picture(7)


async def test_many_go_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 3)
    jobs = await bench.open(max_resident=0, retain_s=3600, dedupe_s=7200)
    for n in range(10):
        await bench.submit(f"job-{n}")
        await bench.cancel(f"job-{n}")
        bench.wall += 1
    bench.wall += HOUR - 2
    commits = jobs._store.journal.commits
    await jobs._sweeper.sweep()
    assert jobs._store.journal.commits - commits == 3  # of 3, 3 and 3; the last of the ten has a millisecond
    assert (await bench.status("job-9")).state == "cancelled"
    assert await answers(bench, "job-8") == {ErrorCode.JOB_EXPIRED}
    bench.wall += HOUR + 1
    await jobs._sweeper.sweep()
    assert {tuple(await answers(bench, f"job-{n}")) for n in range(10)} == {(ErrorCode.JOB_NOT_FOUND,)}
    rows = jobs._store.journal._reader.execute("SELECT count(*) FROM job").fetchone()
    assert rows == (0,)


async def test_jobs_without_files_do_not_hide_those_that_take_the_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 2)
    jobs = await bench.open(retain_bytes=1)
    for n in range(5):
        await bench.submit(f"failed-{n}")
        follower = await bench.follow(f"failed-{n}")
        await bench.farm.until(lambda n=n: any(t.prompt == f"failed-{n}" for t in bench.engine.tasks.values()))
        bench.engine.fail(f"failed-{n}", FailureKind.PIPELINE_ERROR)
        await follower.until("failed")
        bench.wall += 1
    await done(bench, "star")
    await jobs._sweeper.sweep()
    assert images(bench) == []
    assert (await bench.status("failed-0")).state == "failed"


async def test_a_sweep_that_the_disk_refuses_comes_again(bench: Bench) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "star", seed=1)
    bench.wall += HOUR
    connection = jobs._store.journal._writer._connection
    await jobs._store.journal._writer.submit(lambda c: c.execute("PRAGMA query_only = ON"))
    with pytest.raises(Exception, match="readonly"):
        await jobs._sweeper.sweep()
    assert len(images(bench)) == 1  # the journal refers to it still
    connection.execute("PRAGMA query_only = OFF")
    await jobs._sweeper.sweep()
    assert images(bench) == []


async def test_what_a_crash_left_of_a_sweep_is_removed_at_the_start(bench: Bench) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "star", seed=1)
    await jobs._store.journal.expire([1], bench.wall)
    await jobs.close()
    assert len(images(bench)) == 1
    await bench.open()
    assert images(bench) == []
    assert await answers(bench, "star") == {ErrorCode.JOB_EXPIRED}


async def test_tombstones_outlive_a_restart_and_the_sweeper_runs_by_itself(bench: Bench) -> None:
    jobs = await bench.open(retain_s=3600, dedupe_s=7200)
    await done(bench, "star", seed=1)
    await jobs.close()
    bench.wall += HOUR
    jobs = await bench.open(retain_s=3600, dedupe_s=7200, sweep_s=0.01)
    async with asyncio.timeout(SECONDS):
        while images(bench):  # it sweeps at the start, without being asked
            await jobs._store.journal.flush()
    assert await answers(bench, "star") == {ErrorCode.JOB_EXPIRED}


def test_the_module_is_pure() -> None:
    assert not {"asyncio", "time", "logging", "sqlite3"} & set(vars(retention))
