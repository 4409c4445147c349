"""One server per data directory: an advisory lock that the kernel gives back when the process ends, however it ends."""

import contextlib
import fcntl
import os
from pathlib import Path

from .errors import DataDirBusyError, StoreOpenError

LOCK_NAME = "lock"


class DataDirLock:
    """Holds the exclusive lock of `data_dir` from construction to `close`. Creates the directory (mode 0700: prompts
    are private).

    Raises DataDirBusyError when another process holds it, StoreOpenError when the directory cannot be made or written.
    """

    def __init__(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file: int | None = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreOpenError(
                f"the data directory {data_dir} cannot be used: {error.strerror}. "
                "Choose one that this user may write with --data-dir."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            self.close()
            raise DataDirBusyError(
                f"the data directory {data_dir} is in use by another pixwire server (process {holder or 'unknown'}). "
                "Stop that one first, or give this one its own with --data-dir."
            ) from error
        except OSError as error:
            self.close()
            raise StoreOpenError(
                f"the data directory {data_dir} cannot be locked: {error.strerror}. "
                "Choose one on a file system that can lock files with --data-dir."
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the number is only for the message above
            os.ftruncate(self._file, 0)
            os.write(self._file, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """Release the lock. The file stays: removing it would let two servers lock two different files of the same
        name.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None
