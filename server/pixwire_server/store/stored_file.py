"""An open file of the store, read by position: never mapped, so a file that someone cuts short is an error, not a
signal, and its bytes can go from the kernel's cache into a socket without passing through this process.

The descriptor belongs to the object and is closed with it, when nothing refers to it any more: while a part of it waits
to be sent, its number cannot come to mean another file.
"""

import os
from pathlib import Path
from typing import Self

from .errors import StoreUnavailableError, from_os


class StoredFile:
    """The bytes that a file had when it was opened. They can be read after it was removed, too."""

    __slots__ = ("__weakref__", "_descriptor", "size")

    def __init__(self, path: Path) -> None:
        """Raises OSError; FileNotFoundError when there is none."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # it could be opened
            os.close(self._descriptor)

    def part(self, start: int, stop: int) -> "FilePart":
        """The bytes from `start` up to, not including, `stop`; those that there are."""
        stop = min(stop, self.size)
        return FilePart(self, start, max(0, stop - start))

    @property
    def current(self) -> bool:
        """Whether it is still as long as it was, and was not removed or replaced."""
        facts = os.fstat(self._descriptor)
        return facts.st_size == self.size and facts.st_nlink > 0

    def read(self, offset: int, size: int) -> bytes:
        """Raises StoreError when they are not there any more."""
        try:
            data = os.pread(self._descriptor, size, offset)
            while len(data) < size and (more := os.pread(self._descriptor, size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise from_os(error, "the image cannot be read") from error
        if len(data) < size:
            raise _shortened(self.size, offset + len(data))
        return data

    def send(self, socket: int, offset: int, size: int) -> int:
        """Hand the kernel up to `size` bytes for the socket of this number; how many it took, at least one.

        Raises BlockingIOError when it takes none now, StoreError when there are none, OSError.
        """
        sent = os.sendfile(socket, self._descriptor, offset, size)
        if not sent:
            raise _shortened(self.size, offset)
        return sent


class FilePart:
    """Some bytes of a stored file, to be sent (`pixwire_protocol.source.Source`). Keeps the file open."""

    __slots__ = ("_file", "_offset", "nbytes")

    def __init__(self, file: StoredFile, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self.nbytes = size

    def __len__(self) -> int:
        return self.nbytes

    def __getitem__(self, part: slice) -> Self:
        start, stop, _ = part.indices(self.nbytes)
        return type(self)(self._file, self._offset + start, max(0, stop - start))

    def tobytes(self) -> bytes:
        """Raises StoreError."""
        return self._file.read(self._offset, self.nbytes)

    def send_to(self, socket: int) -> int:
        """See `StoredFile.send`."""
        return self._file.send(socket, self._offset, self.nbytes)


def _shortened(was: int, now: int) -> StoreUnavailableError:
    return StoreUnavailableError(f"the file of an image had {was} bytes and ends after {now} now")
