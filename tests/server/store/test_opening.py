"""Opening a data directory: new ones are made, foreign and damaged ones are refused and left as they were."""

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pixwire_server.store import (
    ARTIFACTS,
    DataDirBusyError,
    DataDirLock,
    FileRef,
    JobRow,
    JournalUnusableError,
    StoreOpenError,
    open_store,
    schema,
)
from pixwire_server.store.journal import JOURNAL_NAME

ROW = JobRow(1, "anonymous", "a", "txt2img", "f", "x" * 9000, 0, "queued", 1, 1)


async def a_journal(data_dir: Path) -> Path:
    """Make a journal with one job and close it."""
    store = await open_store(data_dir)
    await store.journal.create(ROW)
    await store.close()
    return data_dir / JOURNAL_NAME


def contents(data_dir: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and path.name != "lock"
    }


async def refused(data_dir: Path) -> str:
    """Opening is refused as unusable, changes no file and gives the lock back; the text."""
    before = contents(data_dir)
    with pytest.raises(JournalUnusableError) as caught:
        await open_store(data_dir)
    assert contents(data_dir) == before
    DataDirLock(data_dir).close()
    assert "left as it is" in str(caught.value)
    assert JOURNAL_NAME in str(caught.value)
    return str(caught.value)


async def test_a_new_directory_is_made_and_private(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "deep" / "data")
    assert (store.unfinished, store.last_position) == ([], 0)
    assert (tmp_path / "deep" / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep" / "data" / JOURNAL_NAME).stat().st_mode & 0o777 == 0o600
    await store.close()
    await store.close()  # harmless


async def test_a_second_opening_finds_what_the_first_kept(tmp_path: Path) -> None:
    first = await open_store(tmp_path)
    await first.journal.create(ROW)
    await first.close()
    second = await open_store(tmp_path)
    assert (second.unfinished, second.last_position) == ([ROW], 1)
    assert second.journal.server_id == first.journal.server_id
    await second.close()


async def test_the_directory_belongs_to_one(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    with pytest.raises(DataDirBusyError, match=f"process {os.getpid()}") as caught:
        await open_store(tmp_path)
    assert "--data-dir" in str(caught.value)
    await store.close()
    await (await open_store(tmp_path)).close()


async def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, signal; from pixwire_server.store import DataDirLock\n"
        "lock = DataDirLock(pathlib.Path(sys.argv[1])); print('held', flush=True); signal.pause()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(DataDirBusyError, match=f"process {holder.pid}"):
        DataDirLock(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    DataDirLock(tmp_path).close()


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreOpenError, match="cannot be used: Not a directory"):
        await open_store(tmp_path / "file" / "data")


async def test_a_directory_whose_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    DataDirLock(tmp_path).close()  # only the note about who holds it is missing
    monkeypatch.setattr(schema, "open_journal", full)
    with pytest.raises(StoreOpenError, match=r"No space left on device\. Make room"):
        await open_store(tmp_path)


async def test_a_file_system_without_locks_is_told_apart_from_a_busy_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(StoreOpenError, match="cannot be locked: No locks available"):
        DataDirLock(tmp_path)


@pytest.mark.parametrize("found", [b"", b"dear diary\n", b"SQLite format 3\x00 but not really", bytes(4096)])
async def test_a_foreign_file_is_refused(tmp_path: Path, found: bytes) -> None:
    (tmp_path / JOURNAL_NAME).write_bytes(found)
    assert "is not a pixwire journal" in await refused(tmp_path)


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as other:
        other.execute("CREATE TABLE job (mine)")
    assert "is not a pixwire journal" in await refused(tmp_path)


async def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    path = await a_journal(tmp_path)
    with closing(sqlite3.connect(path)) as future:
        future.execute("PRAGMA user_version = 99")
        future.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "newer pixwire (journal version 99" in await refused(tmp_path)


async def test_a_newer_journal_that_was_killed_before_its_log_was_folded_in_is_refused(tmp_path: Path) -> None:
    path = await a_journal(tmp_path / "newer")
    with closing(sqlite3.connect(path)) as future:
        future.execute("PRAGMA user_version = 99")
        shutil.copytree(path.parent, tmp_path / "killed")
    with pytest.raises(JournalUnusableError, match="journal version 99"):
        await open_store(tmp_path / "killed")


@pytest.mark.parametrize("damage", ["page", "truncated"])
async def test_a_damaged_journal_is_refused(tmp_path: Path, damage: str) -> None:
    path = await a_journal(tmp_path)
    whole = path.read_bytes()
    broken = whole[:4096] + b"\xa5" * 4096 + whole[8192:] if damage == "page" else whole[: len(whole) // 2]
    path.write_bytes(broken)
    assert "is damaged" in await refused(tmp_path)


async def test_a_damaged_journal_with_a_log_is_refused(tmp_path: Path) -> None:
    """As after kill -9: what was written last is in the log beside the file."""
    store = await open_store(tmp_path)
    await store.journal.create(ROW)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (JOURNAL_NAME, JOURNAL_NAME + "-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    await store.close()
    whole = (copy / JOURNAL_NAME).read_bytes()
    (copy / JOURNAL_NAME).write_bytes(whole[:4096] + b"\xa5" * 4096 + whole[8192:])
    before = contents(copy)
    with pytest.raises(JournalUnusableError, match="is damaged"):
        await open_store(copy)
    after = contents(copy)
    after.pop(JOURNAL_NAME + "-shm", None)  # an index of the log, made by whoever reads it
    assert after == before


async def test_the_log_of_a_journal_that_was_moved_away_is_not_taken_for_that_of_a_new_one(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "data")
    await store.journal.create(ROW)
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    await store.close()
    killed = tmp_path / "killed"
    (killed / JOURNAL_NAME).rename(tmp_path / "away")
    assert "belongs to a journal that is not there" in await refused(killed)
    (killed / f"{JOURNAL_NAME}-wal").rename(tmp_path / "away-wal")
    new = await open_store(killed)
    assert (new.unfinished, new.last_position) == ([], 0)
    await new.close()


async def test_an_interrupted_creation_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "journal.new").write_bytes(b"half")
    (tmp_path / "journal.new-journal").write_bytes(b"half")
    await (await open_store(tmp_path)).close()
    assert not list(tmp_path.glob("*.new*"))


async def test_an_older_journal_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await a_journal(tmp_path)
    newer = (*schema.MIGRATIONS, "ALTER TABLE job ADD COLUMN note TEXT; UPDATE job SET note = 'moved'")
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    store = await open_store(tmp_path)
    assert store.unfinished == [ROW]
    await store.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (len(newer),)
        assert other.execute("SELECT note FROM job").fetchone() == ("moved",)


async def test_a_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await a_journal(tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "DELETE FROM job; SELECT no_such_column"))
    with pytest.raises(StoreOpenError, match=r"cannot be opened: .*\. Make room or rights for it"):
        await open_store(tmp_path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM job").fetchone() == (1,)
    await (await open_store(tmp_path)).close()


async def test_orphans_of_an_interrupted_write_are_removed(tmp_path: Path) -> None:
    await a_journal(tmp_path)
    orphans = [tmp_path / folder / "tmp" / "0123" for folder in ("artifacts", "attachments")]
    for orphan in orphans:
        orphan.write_bytes(b"half an image")
    store = await open_store(tmp_path)
    assert not any(orphan.exists() for orphan in orphans)
    await store.close()


async def test_files_that_no_job_refers_to_are_removed_and_foreign_ones_are_not(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    [kept, lost] = await store.artifacts.put([b"kept", b"lost"])
    await store.journal.create(ROW, [FileRef(ARTIFACTS, kept, 4)])
    await store.close()
    foreign = [tmp_path / "artifacts" / "notes.txt", tmp_path / "artifacts" / kept[:2] / "README"]
    for file in foreign:
        file.write_text("an operator's")
    store = await open_store(tmp_path)
    assert [store.artifacts.folder.has(name, 4) for name in (kept, lost)] == [True, False]
    assert all(file.exists() for file in foreign)
    await store.close()


async def test_nothing_is_held_when_opening_fails_late(tmp_path: Path) -> None:
    await a_journal(tmp_path)
    threads = {task.get_name() for task in asyncio.all_tasks()}
    artifacts = tmp_path / "artifacts"
    artifacts.rename(tmp_path / "moved")
    artifacts.write_text("in the way")
    with pytest.raises(StoreOpenError, match="artifacts"):
        await open_store(tmp_path)
    artifacts.unlink()
    await (await open_store(tmp_path)).close()
    assert {task.get_name() for task in asyncio.all_tasks()} == threads
