"""The journal: the JobStore of one machine, a SQLite file in write-ahead mode that flushes every commit
(`synchronous=FULL`).

Writes go through one group-committing thread. Reads have a connection and a thread of their own: they never wait for
a flush, and go on while the disk is full.

Exactly one connection writes and checkpoints. That is on purpose: SQLite before 3.51.3 can lose commits when one
connection checkpoints while another resets the log (sqlite.org/wal.html, "the WAL-reset bug"), so the checkpoint stays
with the writer, although it makes one commit in some hundreds slower.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from . import schema
from .errors import StoreUnavailableError, reading
from .ports import Entered, FileRef, JobRow
from .writer import GroupWriter

JOURNAL_NAME = "journal.sqlite3"

T = TypeVar("T")

_COLUMNS = ", ".join(JobRow._fields)
_MARKS = ", ".join("?" for _ in JobRow._fields)
_INSERT = f"INSERT INTO job ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (principal, job) DO NOTHING"  # noqa: S608
_TOGETHER = 64, 32, 16, 8, 4, 2, 1
"""Rows of one statement: few different ones, which SQLite has prepared then."""
_IS_THERE = "SELECT 1 FROM job WHERE position = ? AND principal = ? AND job = ?"
_FIND = f"SELECT {_COLUMNS} FROM job WHERE principal = ? AND job = ?"  # noqa: S608
# Without the hint SQLite may prefer to read all jobs that ever were, because these are in order.
_UNFINISHED = f"SELECT {_COLUMNS} FROM job INDEXED BY job_waiting WHERE finished_ms IS NULL ORDER BY position"  # noqa: S608
_UPDATE = """
    UPDATE job SET state = ?, seq = ?, attempt = ?, finished_ms = ?, cancel_reason = ?, detail = ?
    WHERE position = ? AND seq < ? AND finished_ms IS NULL
"""
_RAISE_SEQ = "UPDATE job INDEXED BY job_waiting SET seq = seq + ? WHERE finished_ms IS NULL"
_REFER = "INSERT OR IGNORE INTO file (position, folder, name, size) VALUES (?, ?, ?, ?)"
_OWNS = """
    SELECT 1 FROM file JOIN job USING (position) WHERE folder = ? AND name = ? AND size = ? AND principal = ? LIMIT 1
"""
# One state at a time, and those that have not ended by themselves: then an index gives the rows in their order, and no
# row is looked at in vain. Which states are ends is not known here, so each is asked for in both.
_PAGES = tuple(
    f"""
    SELECT {_COLUMNS} FROM job WHERE principal = ? AND state = ? AND position < ? AND {which}
    ORDER BY position DESC LIMIT ?
"""  # noqa: S608
    for which in ("finished_ms IS NULL", "finished_ms IS NOT NULL AND gone_ms IS NULL")
)
_TAGGED = f"""
    SELECT {", ".join(f"job.{name}" for name in JobRow._fields)} FROM tag CROSS JOIN job USING (position)
    WHERE tag.principal = ? AND tag.tag = ? AND tag.position < ? AND job.state IN (SELECT value FROM json_each(?))
        AND job.gone_ms IS NULL
    ORDER BY tag.position DESC LIMIT ?
"""  # noqa: S608
_TAG = "INSERT OR IGNORE INTO tag (principal, tag, position) VALUES (?, ?, ?)"
_UNTAG = "DELETE FROM tag WHERE position = ?"
_EXPIRE = """
    UPDATE job SET gone_ms = ?, params = '{}', detail = '{}', attachments = '[]', terms = '{}', cancel_reason = NULL,
        traceparent = NULL, tracestate = NULL
    WHERE position = ? AND finished_ms IS NOT NULL AND gone_ms IS NULL
"""
_FORGET = "DELETE FROM job WHERE position = ? AND finished_ms IS NOT NULL"
_DROP_FILES = "DELETE FROM file WHERE position = ? RETURNING folder, name, size"
_NEEDED = "SELECT 1 FROM file WHERE folder = ? AND name = ? LIMIT 1"
_LAST_POSITION = """
    SELECT max(coalesce((SELECT max(position) FROM job), 0),
               coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_position'), 0))
"""
_KEEP_LAST_POSITION = f"INSERT OR REPLACE INTO meta VALUES ('last_position', CAST(({_LAST_POSITION}) AS TEXT))"  # noqa: S608


class Journal:
    """The SQLite JobStore.

    Construct it and `close` it off the loop's thread (both wait for the disk), call it from the loop's.
    """

    def __init__(self, data_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path = data_dir / JOURNAL_NAME
        writer, self._reader = schema.open_journal(self._path)
        self.server_id = schema.server_id(self._reader)
        self.secret = schema.secret(self._reader)
        self._loop = loop
        self._writer = GroupWriter(writer, loop)
        self._reads = ThreadPoolExecutor(1, "pixwire-journal-read")
        self._closed = False

    @property
    def commits(self) -> int:
        """Transactions committed since the start; with `operations` the mean size of a group."""
        return self._writer.commits

    @property
    def operations(self) -> int:
        return self._writer.operations

    def create(
        self,
        row: JobRow,
        files: Collection[FileRef] = (),
        forgotten_ms: int | None = None,
        tags: Collection[str] = (),
    ) -> asyncio.Future[JobRow | None]:
        return self._writer.submit(_Creation(row, files, forgotten_ms, tags))

    def enter(
        self,
        told: Entered,
        row: JobRow,
        files: Collection[FileRef] = (),
        forgotten_ms: int | None = None,
        tags: Collection[str] = (),
    ) -> None:
        self._writer.enter(_Creation(row, files, forgotten_ms, tags), told)

    def update(self, row: JobRow, files: Collection[FileRef] = ()) -> asyncio.Future[bool]:
        return self._writer.submit(partial(_update, row, files))

    def raise_seq(self, by: int) -> asyncio.Future[None]:
        """Let the numbers of all jobs without an end go on so much higher: a start does not know which were told."""

        def raised(connection: sqlite3.Connection) -> None:
            connection.execute(_RAISE_SEQ, (by,))

        return self._writer.submit(raised)

    def expire(self, positions: Collection[int], now_ms: int) -> asyncio.Future[list[FileRef]]:
        return self._writer.submit(partial(_expire, positions, now_ms))

    def forget(self, positions: Collection[int]) -> asyncio.Future[list[FileRef]]:
        return self._writer.submit(partial(_forget, positions))

    def find(self, principal: str, job: str) -> asyncio.Future[JobRow | None]:
        return self._read(_find, principal, job)

    def page(
        self, principal: str, before: int, states: Collection[str], limit: int, tag: str | None = None
    ) -> asyncio.Future[list[JobRow]]:
        answer: asyncio.Future[list[JobRow]] = self._loop.create_future()

        def written(flushed: asyncio.Future[None]) -> None:
            if flushed.exception() is not None and self._closed:
                answer.set_exception(StoreUnavailableError("the journal is closed"))
            elif not answer.done():
                reading = self._read(_page, principal, before, states, limit, tag)
                reading.add_done_callback(partial(_pass_on, answer))

        self.flush().add_done_callback(written)
        return answer

    def owns(self, principal: str, files: Collection[FileRef]) -> asyncio.Future[bool]:
        return self._read(_owns, principal, files)

    def flush(self) -> asyncio.Future[None]:
        """Resolves when everything asked for before it is on disk or was refused."""
        return self._writer.submit(lambda connection: None)

    def unfinished(self) -> Iterator[JobRow]:
        """All jobs without an end, in order of arrival. Blocks: for the start, off the loop."""
        return (JobRow(*values) for values in self._reader.execute(_UNFINISHED))

    def last_position(self) -> int:
        """The highest position ever given (0 when there is none). Blocks, as `unfinished`."""
        return int(self._reader.execute(_LAST_POSITION).fetchone()[0])

    def new_reader(self) -> sqlite3.Connection:
        """One more connection that only reads; whoever asked for it closes it before the journal."""
        return schema.open_reader(self._path)

    def refuse(self) -> None:
        """Take no more writes: the first half of closing, for the loop's thread."""
        self._closed = True
        self._writer.refuse()

    def close(self) -> None:
        """Commit what waits and close the file, after `refuse`. Blocks: not for the loop's thread. May be repeated."""
        self._reads.shutdown()
        self._reader.close()
        self._writer.join()  # last, so that it folds the write-ahead log into the file: a reader cannot

    def _read(self, query: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._reads, reading, query, self._reader, *arguments)


@dataclass(slots=True)
class _Creation:
    """A new job, with what `JobStore.create` says. A `writer.Joint`."""

    row: JobRow
    files: Collection[FileRef]
    forgotten_ms: int | None
    tags: Collection[str]

    def __call__(self, connection: sqlite3.Connection) -> JobRow | None:
        row = self.row
        if connection.execute(_INSERT, row).rowcount != 1:
            existing = _find(connection, row.principal, row.job)
            if existing is None or not _is_over(existing, self.forgotten_ms):
                return existing
            # Of its files none is left but by accident: the next start sees to it.
            _forget([existing.position], connection)
            connection.execute(_INSERT, row)
        self._refer(connection)
        return None

    def with_others(self, others: Sequence["_Creation"], connection: sqlite3.Connection) -> list[JobRow | None]:
        every = [self, *others]
        results: list[JobRow | None] = []
        while every:
            size = next(size for size in _TOGETHER if size <= len(every))
            some, every = every[:size], every[size:]
            values = chain.from_iterable([one.row for one in some])
            if connection.execute(_inserts(size), tuple(values)).rowcount == size:
                for one in some:
                    one._refer(connection)
                results += [None] * size
            else:  # somebody's key was taken; those that went in are found by their position, which is theirs alone
                results += [None if one._is_there(connection) else one(connection) for one in some]
        return results

    def _is_there(self, connection: sqlite3.Connection) -> bool:
        row = self.row
        if connection.execute(_IS_THERE, (row.position, row.principal, row.job)).fetchone() is None:
            return False
        self._refer(connection)
        return True

    def _refer(self, connection: sqlite3.Connection) -> None:
        row = self.row
        if self.files:
            _refer(connection, row.position, self.files)
        if self.tags:
            connection.executemany(_TAG, [(row.principal, tag, row.position) for tag in self.tags])


@cache
def _inserts(rows: int) -> str:
    return _INSERT.replace(f"({_MARKS})", ", ".join([f"({_MARKS})"] * rows))


def _is_over(row: JobRow, forgotten_ms: int | None) -> bool:
    return row.finished_ms is not None and forgotten_ms is not None and row.finished_ms <= forgotten_ms


def _update(row: JobRow, files: Collection[FileRef], connection: sqlite3.Connection) -> bool:
    changes = (row.state, row.seq, row.attempt, row.finished_ms, row.cancel_reason, row.detail)
    written = connection.execute(_UPDATE, (*changes, row.position, row.seq)).rowcount == 1
    if files and written:
        _refer(connection, row.position, files)
    return written


def _refer(connection: sqlite3.Connection, position: int, files: Collection[FileRef]) -> None:
    connection.executemany(_REFER, [(position, file.folder, file.name, file.size) for file in files])


def _find(connection: sqlite3.Connection, principal: str, job: str) -> JobRow | None:
    values = connection.execute(_FIND, (principal, job)).fetchone()
    return None if values is None else JobRow(*values)


def _page(
    connection: sqlite3.Connection, principal: str, before: int, states: Collection[str], limit: int, tag: str | None
) -> list[JobRow]:
    if tag is not None:
        asked = principal, tag, before, json.dumps(list(states)), limit
        return [JobRow(*values) for values in connection.execute(_TAGGED, asked)]
    rows = [
        JobRow(*values)
        for state in states
        for query in _PAGES
        for values in connection.execute(query, (principal, state, before, limit))
    ]
    return sorted(rows, key=lambda row: row.position, reverse=True)[:limit]


def _owns(connection: sqlite3.Connection, principal: str, files: Collection[FileRef]) -> bool:
    return all(
        connection.execute(_OWNS, (file.folder, file.name, file.size, principal)).fetchone() is not None
        for file in files
    )


def _expire(positions: Collection[int], now_ms: int, connection: sqlite3.Connection) -> list[FileRef]:
    expired = [p for p in positions if connection.execute(_EXPIRE, (now_ms, p)).rowcount == 1]
    return _dropped(expired, connection)


def _forget(positions: Collection[int], connection: sqlite3.Connection) -> list[FileRef]:
    connection.execute(_KEEP_LAST_POSITION)  # a position is never given twice
    forgotten = [p for p in positions if connection.execute(_FORGET, (p,)).rowcount == 1]
    return _dropped(forgotten, connection)


def _dropped(positions: Collection[int], connection: sqlite3.Connection) -> list[FileRef]:
    """These jobs refer to nothing any more; the files that are not needed since."""
    connection.executemany(_UNTAG, [(p,) for p in positions])
    files = {FileRef(*values) for p in positions for values in connection.execute(_DROP_FILES, (p,)).fetchall()}
    return [file for file in files if connection.execute(_NEEDED, (file.folder, file.name)).fetchone() is None]


def _pass_on(answer: asyncio.Future[T], done: asyncio.Future[T]) -> None:
    error = done.exception()
    if answer.done():
        return
    if error is None:
        answer.set_result(done.result())
    else:
        answer.set_exception(error)
