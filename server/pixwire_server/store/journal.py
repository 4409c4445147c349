"""The journal: the JobStore of one machine, a SQLite file in write-ahead mode that flushes every commit
(`synchronous=FULL`).

Writes go through one group-committing thread. Reads have a connection and a thread of their own: they never wait for
a flush, and go on while the disk is full.

Exactly one connection writes and checkpoints. That is on purpose: SQLite before 3.51.3 can lose commits when one
connection checkpoints while another resets the log (sqlite.org/wal.html, "the WAL-reset bug"), so the checkpoint stays
with the writer, although it makes one commit in some hundreds slower.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path

from . import schema
from .ports import JobRow
from .writer import GroupWriter

JOURNAL_NAME = "journal.sqlite3"

_values = attrgetter(*(field.name for field in fields(JobRow)))
_COLUMNS = ", ".join(field.name for field in fields(JobRow))
_MARKS = ", ".join("?" for _ in fields(JobRow))
_INSERT = f"INSERT INTO job ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (principal, job) DO NOTHING"  # noqa: S608
_FIND = f"SELECT {_COLUMNS} FROM job WHERE principal = ? AND job = ?"  # noqa: S608
_UNFINISHED = f"SELECT {_COLUMNS} FROM job WHERE finished_ms IS NULL ORDER BY position"  # noqa: S608
_UPDATE = """
    UPDATE job SET state = ?, seq = ?, attempt = ?, finished_ms = ?, cancel_reason = ?, detail = ?
    WHERE position = ? AND seq < ? AND finished_ms IS NULL
"""


class Journal:
    """The SQLite JobStore.

    Construct it and `close` it off the loop's thread (both wait for the disk), call it from the loop's.
    """

    def __init__(self, data_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        writer, self._reader = schema.open_journal(data_dir / JOURNAL_NAME)
        self.server_id = schema.server_id(self._reader)
        self._loop = loop
        self._writer = GroupWriter(writer, loop)
        self._reads = ThreadPoolExecutor(1, "pixwire-journal-read")

    @property
    def commits(self) -> int:
        """Transactions committed since the start; with `operations` the mean size of a group."""
        return self._writer.commits

    @property
    def operations(self) -> int:
        return self._writer.operations

    def create(self, row: JobRow) -> asyncio.Future[JobRow | None]:
        return self._writer.submit(partial(_create, row))

    def update(self, row: JobRow) -> asyncio.Future[bool]:
        return self._writer.submit(partial(_update, row))

    def find(self, principal: str, job: str) -> asyncio.Future[JobRow | None]:
        return self._loop.run_in_executor(self._reads, _find, self._reader, principal, job)

    def flush(self) -> asyncio.Future[None]:
        """Resolves when everything asked for before it is on disk or was refused."""
        return self._writer.submit(lambda connection: None)

    def unfinished(self) -> Iterator[JobRow]:
        """All jobs without an end, in order of arrival. Blocks: for the start, off the loop."""
        return (JobRow(*values) for values in self._reader.execute(_UNFINISHED))

    def last_position(self) -> int:
        """The highest position ever given (0 when there is none). Blocks, as `unfinished`."""
        return int(self._reader.execute("SELECT coalesce(max(position), 0) FROM job").fetchone()[0])

    def refuse(self) -> None:
        """Take no more writes: the first half of closing, for the loop's thread."""
        self._writer.refuse()

    def close(self) -> None:
        """Commit what waits and close the file, after `refuse`. Blocks: not for the loop's thread. May be repeated."""
        self._reads.shutdown()
        self._reader.close()
        self._writer.join()  # last, so that it folds the write-ahead log into the file: a reader cannot


def _create(row: JobRow, connection: sqlite3.Connection) -> JobRow | None:
    if connection.execute(_INSERT, _values(row)).rowcount == 1:
        return None
    return _find(connection, row.principal, row.job)


def _update(row: JobRow, connection: sqlite3.Connection) -> bool:
    changes = (row.state, row.seq, row.attempt, row.finished_ms, row.cancel_reason, row.detail)
    return connection.execute(_UPDATE, (*changes, row.position, row.seq)).rowcount == 1


def _find(connection: sqlite3.Connection, principal: str, job: str) -> JobRow | None:
    values = connection.execute(_FIND, (principal, job)).fetchone()
    return None if values is None else JobRow(*values)
