"""The images that jobs made, as files (see `blobs.py`)."""

import asyncio
import contextlib
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .blobs import BlobFolder, digest, write_whole
from .errors import from_os
from .ports import ARTIFACTS, Blob

THREADS = 2
"""Writes wait for the disk, not for the processor: two keep one slow flush from delaying the next image."""


class MappedFile:
    """The bytes of one file, read as they are used. See `ports.Blob`. They stay readable when the file is removed."""

    __slots__ = ("_map", "data")

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # an empty file cannot be mapped
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else None
        self.data = memoryview(self._map or b"")

    def close(self) -> None:
        self.data = memoryview(b"")
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a slice is still being sent: the last one to go unmaps it
                self._map.close()
            self._map = None


class ArtifactFiles:
    """The ArtifactStore of one machine. Construct and `close` it off the loop's thread, call it from the loop's."""

    def __init__(self, data_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.folder = BlobFolder(data_dir / ARTIFACTS)
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, "pixwire-artifacts")

    def put(self, images: Sequence[bytes | memoryview]) -> asyncio.Future[list[str]]:
        return self._loop.run_in_executor(self._threads, self._put, images)

    def release(self, names: Sequence[str]) -> None:
        self.folder.release(names)

    def open(self, etag: str) -> asyncio.Future[Blob | None]:
        return self._loop.run_in_executor(self._threads, self._open, etag)

    def close(self) -> None:
        """Finish the writes that were begun. Blocks. May be called again."""
        self._threads.shutdown()

    def _put(self, images: Sequence[bytes | memoryview]) -> list[str]:
        etags = [digest(image) for image in images]
        self.folder.hold(etags)
        try:
            for etag, image in zip(etags, images, strict=True):
                if not self.folder.has(etag, len(image)):
                    self._write(etag, image)
            self.folder.sync(etags)
        except BaseException as error:
            self.folder.release(etags)
            if isinstance(error, OSError):
                raise from_os(error, "the image cannot be stored") from error
            raise
        return etags

    def _write(self, etag: str, image: bytes | memoryview) -> None:
        temporary = self.folder.temporary()
        write_whole(temporary, image)
        try:
            self.folder.place(temporary, etag)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _open(self, etag: str) -> Blob | None:
        try:
            return MappedFile(self.folder.path(etag))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os(error, "the image cannot be read") from error
