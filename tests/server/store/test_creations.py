"""New jobs that come together go into the journal in few statements, each with its own answer."""

import asyncio
import sqlite3
from typing import Any

from pixwire_server.store import FileRef, Store
from pixwire_server.store.journal import JOURNAL_NAME


async def test_many_at_once_are_all_there_in_their_order(store: Store, row: Any) -> None:
    rows = [row(position) for position in range(1, 151)]
    assert await asyncio.gather(*(store.journal.create(one) for one in rows)) == [None] * 150
    assert store.journal.commits < 150
    found = [await store.journal.find("anonymous", f"job-{position}") for position in (1, 64, 65, 127, 150)]
    assert found == [rows[0], rows[63], rows[64], rows[126], rows[149]]


async def test_those_whose_key_is_taken_get_what_is_there_and_the_others_go_in(store: Store, row: Any) -> None:
    old = row(1, job="taken", fingerprint="a" * 64)
    over = row(2, job="over", state="failed", finished_ms=1_000)
    await asyncio.gather(store.journal.create(old), store.journal.create(over))
    new = [row(position) for position in range(3, 40)]
    new[5] = row(8, job="taken")
    new[9] = row(12, job="over")
    new[11] = row(14, job="over", finished_ms=None)  # in the same transaction as the one before it
    answers = await asyncio.gather(*(store.journal.create(one, forgotten_ms=2_000) for one in new))
    assert answers[5] == old
    assert answers[11] == new[9]
    assert [answer for number, answer in enumerate(answers) if number not in (5, 11)] == [None] * 35
    assert await store.journal.find("anonymous", "over") == new[9]
    assert await store.journal.find("anonymous", "job-20") == new[17]


async def test_files_and_tags_of_each_are_kept(store: Store, row: Any, tmp_path: Any) -> None:
    file = FileRef("attachments", "a" * 64, 5)
    plain = [store.journal.create(row(position)) for position in range(1, 9)]
    special = store.journal.create(row(9), [file], None, ["blue"])
    taken = store.journal.create(row(10, job="job-9"), [file], None, ["red"])
    await asyncio.gather(*plain, special, taken)
    assert (await taken).position == 9
    with sqlite3.connect(tmp_path / "data" / JOURNAL_NAME) as reader:
        assert reader.execute("SELECT position, name, size FROM file").fetchall() == [(9, "a" * 64, 5)]
        assert reader.execute("SELECT tag, position FROM tag").fetchall() == [("blue", 9)]
    reader.close()
