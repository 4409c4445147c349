"""Where jobs and images outlive the process: two ports (`ports.py`) and their implementation for one machine, SQLite
and files.
"""

from .artifacts import ArtifactFiles
from .errors import (
    DataDirBusyError,
    JournalUnusableError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreUnavailableError,
)
from .journal import Journal
from .lock import DataDirLock
from .opening import Store, open_store
from .ports import ArtifactStore, Blob, JobRow, JobStore

__all__ = [
    "ArtifactFiles",
    "ArtifactStore",
    "Blob",
    "DataDirBusyError",
    "DataDirLock",
    "JobRow",
    "JobStore",
    "Journal",
    "JournalUnusableError",
    "Store",
    "StoreError",
    "StoreFullError",
    "StoreOpenError",
    "StoreUnavailableError",
    "open_store",
]
