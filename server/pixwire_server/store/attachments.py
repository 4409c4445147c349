"""What clients send along with their requests, as files (see `blobs.py`).

The bytes go to temporary files while they come, and their sha256 is computed on the way. Each file is flushed and
inspected when its last byte has come; all get their names together, when the last of them is whole.
"""

import asyncio
import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from .blobs import BlobFolder
from .errors import MismatchError, StoreUnavailableError, from_os
from .lane import Lane
from .ports import ATTACHMENTS, FileRef

THREADS = 4
"""Enough to keep a disk busy; an upload that waits for its client holds none."""

T = TypeVar("T")
Inspect = Callable[[int, Path], T]
Data = bytes | bytearray | memoryview


class AttachmentFiles:
    """The AttachmentStore of one machine. Construct and `close` it off the loop's thread, call it from the loop's."""

    def __init__(self, data_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.folder = BlobFolder(data_dir / ATTACHMENTS)
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, "pixwire-attachments")

    def receive(self, files: Sequence[FileRef], inspect: Inspect[T]) -> "ArrivingFiles[T]":
        return ArrivingFiles(_Parts(self.folder, files, inspect), Lane(self._threads, self._loop))

    def adopt(self, files: Sequence[FileRef], inspect: Inspect[T]) -> asyncio.Future[list[T] | None]:
        return self._loop.run_in_executor(self._threads, partial(self._adopt, files, inspect))

    def release(self, files: Sequence[FileRef]) -> None:
        self.folder.release([file.name for file in files])

    def path(self, name: str) -> Path:
        return self.folder.path(name)

    def close(self) -> None:
        """Finish what was begun. Blocks. May be called again."""
        self._threads.shutdown()

    def _adopt(self, files: Sequence[FileRef], inspect: Inspect[T]) -> list[T] | None:
        names = [file.name for file in files]
        self.folder.hold(names)
        found = None
        try:
            if all(self.folder.has(file.name, file.size) for file in files):
                found = [inspect(index, self.path(file.name)) for index, file in enumerate(files)]
        except OSError as error:
            raise from_os(error, "an attachment cannot be read") from error
        finally:
            if found is None:
                self.folder.release(names)
        return found


class ArrivingFiles(Generic[T]):
    """See `ports.Arrival`. Lives in the event loop; its work is done in threads, one call at a time."""

    def __init__(self, parts: "_Parts[T]", lane: Lane) -> None:
        self._parts = parts
        self._lane = lane
        self._discarding: asyncio.Future[None] | None = None

    def write(self, data: Data) -> asyncio.Future[None]:
        self._parts.waiting.append(data)
        return self._lane.call(self._parts.write_next)

    def seal(self) -> asyncio.Future[list[T]]:
        return self._lane.call(self._parts.seal)

    def discard(self) -> asyncio.Future[None]:
        if self._discarding is None:
            self._parts.unwanted = True
            self._parts.waiting.clear()  # their credit has gone back: they must not fill the memory of a slow disk
            self._discarding = self._lane.call(self._parts.discard)
            self._discarding.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._discarding


class _Parts(Generic[T]):
    """The files of one request while they come. Blocks; used by one thread at a time."""

    def __init__(self, folder: BlobFolder, files: Sequence[FileRef], inspect: Inspect[T]) -> None:
        self.unwanted = False
        """Set from the loop: nothing needs to be done any more but to `discard`."""
        self.waiting: deque[Data] = deque()
        """What came and is to be written; filled and cleared by the loop, emptied here."""
        self._folder = folder
        self._files = files
        self._inspect = inspect
        self._found: list[T] = []
        self._whole: list[Path] = []
        self._part: _Part | None = None
        self._failure: Exception | None = None
        self._holding = False

    def write_next(self) -> None:
        """Write the first of `waiting`."""
        self._guarded(self._write_next)

    def seal(self) -> list[T]:
        self._guarded(self._seal)
        return self._found

    def discard(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part.path.unlink(missing_ok=True)
            self._part = None
        for path in self._whole:
            path.unlink(missing_ok=True)
        self._whole.clear()
        if self._holding:
            self._holding = False
            self._folder.release([file.name for file in self._files])

    def _guarded(self, work: Callable[[], None]) -> None:
        """The first failure is that of everything after it."""
        if self._failure is None:
            try:
                if self.unwanted:
                    raise StoreUnavailableError("the upload was given up")
                work()
            except OSError as error:
                self._failure = from_os(error, "an attachment cannot be stored")
                self._failure.__cause__ = error
            except Exception as error:
                self._failure = error
        if self._failure is not None:
            raise self._failure

    def _write_next(self) -> None:
        try:
            data = memoryview(self.waiting.popleft()).cast("B")
        except IndexError:
            raise StoreUnavailableError("the upload was given up") from None
        while data:
            if len(self._whole) == len(self._files):
                raise ValueError(f"{len(data)} bytes more than were announced")
            if self._part is None:
                self._part = _Part(self._folder.temporary(), self._files[len(self._whole)])
            data = self._part.take(data)
            if not self._part.missing:
                self._complete(self._part)

    def _complete(self, part: "_Part") -> None:
        index = len(self._whole)
        part.flush()
        part.close()
        if part.sha256() != part.file.name:
            raise MismatchError(index, part.file.name, part.sha256())
        self._found.append(self._inspect(index, part.path))
        self._whole.append(part.path)
        self._part = None

    def _seal(self) -> None:
        if len(self._whole) < len(self._files):
            raise ValueError(f"file {len(self._whole)} is not complete")
        names = [file.name for file in self._files]
        self._folder.hold(names)
        self._holding = True
        for path, name in zip(self._whole, names, strict=True):
            self._folder.place(path, name)
        self._folder.sync(names)


class _Part:
    """One file while it comes."""

    def __init__(self, path: Path, file: FileRef) -> None:
        self.path = path
        self.file = file
        self.missing = file.size
        self._sum = hashlib.sha256()
        self._out: BinaryIO = path.open("xb")

    def take(self, data: memoryview) -> memoryview:
        """Write what belongs to this file; the rest."""
        mine = data[: self.missing]
        self._out.write(mine)
        self._sum.update(mine)
        self.missing -= len(mine)
        return data[len(mine) :]

    def flush(self) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())

    def close(self) -> None:
        """Also after a failed write, whose rest cannot be flushed either."""
        with contextlib.suppress(OSError):
            self._out.close()

    def sha256(self) -> str:
        return self._sum.hexdigest()
