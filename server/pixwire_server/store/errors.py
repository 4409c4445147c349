"""What a store can answer instead of a result.

StoreError                   an operation failed; nothing of it was kept
    StoreFullError           no room left (disk, quota, file size): worth trying again later
    StoreUnavailableError    the medium failed in another way (read-only, I/O error, closed)
MismatchError                the bytes of a file are not those that were announced
StoreOpenError               the store cannot be opened; the text is meant for the operator
    DataDirBusyError         another server works on this data directory
    JournalUnusableError     the journal file is foreign, damaged or newer than this program; it was left as it is
"""

import errno
import sqlite3
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_SQLITE = {sqlite3.SQLITE_FULL}


class StoreError(Exception):
    """An operation on the store failed and left nothing behind."""


class StoreFullError(StoreError):
    """There is no room for it now."""


class StoreUnavailableError(StoreError):
    """The medium refuses: read-only, I/O error, or the store is closed."""


class MismatchError(Exception):
    """The bytes of file `index` have another sha256 than was announced."""

    def __init__(self, index: int, expected: str, actual: str) -> None:
        super().__init__(f"file {index} has the sha256 {actual}, not {expected}")
        self.index = index
        self.expected = expected
        self.actual = actual


class StoreOpenError(Exception):
    """The store cannot be opened. `str()` says why and what to do about it."""


class DataDirBusyError(StoreOpenError):
    """Another process holds the lock of the data directory."""


class JournalUnusableError(StoreOpenError):
    """The journal is not ours, is damaged, or was written by a newer pixwire. The file was not touched."""


def from_sqlite(error: sqlite3.Error, what: str = "the journal cannot be written") -> StoreError:
    """The store error that says what `error` means to the caller."""
    # the low byte is the primary code, the rest says where it happened
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = StoreFullError if code in _FULL_SQLITE else StoreUnavailableError
    return kind(f"{what}: {error}")


def reading(query: Callable[..., T], *arguments: object) -> T:
    """What `query` finds in the journal. Raises StoreError when that cannot be read."""
    try:
        return query(*arguments)
    except sqlite3.Error as error:
        raise from_sqlite(error, "the journal cannot be read") from error


def from_os(error: OSError, what: str) -> StoreError:
    """The same for a file operation; `what` names it ("the image cannot be stored")."""
    kind = StoreFullError if error.errno in _FULL_ERRNOS else StoreUnavailableError
    return kind(f"{what}: {error.strerror or error}")
