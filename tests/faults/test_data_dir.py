"""Data directories that a server must not touch: the whole server refuses them, says why, and leaves every byte."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crashing import CrashServer, NotStartedError, Nursery
from story import Lamp, Story
from wire_user import WireUser


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which names the process that looked last."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def lit() -> Lamp:
    lamp = Lamp()
    lamp.set(True)
    return lamp


async def test_a_directory_in_use_is_refused_with_the_process_that_has_it(nursery: Nursery, tmp_path: Path) -> None:
    first = await CrashServer(nursery, tmp_path).start()
    (tmp_path / "second").mkdir()
    second = CrashServer(nursery, tmp_path / "second")
    second.data_dir = first.data_dir
    with pytest.raises(NotStartedError, match=rf"in use by another pixwire server \(process {first.pid}\).*--data-dir"):
        await second.start()
    await Story("job", "the first goes on").live(first.socket, lit().up)
    await first.kill()
    await second.start()  # the lock died with its holder
    user = await WireUser.connect(second.socket)
    assert (await user.status("job"))["state"] == "succeeded"
    await user.close()
    assert await second.stop() == 0


def foreign(journal: Path) -> None:
    journal.write_bytes(b"dear diary")


def newer(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as file:
        file.execute("PRAGMA user_version = 99")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damaged(journal: Path) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole[:4096] + b"\xa5" * 4096 + whole[8192:])


@pytest.mark.parametrize(
    ("harm", "message"),
    [(foreign, "is not a pixwire journal"), (newer, "written by a newer pixwire"), (damaged, "is damaged")],
)
async def test_a_journal_that_is_not_ours_is_left_as_it_is(
    nursery: Nursery, tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    server = await CrashServer(nursery, tmp_path).start()
    await Story("job", "what is at stake").live(server.socket, lit().up)
    assert await server.stop() == 0
    journal = server.data_dir / "journal.sqlite3"
    whole = journal.read_bytes()
    harm(journal)
    before = contents(server.data_dir)
    with pytest.raises(NotStartedError, match=message) as refused:
        await server.start()
    assert str(journal) in str(refused.value)
    assert "left as it is" in str(refused.value)
    assert "ended with 1:" in str(refused.value)
    assert contents(server.data_dir) == before, "also the image, which no job of this journal refers to"
    journal.write_bytes(whole)
    await server.start()
    user = await WireUser.connect(server.socket)
    assert (await user.status("job"))["state"] == "succeeded"
    await user.close()
    assert await server.stop() == 0
