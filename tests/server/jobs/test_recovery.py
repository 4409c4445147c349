"""What a restart finds: every accepted job, in its order, and every finished image. A copy of the data directory, taken
while the server works, is what `kill -9` at that moment leaves behind.
"""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixwire_protocol.params import fingerprint
from pixwire_server.jobs import StartupError
from pixwire_server.jobs.model import RECOVERY_GAP
from pixwire_server.store import Journal, StoreFullError

from ..store.old_journal import make_version_1
from .conftest import CARD, picture


async def crash(bench: Any, copy: Path) -> Path:
    """A copy of the data directory as it is now."""
    shutil.copytree(bench.data_dir, copy, ignore=shutil.ignore_patterns("lock"))
    return copy


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.req("PXW-JOB-004")
async def test_every_accepted_job_comes_back_in_its_order(bench: Any, tmp_path: Path) -> None:
    jobs = await bench.open(max_resident=2)
    for name in "abcdef":
        await bench.submit(name)
    await bench.farm.running("a", "b")
    first = await bench.follow("a", "progress")
    for step in range(1, 9):
        bench.engine.step("a", step)
    await bench.cancel("e")
    last_told = first.events[-1].seq
    await jobs._ledger.flush()
    copy = await crash(bench, tmp_path / "copy")
    await bench.open(copy, max_resident=2)
    await bench.farm.running("a", "b")
    a, c = await bench.status("a"), await bench.status("c")
    assert (a.state, a.attempt, a.seed) == ("running", 2, 100)
    assert (c.state, c.attempt, c.queue_position, c.seed) == ("queued", 1, 1, 300)
    assert a.seq > last_told
    assert a.seq > RECOVERY_GAP
    assert [(await bench.status(name)).queue_position for name in "cdf"] == [1, 2, 3]
    assert (await bench.status("e")).state == "cancelled"
    bench.engine.finish("a")
    assert (await (await bench.follow("a")).until("succeeded")).attempt == 2
    assert await bench.image("a") == picture(100)
    assert (await bench.submit("g")).status.queue_position == 3  # behind d and f, c has started


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.req("PXW-JOB-013")
async def test_finished_jobs_and_images_are_still_there(bench: Any, tmp_path: Path) -> None:
    await bench.open()
    await bench.submit("star", count=3)
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.finish("star")
    before = await follower.until("succeeded")
    copy = await crash(bench, tmp_path / "copy")  # at the moment the client was told
    jobs = await bench.open(copy)
    assert jobs.queued == 0
    assert await bench.status("star", with_params=False) == before
    assert [await bench.image("star", i) for i in range(3)] == [picture(100 + i) for i in range(3)]
    again = await bench.submit("star", count=3)
    assert (again.duplicate, again.status.state) == (True, "succeeded")
    assert bench.engine.tasks == {}


@pytest.mark.req("PXW-JOB-003")
async def test_a_job_survives_at_every_moment_of_its_life(bench: Any, tmp_path: Path) -> None:
    """Copies taken at each commit: none has lost the job, and each of them ends with the same image."""
    copies: list[Path] = []
    jobs = await bench.open()
    update = jobs._store.journal.update

    def copying(*arguments: Any) -> Any:
        future = update(*arguments)
        future.add_done_callback(lambda done: take())
        return future

    def take() -> None:
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(bench.data_dir, copies[-1], ignore=shutil.ignore_patterns("lock"))

    jobs._store.journal.update = copying
    await bench.submit("star")
    take()
    follower = await bench.follow("star")
    await bench.farm.running("star")
    bench.engine.exit(-9)
    await bench.farm.until(lambda: len(bench.farm.engines) == 2)
    await bench.farm.running("star")
    bench.engine.finish("star")
    await follower.until("succeeded")
    await jobs._ledger.flush()
    assert len(copies) == 5
    attempts, expected = [], []
    for copy in copies:
        with closing(sqlite3.connect(copy / "journal.sqlite3")) as kept:
            state, attempt = kept.execute("SELECT state, attempt FROM job").fetchone()
        expected.append(attempt + (state == "running"))
        await bench.open(copy)
        again = await bench.follow("star")
        if not again.watch.snapshot.state.terminal:
            await bench.farm.running("star")
            bench.engine.finish("star")
            await again.until("succeeded")
        attempts.append((await bench.status("star")).attempt)
        assert await bench.image("star") == picture(100)
    assert attempts == expected


async def test_restarts_count_as_attempts(bench: Any, tmp_path: Path) -> None:
    jobs = await bench.open(max_resident=1)
    await bench.submit("star")
    for number in range(3):
        await bench.farm.running("star")
        await jobs._ledger.flush()
        copy = await crash(bench, tmp_path / f"copy-{number}")
        jobs = await bench.open(copy, max_resident=1)
        bench.data_dir = copy
    status = await bench.status("star")
    assert (status.state, status.attempt, status.error.name) == ("failed", 3, "WORKER_LOST")
    assert status.seq > 3 * RECOVERY_GAP
    assert bench.engine.tasks == {}
    assert not (await bench.submit("moon")).duplicate


async def test_what_a_start_decides_is_on_disk_before_anybody_can_ask(bench: Any, tmp_path: Path) -> None:
    """Numbers that may have been told, attempts and ends: the next start must not decide anew."""
    jobs = await bench.open(max_resident=1)
    for name in ("ran", "waited"):
        await bench.submit(name)
    await bench.farm.running("ran")
    await jobs._ledger.flush()
    crashed = await crash(bench, tmp_path / "crashed")
    ended = await crash(bench, tmp_path / "ended")

    def rows(data_dir: Path) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(data_dir / "journal.sqlite3")) as kept:
            query = "SELECT job, state, attempt, finished_ms IS NOT NULL FROM job ORDER BY position"
            assert all(seq > RECOVERY_GAP for (seq,) in kept.execute("SELECT seq FROM job"))
            return kept.execute(query).fetchall()

    await bench.open(crashed, max_resident=0)
    assert rows(crashed) == [("ran", "queued", 2, 0), ("waited", "queued", 1, 0)]
    await bench.open(ended, max_resident=0, max_attempts=1)
    assert rows(ended) == [("ran", "failed", 1, 1), ("waited", "queued", 1, 0)]


@pytest.mark.req("PXW-REQ-020")
async def test_a_cancel_that_was_acknowledged_outlives_the_server(bench: Any, tmp_path: Path) -> None:
    await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")
    assert (await bench.cancel("star", "enough")).state == "running"
    await bench.open(await crash(bench, tmp_path / "copy"))
    status = await bench.status("star")
    assert (status.state, status.error.message) == ("cancelled", "enough")
    assert bench.engine.tasks == {}


async def test_jobs_for_another_model_fail_with_a_reason(bench: Any) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("old")
    await jobs.close()
    bench.farm.card = replace(CARD, name="other/model")
    jobs = await bench.open()
    await bench.submit("new")
    await bench.farm.running("new")
    status = await bench.status("old")
    assert (status.state, status.error.name) == ("failed", "INVALID_ARGUMENT")
    assert "'other/model'" in status.error.message


async def test_an_orderly_end_counts_no_attempt(bench: Any) -> None:
    jobs = await bench.open()
    await bench.submit("star")
    await bench.farm.running("star")
    await jobs.close()
    await bench.open()
    await bench.farm.running("star")
    status = await bench.status("star")
    assert (status.state, status.attempt) == ("running", 1)


async def test_a_journal_that_cannot_be_written_stops_the_start(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await bench.open(max_resident=0)
    await bench.submit("star")
    await jobs.close()

    def full(self: Any, *arguments: Any) -> Any:
        failing = self._loop.create_future()
        failing.set_exception(StoreFullError("database or disk is full"))
        return failing

    monkeypatch.setattr(Journal, "raise_seq", full)
    with pytest.raises(StartupError, match="cannot be taken up: database or disk is full"):
        await bench.open()
    monkeypatch.undo()
    await bench.open()
    await bench.farm.running("star")


async def test_a_busy_or_foreign_data_directory_is_a_startup_error(bench: Any, tmp_path: Path) -> None:
    await bench.open()
    with pytest.raises(StartupError, match="in use by another pixwire server"):
        await bench.open()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "journal.sqlite3").write_text("dear diary")
    with pytest.raises(StartupError, match="is not a pixwire journal"):
        await bench.open(foreign)
    assert (foreign / "journal.sqlite3").read_text() == "dear diary"


async def test_the_server_keeps_its_name(bench: Any) -> None:
    first = await bench.open()
    await first.close()
    assert (await bench.open()).server_id == first.server_id


OLD_PARAMS = (
    '{"prompt":"%s","negative_prompt":"","model":"test/model","width":64,"height":128,"steps":20,'
    '"guidance_scale":5.0,"seed":100,"count":1,"media_type":"image/png"}'
)
OLD_DETAIL = '{"step":%d,"steps":20,"artifacts":[%s],"error":%s,"timings":{},"engine":{}}'
OLD_IMAGE = '{"artifact":0,"etag":"%s","size":1280,"media_type":"image/png","width":64,"height":128,"seed":100}'
OLD_ERROR = '{"code":1026,"name":"PIPELINE_ERROR","message":"it broke","retry":"no"}'


def old_row(bench: Any, position: int, name: str, state: str, detail: str, finished: int | None) -> tuple[Any, ...]:
    key = (position, "anonymous", name, "txt2img", fingerprint("txt2img", bench.tail(name)))
    return (*key, OLD_PARAMS % name, bench.wall - 9000, state, 3, 1, finished, None, detail)


@pytest.mark.req("PXW-JOB-003")
async def test_the_jobs_of_a_version_1_server_are_taken_up(bench: Any) -> None:
    """Rows as pixwire 0.1.0 wrote them: finished ones with their images, and those it left in the middle."""
    ended, etag = bench.wall - 5000, hashlib.sha256(picture(100)).hexdigest()
    rows = [
        old_row(bench, 1, "done", "succeeded", OLD_DETAIL % (20, OLD_IMAGE % etag, "null"), ended),
        old_row(bench, 2, "broken", "failed", OLD_DETAIL % (7, "", OLD_ERROR), ended),
        old_row(bench, 3, "ran", "running", OLD_DETAIL % (9, "", "null"), None),
        old_row(bench, 4, "waited", "queued", OLD_DETAIL % (0, "", "null"), None),
    ]
    make_version_1(bench.data_dir, rows)
    image = bench.data_dir / "artifacts" / etag[:2] / etag
    image.parent.mkdir(parents=True)
    image.write_bytes(picture(100))
    jobs = await bench.open()
    await bench.farm.running("ran", "waited")
    assert await bench.image("done") == picture(100)
    assert (await bench.status("broken")).error.message == "it broke"
    assert [(await bench.status(name)).attempt for name in ("ran", "waited")] == [2, 1]
    assert (await bench.submit("done")).duplicate
    page = await jobs.list_jobs("anonymous", 9)
    assert [(job.job, job.artifacts) for job in page.jobs] == [("waited", 0), ("ran", 0), ("broken", 0), ("done", 1)]
    assert (await bench.status("done")).retain_ms == 86_400_000 - 5000
    bench.wall += 86_400_000
    await jobs._sweeper.sweep()
    assert not image.exists()
