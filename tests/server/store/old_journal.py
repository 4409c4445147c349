"""Journals as released versions made them. Not taken from the program: it is what lies on people's disks."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from pixwire_server.store.journal import JOURNAL_NAME

# pixwire 0.1.0
VERSION_1 = """
    PRAGMA application_id = 0x50585731;
    PRAGMA journal_mode = WAL;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE job (
        position      INTEGER PRIMARY KEY,
        principal     TEXT NOT NULL,
        job           TEXT NOT NULL,
        kind          TEXT NOT NULL,
        fingerprint   TEXT NOT NULL,
        params        TEXT NOT NULL,
        submitted_ms  INTEGER NOT NULL,
        state         TEXT NOT NULL,
        seq           INTEGER NOT NULL,
        attempt       INTEGER NOT NULL,
        finished_ms   INTEGER,
        cancel_reason TEXT,
        detail        TEXT NOT NULL,
        UNIQUE (principal, job)
    ) STRICT;
    CREATE INDEX job_unfinished ON job (position) WHERE finished_ms IS NULL;
    INSERT INTO meta VALUES ('server_id', '0123456789abcdef');
    PRAGMA user_version = 1;
"""


def make_version_1(data_dir: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """A data directory with a journal of version 1 that holds these rows, in the order of its columns."""
    data_dir.mkdir()
    with closing(sqlite3.connect(data_dir / JOURNAL_NAME)) as old:
        old.executescript(VERSION_1)
        old.executemany(f"INSERT INTO job VALUES ({', '.join('?' * 13)})", rows)
        old.commit()


VERSION_2 = """
    ALTER TABLE job ADD COLUMN attachments TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE job ADD COLUMN traceparent TEXT;
    ALTER TABLE job ADD COLUMN tracestate TEXT;
    ALTER TABLE job ADD COLUMN gone_ms INTEGER;
    CREATE INDEX job_listed ON job (principal, state, position) WHERE gone_ms IS NULL;
    CREATE INDEX job_ended ON job (finished_ms, position) WHERE finished_ms IS NOT NULL AND gone_ms IS NULL;
    CREATE INDEX job_gone ON job (finished_ms) WHERE gone_ms IS NOT NULL;
    CREATE TABLE file (
        position INTEGER NOT NULL,
        folder   TEXT NOT NULL,
        name     TEXT NOT NULL,
        size     INTEGER NOT NULL,
        PRIMARY KEY (position, folder, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX file_name ON file (folder, name, size);
    INSERT INTO meta VALUES ('secret', 'fedcba9876543210');
    INSERT INTO file VALUES (1, 'attachments', 'abcd', 7);
    UPDATE job SET attachments = '["a picture"]', traceparent = 'trace' WHERE position = 1;
    UPDATE job SET gone_ms = 9000 WHERE position = 2;
    PRAGMA user_version = 2;
"""


def make_version_2(data_dir: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """The same of version 2: of the jobs at position 1 and 2 the first has an attachment, the second is a tombstone."""
    make_version_1(data_dir, rows)
    with closing(sqlite3.connect(data_dir / JOURNAL_NAME)) as old:
        old.executescript(VERSION_2)
