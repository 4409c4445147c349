"""The journal on real files: what it acknowledges is on disk, what it refuses leaves nothing behind."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from pixwire_server.store import (
    ARTIFACTS,
    FileRef,
    JobRow,
    Journal,
    StoreFullError,
    StoreUnavailableError,
    open_store,
)
from pixwire_server.store.journal import JOURNAL_NAME


def row(position: int = 1, **fields: object) -> JobRow:
    first = JobRow(
        position=position,
        principal="anonymous",
        job=f"job-{position}",
        kind="txt2img",
        fingerprint="f" * 64,
        params='{"prompt": "star"}',
        submitted_ms=1_700_000_000_000,
        state="queued",
        seq=1,
        attempt=1,
    )
    return first._replace(**fields)  # type: ignore[arg-type]


def stored(data_dir: Path) -> list[tuple[str, str]]:
    """What another process would see: (job, state) in order."""
    with closing(sqlite3.connect(f"{(data_dir / JOURNAL_NAME).as_uri()}?mode=ro", uri=True)) as other:
        return list(other.execute("SELECT job, state FROM job ORDER BY position"))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await asyncio.to_thread(Journal, tmp_path, asyncio.get_running_loop())
    yield opened
    opened.refuse()
    await asyncio.to_thread(opened.close)


def hold(journal: Journal) -> threading.Event:
    """Stop the writer at the beginning of its next batch, so that what follows gathers; set the event to let it go."""
    gate, stopped = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> None:
        stopped.set()
        gate.wait()

    journal._writer.submit(wait)
    journal._writer._hand_over()  # as the end of this turn of the loop would do, which never comes while this waits
    stopped.wait()
    return gate


async def test_a_row_comes_back_as_it_was(journal: Journal) -> None:
    asked = row(7, cancel_reason="why", detail='{"a": 1}', finished_ms=12)
    assert await journal.create(asked) is None
    assert await journal.find("anonymous", "job-7") == asked
    assert await journal.find("somebody else", "job-7") is None
    assert await journal.find("anonymous", "job-8") is None


async def test_a_key_is_taken_once(journal: Journal) -> None:
    assert await journal.create(row(1)) is None
    assert await journal.create(row(2, job="job-1", fingerprint="other")) == row(1)
    assert await journal.find("anonymous", "job-1") == row(1)
    assert await journal.create(row(2, job="job-1", principal="another")) is None


async def test_an_update_must_be_newer_and_not_after_the_end(journal: Journal) -> None:
    await journal.create(row())
    running = row(state="running", seq=2, attempt=2)
    assert await journal.update(running)
    assert not await journal.update(row(state="queued", seq=2))
    assert not await journal.update(row(state="queued", seq=1))
    done = running._replace(state="succeeded", seq=9, finished_ms=5, detail='{"x": 2}')
    assert await journal.update(done)
    assert not await journal.update(done._replace(state="failed", seq=10))
    assert await journal.find("anonymous", "job-1") == done


async def test_numbers_are_raised_for_all_that_have_not_ended(journal: Journal) -> None:
    for n in (1, 2):
        await journal.create(row(n, seq=n))
    await journal.create(row(3, seq=3, state="failed", finished_ms=9))
    await journal.raise_seq(1000)
    found = [await journal.find("anonymous", f"job-{n}") for n in (1, 2, 3)]
    assert [one.seq for one in found if one is not None] == [1001, 1002, 3]
    assert not await journal.update(row(1, state="running", seq=1001))
    assert await journal.update(row(1, state="running", seq=1002))


async def test_an_acknowledged_row_is_on_disk(journal: Journal, tmp_path: Path) -> None:
    seen: list[list[tuple[str, str]]] = []
    future = journal.create(row())
    future.add_done_callback(lambda done: seen.append(stored(tmp_path)))
    await future
    await asyncio.sleep(0)
    assert seen == [[("job-1", "queued")]]


async def test_waiting_operations_share_one_commit(journal: Journal, tmp_path: Path) -> None:
    gate = hold(journal)
    futures = [journal.create(row(n)) for n in range(1, 65)]
    before = journal.commits
    gate.set()
    await asyncio.gather(*futures)
    assert journal.commits - before == 2  # the one that was held, and one for all 64
    assert journal.operations == 65
    assert stored(tmp_path) == [(f"job-{n}", "queued") for n in range(1, 65)]


async def test_operations_keep_their_order_within_a_group(journal: Journal) -> None:
    gate = hold(journal)
    futures = [journal.create(row()), journal.update(row(state="running", seq=2)), journal.create(row(2, job="job-1"))]
    gate.set()
    created, updated, existing = await asyncio.gather(*futures)
    assert (created, updated) == (None, True)
    assert isinstance(existing, JobRow)
    assert existing.state == "running"


async def test_a_bad_row_does_not_take_its_neighbours_along(journal: Journal, tmp_path: Path) -> None:
    gate = hold(journal)
    futures = [journal.create(row(1)), journal.create(row(1, job="same-position")), journal.create(row(2))]
    gate.set()
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreUnavailableError, type(None)]
    assert stored(tmp_path) == [("job-1", "queued"), ("job-2", "queued")]


async def test_a_full_disk_refuses_and_keeps_nothing_of_it(journal: Journal, tmp_path: Path) -> None:
    await journal.create(row(1))
    await journal._writer.submit(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone())  # the size it has
    gate = hold(journal)
    futures = [journal.create(row(n, params="x" * 10_000)) for n in range(2, 10)]
    gate.set()
    for result in await asyncio.gather(*futures, return_exceptions=True):
        assert isinstance(result, StoreFullError)
    assert stored(tmp_path) == [("job-1", "queued")]
    assert await journal.find("anonymous", "job-1") == row(1)  # reading goes on
    await journal._writer.submit(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await journal.create(row(2, params="x" * 10_000)) is None


async def test_a_read_only_medium_refuses(journal: Journal, tmp_path: Path) -> None:
    await journal._writer.submit(lambda c: c.execute("PRAGMA query_only = ON"))
    with pytest.raises(StoreUnavailableError, match="readonly"):
        await journal.create(row())
    assert stored(tmp_path) == []


async def test_a_medium_that_cannot_be_read_is_no_defect_of_the_program(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await asyncio.gather(*(store.journal.create(row(number, params="x" * 3000)) for number in range(1, 100)))
    await store.close()
    store = await open_store(tmp_path)
    os.truncate(tmp_path / JOURNAL_NAME, 60_000)
    asked = (
        store.journal.find("anonymous", "job-99"),
        store.journal.page("anonymous", 1000, ["queued"], 5),
        store.journal.owns("anonymous", [FileRef(ARTIFACTS, "0" * 64, 1)]),
        store.keeper.bytes_kept(0),
        store.keeper.ended((0, 0), 5),
    )
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, StoreUnavailableError), answer
        assert "the journal cannot be read" in str(answer)
    await store.close()


async def test_a_given_up_answer_is_carried_out_all_the_same(journal: Journal, tmp_path: Path) -> None:
    gate = hold(journal)
    given_up, kept = journal.create(row(1)), journal.create(row(2))
    given_up.cancel()
    gate.set()
    assert await kept is None
    assert stored(tmp_path) == [("job-1", "queued"), ("job-2", "queued")]


async def test_a_closed_journal_commits_what_waits_and_refuses_the_rest(tmp_path: Path) -> None:
    journal = await asyncio.to_thread(Journal, tmp_path, asyncio.get_running_loop())
    gate = hold(journal)
    waiting = journal.create(row(1))
    journal.refuse()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await journal.create(row(2))
    gate.set()
    await asyncio.to_thread(journal.close)
    assert await waiting is None
    await asyncio.to_thread(journal.close)  # harmless
    assert stored(tmp_path) == [("job-1", "queued")]


async def test_unfinished_jobs_in_order_and_the_last_position(journal: Journal) -> None:
    for n, finished in ((5, None), (2, None), (9, 1), (3, None)):
        await journal.create(row(n, finished_ms=finished))
    assert [r.position for r in await asyncio.to_thread(lambda: list(journal.unfinished()))] == [2, 3, 5]
    assert await asyncio.to_thread(journal.last_position) == 9


async def test_commits_are_flushed_and_written_ahead(journal: Journal) -> None:
    """The promise "accepted = on disk" stands on these two settings."""

    def pragma(name: str) -> object:
        return journal._writer._connection.execute(f"PRAGMA {name}").fetchone()[0]

    gate = hold(journal)  # the connection is the writer's; it is idle now
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    gate.set()


WRITER = """
import asyncio, sys
from pathlib import Path
from pixwire_server.store import Journal, JobRow

async def main():
    journal = Journal(Path(sys.argv[1]), asyncio.get_running_loop())
    def acknowledged(n):
        return lambda future: print(n, flush=True)
    for n in range(1, 100_000):
        row = JobRow(n, "anonymous", f"job-{n}", "txt2img", "f", "", 0, "queued", 1, 1)
        journal.create(row).add_done_callback(acknowledged(n))
        await asyncio.sleep(0)

asyncio.run(main())
"""


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    whole = ("".join(lines) + rest).rpartition("\n")[0].split()
    acknowledged = {f"job-{n}" for n in whole}
    assert len(acknowledged) >= 200
    journal = await asyncio.to_thread(Journal, tmp_path, asyncio.get_running_loop())
    kept = {r.job for r in await asyncio.to_thread(lambda: list(journal.unfinished()))}
    journal.refuse()
    await asyncio.to_thread(journal.close)
    assert acknowledged <= kept
