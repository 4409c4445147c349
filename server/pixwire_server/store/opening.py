"""Opens everything that lives in one data directory, and closes it in the right order."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from .artifacts import ArtifactFiles
from .journal import Journal
from .lock import DataDirLock
from .ports import JobRow


@dataclass(frozen=True, slots=True)
class Store:
    """A locked data directory with its journal and images, and what the journal held when it was opened."""

    journal: Journal
    artifacts: ArtifactFiles
    lock: DataDirLock
    unfinished: list[JobRow]
    """The jobs without an end, in order of arrival."""
    last_position: int

    async def close(self) -> None:
        """Commit and finish what was asked for, then give the directory back. May be called again."""
        self.journal.refuse()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.artifacts.close()
        self.journal.close()
        self.lock.close()


async def open_store(data_dir: Path) -> Store:
    """Lock and open `data_dir`, creating it when it is new.

    Raises StoreOpenError (DataDirBusyError, JournalUnusableError) with a text for the operator; nothing is held or
    changed then.
    """
    return await asyncio.to_thread(_open, data_dir, asyncio.get_running_loop())


def _open(data_dir: Path, loop: asyncio.AbstractEventLoop) -> Store:
    lock = DataDirLock(data_dir)
    try:
        journal = Journal(data_dir, loop)
        try:
            return Store(
                journal, ArtifactFiles(data_dir, loop), lock, list(journal.unfinished()), journal.last_position()
            )
        except BaseException:
            journal.refuse()
            journal.close()
            raise
    except BaseException:
        lock.close()
        raise
