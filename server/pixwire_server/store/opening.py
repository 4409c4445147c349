"""Opens everything that lives in one data directory, and closes it in the right order."""

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from .artifacts import ArtifactFiles
from .attachments import AttachmentFiles
from .errors import StoreOpenError
from .journal import Journal
from .keeper import Keeper
from .lock import DataDirLock
from .ports import ARTIFACTS, ATTACHMENTS, JobRow


@dataclass(frozen=True, slots=True)
class Store:
    """A locked data directory with its journal and files, and what the journal held when it was opened."""

    journal: Journal
    artifacts: ArtifactFiles
    attachments: AttachmentFiles
    keeper: Keeper
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
        self.attachments.close()
        self.keeper.close()
        self.journal.close()
        self.lock.close()


async def open_store(data_dir: Path) -> Store:
    """Lock and open `data_dir`, creating it when it is new; files that belong to no job are removed.

    Raises StoreOpenError (DataDirBusyError, JournalUnusableError) with a text for the operator; nothing is held or
    changed then.
    """
    try:
        return await asyncio.to_thread(_open, data_dir, asyncio.get_running_loop())
    except OSError as error:  # a full disk, a folder of another user: whatever the parts did not foresee
        raise StoreOpenError(
            f"the data directory {data_dir} cannot be used: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. "
            "Make room or rights for it, or choose another one with --data-dir."
        ) from error


def _open(data_dir: Path, loop: asyncio.AbstractEventLoop) -> Store:
    with contextlib.ExitStack() as undo:
        lock = DataDirLock(data_dir)
        undo.callback(lock.close)
        journal = Journal(data_dir, loop)
        undo.callback(journal.close)
        undo.callback(journal.refuse)
        artifacts, attachments = ArtifactFiles(data_dir, loop), AttachmentFiles(data_dir, loop)
        folders = {ARTIFACTS: artifacts.folder, ATTACHMENTS: attachments.folder}
        keeper = Keeper(journal.new_reader(), folders, loop)
        undo.callback(keeper.close)
        keeper.sweep()
        unfinished = list(journal.unfinished())
        store = Store(journal, artifacts, attachments, keeper, lock, unfinished, journal.last_position())
        undo.pop_all()
        return store
