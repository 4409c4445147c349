"""The look back: what is kept and how long already, and the removal of files that nobody needs.

With a thread and a reading connection of its own, so that neither requests nor commits wait for it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from .blobs import BlobFolder
from .errors import reading
from .ports import EndedRow, FileRef

_log = logging.getLogger(__name__)

_ENDED = """
    SELECT position, principal, job, finished_ms FROM job
    WHERE finished_ms IS NOT NULL AND gone_ms IS NULL AND (finished_ms, position) > (?, ?)
    ORDER BY finished_ms, position LIMIT ?
"""
_FILES = """
    SELECT folder, name, size, (SELECT count(*) FROM file AS other WHERE other.folder = mine.folder
                                AND other.name = mine.name)
    FROM file AS mine WHERE position = ?
"""
_BYTES_WITH_REPEATS = "SELECT coalesce(sum(size), 0) FROM file"
_BYTES = """
    SELECT coalesce(sum(size), 0) FROM (
        SELECT DISTINCT folder, name, size FROM file JOIN job USING (position) WHERE finished_ms IS NOT NULL)
"""
_TOMBSTONES = """
    SELECT position FROM job WHERE gone_ms IS NOT NULL AND finished_ms <= ? ORDER BY finished_ms LIMIT ?
"""
_NAMES = "SELECT name FROM file WHERE folder = ? AND name >= ? AND name < ?"
_NEEDED = "SELECT 1 FROM file WHERE folder = ? AND name = ? LIMIT 1"


class Keeper:
    """See `ports.Retained`. Construct and `close` it off the loop's thread, call it from the loop's."""

    def __init__(
        self, reader: sqlite3.Connection, folders: Mapping[str, BlobFolder], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._reader = reader
        self._folders = folders
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "pixwire-keeper")

    def ended(self, after: tuple[int, int], limit: int) -> asyncio.Future[list[EndedRow]]:
        return self._loop.run_in_executor(self._thread, reading, self._ended, after, limit)

    def bytes_kept(self, more_than: int) -> asyncio.Future[int]:
        return self._loop.run_in_executor(self._thread, reading, self._bytes_kept, more_than)

    def tombstones(self, before_ms: int, limit: int) -> asyncio.Future[list[int]]:
        return self._loop.run_in_executor(self._thread, reading, self._tombstones, before_ms, limit)

    def collect(self, files: Iterable[FileRef]) -> asyncio.Future[int]:
        return self._loop.run_in_executor(self._thread, reading, self._collect, tuple(files))

    def sweep(self) -> None:
        """Remove every file that no job refers to. Blocks: for the start, before anything else uses the folders."""
        for name, folder in self._folders.items():
            if removed := folder.sweep(partial(self._names, name)):
                _log.info("store: %d files in %s that belong to no job are removed", removed, name)

    def close(self) -> None:
        """Finish what was asked for. Blocks. May be called again."""
        self._thread.shutdown()
        self._reader.close()

    def _names(self, folder: str, prefix: str) -> set[str]:
        return {
            row[0] for row in self._reader.execute(_NAMES, (folder, prefix, prefix + "g"))
        }  # "g" follows all digits

    def _ended(self, after: tuple[int, int], limit: int) -> list[EndedRow]:
        rows = self._reader.execute(_ENDED, (*after, limit)).fetchall()
        return [
            EndedRow(position, principal, job, finished_ms, self._files(position))
            for position, principal, job, finished_ms in rows
        ]

    def _files(self, position: int) -> tuple[tuple[FileRef, int], ...]:
        return tuple((FileRef(*row[:3]), row[3]) for row in self._reader.execute(_FILES, (position,)))

    def _bytes_kept(self, more_than: int) -> int:
        bound = int(self._reader.execute(_BYTES_WITH_REPEATS).fetchone()[0])
        return bound if bound <= more_than else int(self._reader.execute(_BYTES).fetchone()[0])

    def _tombstones(self, before_ms: int, limit: int) -> list[int]:
        return [row[0] for row in self._reader.execute(_TOMBSTONES, (before_ms, limit))]

    def _collect(self, files: tuple[FileRef, ...]) -> int:
        removed = 0
        for file in files:
            try:
                removed += self._folders[file.folder].remove(file.name, partial(self._needed, file))
            except OSError as error:  # it stays until the next start
                _log.warning("store: the file %s cannot be removed: %s", file.name, error.strerror)
        return removed

    def _needed(self, file: FileRef) -> bool:
        return self._reader.execute(_NEEDED, (file.folder, file.name)).fetchone() is not None
