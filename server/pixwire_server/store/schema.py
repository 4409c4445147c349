"""The journal file: its layout, its versions, and how one is created, checked and opened.

A file is recognised by SQLite's `application_id`, its layout by `user_version`. A new file is built under another
name and renamed when it is complete, so a file that lacks its identification was not made by an interrupted start: it
is somebody else's, or damaged, and is refused untouched.
"""

import os
import secrets
import sqlite3
import struct
from pathlib import Path

from .errors import JournalUnusableError, StoreOpenError

APPLICATION_ID = 0x50585731
"""`PXW1` in ASCII, at offset 68 of the file."""

BUSY_TIMEOUT_S = 5.0
"""How long an operator's own `sqlite3` may hold the write lock before a commit fails."""

MIGRATIONS: tuple[str, ...] = (
    # 0 -> 1
    """
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
    """,
    # 1 -> 2: attachments, trace context, retention, lists
    """
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
    INSERT INTO meta VALUES ('secret', lower(hex(randomblob(16))));
    INSERT OR IGNORE INTO file
        SELECT job.position, 'artifacts', json_extract(image.value, '$.etag'), json_extract(image.value, '$.size')
        FROM job, json_each(job.detail, '$.artifacts') AS image;
    """,
    # 2 -> 3: priorities, deadlines, tags
    """
    ALTER TABLE job ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';
    CREATE TABLE tag (
        principal TEXT NOT NULL,
        tag       TEXT NOT NULL,
        position  INTEGER NOT NULL,
        PRIMARY KEY (principal, tag, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tag_position ON tag (position);
    """,
    # 3 -> 4: a job is in one of the two indexes for lists, by whether it has ended: a new one in two of them less
    """
    DROP INDEX job_unfinished;
    DROP INDEX job_listed;
    CREATE INDEX job_waiting ON job (principal, state, position) WHERE finished_ms IS NULL;
    CREATE INDEX job_listed ON job (principal, state, position) WHERE finished_ms IS NOT NULL AND gone_ms IS NULL;
    """,
)
"""Script n brings a file from version n to n + 1. Scripts that were released never change."""

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_VERSION_OFFSET, _APPLICATION_OFFSET = 60, 68


def open_journal(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A writing and a reading connection to the journal at `path`, created when there is none and brought to the
    newest version.

    Raises JournalUnusableError, with the file untouched, for one that is not a whole pixwire journal of a known
    version.
    """
    try:
        if not path.exists():
            _check_alone(path)
            _create(path)
        _check(path)
        writer = _connect(path)
        try:
            _migrate(writer)
            writer.execute("PRAGMA journal_mode = WAL")
            return writer, open_reader(path)
        except BaseException:
            writer.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreOpenError(
            f"the journal {path} cannot be opened: {error}. Make room or rights for it and end what else has it open,"
            " or choose another directory with --data-dir."
        ) from error


def open_reader(path: Path) -> sqlite3.Connection:
    """One more reading connection to a journal that is open."""
    return _connect(path, "mode=ro")


def server_id(connection: sqlite3.Connection) -> str:
    """The name this journal gave its server when it was created."""
    return _meta(connection, "server_id")


def secret(connection: sqlite3.Connection) -> bytes:
    """What only this server knows, for sealing what it gives out."""
    return _meta(connection, "secret").encode()


def _meta(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _connect(path: Path, options: str = "mode=rw") -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync stops at the drive's cache
    return connection


def _create(path: Path) -> None:
    """Build the file aside with a rollback journal, so that everything is in the one file that is then renamed."""
    aside = path.with_suffix(".new")
    for leftover in (aside, aside.with_suffix(".new-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = _connect(aside)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection)
        connection.execute("INSERT INTO meta VALUES ('server_id', ?)", (secrets.token_hex(8),))
    finally:
        connection.close()
    aside.rename(path)
    sync_directory(path.parent)


def _check_alone(path: Path) -> None:
    """SQLite would take the log of a journal that was moved away for that of the new one, and mix the two."""
    log = _log_of(path)
    if log.exists() and log.stat().st_size:
        raise JournalUnusableError(
            f"{log} belongs to a journal that is not there any more. The file was left as it is: put {path.name} back "
            "beside it, or move it away, too."
        )


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _check(path: Path) -> None:
    keep = (
        "The file was left as it is: choose another directory with --data-dir, or move it away together with its log "
        "(-wal); a new journal knows none of the images beside it, and they are removed."
    )
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if (
        len(header) < _HEADER_BYTES
        or not header.startswith(_MAGIC)
        or _field(header, _APPLICATION_OFFSET) != APPLICATION_ID
    ):
        raise JournalUnusableError(f"{path} is not a pixwire journal. {keep}")
    version = _field(header, _VERSION_OFFSET)
    try:
        # Neither can change the file. Only with `immutable` are no companion files made, but it does not see a log.
        reader = _connect(path, "mode=ro" if _log_of(path).exists() else "immutable=1")
        try:
            version = int(reader.execute("PRAGMA user_version").fetchone()[0])  # of the log, if one is left
            verdict = str(reader.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            reader.close()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if version > len(MIGRATIONS):
        raise JournalUnusableError(
            f"{path} was written by a newer pixwire (journal version {version}, this one knows {len(MIGRATIONS)}): "
            f"install that one again. {keep}"
        )
    if verdict != "ok":
        raise JournalUnusableError(
            f"the journal {path} is damaged ({verdict.splitlines()[0]}). {keep} "
            "`sqlite3 FILE .recover` may save what is in it."
        )


def _field(header: bytes, offset: int) -> int:
    return int(struct.unpack_from("!I", header, offset)[0])


def _migrate(connection: sqlite3.Connection) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.Error:
            connection.rollback()  # the script is one transaction: the file keeps its old version
            raise


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable: a renamed file is only safe once its directory is."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
