"""Files named by the sha256 of their bytes: `FOLDER/ab/abcdef...`.

A file appears under its name only when it is whole and on disk (temporary name, fsync, rename, fsync of the
directory), so whoever finds one may use it. Storing the same bytes again costs no second file.

Who decides that a file is needed is the journal, which hears of it later than the disk. In between the file is *held*:
a held file is never removed, and one that is being removed cannot be held until it is gone, and is then stored again.
"""

import hashlib
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from .errors import StoreOpenError
from .schema import sync_directory

TEMPORARY_NAME = "tmp"

_FOLDER, _NAME = re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{64}")


class BlobFolder:
    """One folder of such files. Its methods block, except `path` and `release`; any thread may call them."""

    def __init__(self, directory: Path, on_removed: Callable[[str], None] = lambda name: None) -> None:
        """`on_removed` is called with the name of each file that `remove` has removed, in its thread."""
        self._directory = directory.absolute()
        self._on_removed = on_removed
        self._temporary = self._directory / TEMPORARY_NAME
        self._holds: Counter[str] = Counter()
        self._removing: set[str] = set()
        self._changed = threading.Condition()
        self._making = threading.Lock()
        try:
            self._temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
            for half in self._temporary.iterdir():
                half.unlink()  # of a start that was cut short
            for directory in (self._directory, self._directory.parent):
                sync_directory(directory)  # a run that was cut short may have made folders
        except OSError as error:
            raise StoreOpenError(f"the directory {self._directory} cannot be used: {error.strerror}") from error

    def path(self, name: str) -> Path:
        return self._directory / name[:2] / name

    def temporary(self) -> Path:
        """A name for a file that is not whole yet."""
        return self._temporary / secrets.token_hex(16)

    def has(self, name: str, size: int) -> bool:
        """Whether there is a file of this name, and as long as it should be."""
        try:
            return self.path(name).stat().st_size == size
        except FileNotFoundError:
            return False

    def hold(self, names: Iterable[str]) -> None:
        """Let nobody remove these, whether they are there or will be; waits for a removal that is under way."""
        with self._changed:
            for name in names:
                while name in self._removing:
                    self._changed.wait()
                self._holds[name] += 1

    def release(self, names: Iterable[str]) -> None:
        """Take one hold back from each. Removes nothing."""
        with self._changed:
            for name in names:
                self._holds[name] -= 1
                if self._holds[name] <= 0:
                    del self._holds[name]

    def place(self, temporary: Path, name: str) -> None:
        """Give a whole file, flushed to disk, its name. `sync` makes the name durable."""
        path = self.path(name)
        with self._making:  # who finds the folder there may rely on it: it is not only made, but on disk
            if not path.parent.exists():
                path.parent.mkdir(exist_ok=True, mode=0o700)
                sync_directory(self._directory)
        temporary.rename(path)

    def sync(self, names: Iterable[str]) -> None:
        """Make the names of these files durable."""
        for directory in {self.path(name).parent for name in names}:
            sync_directory(directory)

    def remove(self, name: str, needed: Callable[[], bool]) -> bool:
        """Remove the file unless it is held or `needed` says otherwise; whether it was removed.

        `needed` is asked when no hold can be there any more: every hold of before has led to an entry in the journal,
        or to nothing.
        """
        with self._changed:
            if name in self._holds or name in self._removing:
                return False
            self._removing.add(name)
        try:
            if needed():
                return False
            self.path(name).unlink(missing_ok=True)
            self._on_removed(name)
            return True
        finally:
            with self._changed:
                self._removing.remove(name)
                self._changed.notify_all()

    def sweep(self, needed: Callable[[str], Container[str]]) -> int:
        """Remove all files that are not needed; how many. `needed` gives the needed names that begin with two digits.

        Only for the start: asks for no holds. What does not look like one of ours is left alone.
        """
        removed = 0
        try:
            for folder in self._directory.iterdir():
                if _FOLDER.fullmatch(folder.name) and folder.is_dir():
                    names = needed(folder.name)
                    for file in folder.iterdir():
                        if _NAME.fullmatch(file.name) and file.name not in names:
                            file.unlink()
                            removed += 1
        except OSError as error:
            raise StoreOpenError(f"the directory {self._directory} cannot be used: {error.strerror}") from error
        return removed


def digest(data: bytes | memoryview) -> str:
    """The name that these bytes have."""
    return hashlib.sha256(data).hexdigest()


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """A new file with these bytes, flushed to disk; nothing is left of one that could not be written."""
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
