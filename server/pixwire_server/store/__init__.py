"""Where jobs, images and attachments outlive the process: the ports (`ports.py`) and their implementation for one
machine, SQLite and files.
"""

from .artifacts import ArtifactFiles
from .attachments import AttachmentFiles
from .errors import (
    DataDirBusyError,
    JournalUnusableError,
    MismatchError,
    StoreError,
    StoreFullError,
    StoreOpenError,
    StoreUnavailableError,
    from_os,
)
from .journal import Journal
from .keeper import Keeper
from .lock import DataDirLock
from .opening import Store, open_store
from .ports import (
    ARTIFACTS,
    ATTACHMENTS,
    Arrival,
    ArtifactStore,
    AttachmentStore,
    Blob,
    EndedRow,
    FileRef,
    JobRow,
    JobStore,
    Retained,
)
from .stored_file import FilePart

__all__ = [
    "ARTIFACTS",
    "ATTACHMENTS",
    "Arrival",
    "ArtifactFiles",
    "ArtifactStore",
    "AttachmentFiles",
    "AttachmentStore",
    "Blob",
    "DataDirBusyError",
    "DataDirLock",
    "EndedRow",
    "FilePart",
    "FileRef",
    "JobRow",
    "JobStore",
    "Journal",
    "JournalUnusableError",
    "Keeper",
    "MismatchError",
    "Retained",
    "Store",
    "StoreError",
    "StoreFullError",
    "StoreOpenError",
    "StoreUnavailableError",
    "from_os",
    "open_store",
]
