"""Images as files named by the sha256 of their bytes: `artifacts/ab/abcdef...`.

A file appears under its name only when it is whole and on disk (temporary name, fsync, rename, fsync of the
directory), so whoever finds one may serve it. Storing the same bytes again costs no second file. Temporary files of a
start that was cut short are removed at the next one.
"""

import asyncio
import contextlib
import hashlib
import mmap
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import StoreOpenError, from_os
from .ports import Blob
from .schema import sync_directory

ARTIFACTS_NAME = "artifacts"
TEMPORARY_NAME = "tmp"
THREADS = 2
"""Writes wait for the disk, not for the processor: two keep one slow flush from delaying the next image."""


class MappedFile:
    """The bytes of one file, read as they are used. See `ports.Blob`."""

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
        self._directory = data_dir / ARTIFACTS_NAME
        self._temporary = self._directory / TEMPORARY_NAME
        try:
            self._temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
            for orphan in self._temporary.iterdir():
                orphan.unlink()
        except OSError as error:
            raise StoreOpenError(f"the directory {self._directory} cannot be used: {error.strerror}") from error
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, "pixwire-artifacts")

    def put(self, images: Sequence[bytes]) -> asyncio.Future[list[str]]:
        return self._loop.run_in_executor(self._threads, self._put, images)

    def open(self, etag: str) -> asyncio.Future[Blob | None]:
        return self._loop.run_in_executor(self._threads, self._open, etag)

    def close(self) -> None:
        """Finish the writes that were begun. Blocks. May be called again."""
        self._threads.shutdown()

    def _path(self, etag: str) -> Path:
        return self._directory / etag[:2] / etag

    def _put(self, images: Sequence[bytes]) -> list[str]:
        try:
            etags = [hashlib.sha256(image).hexdigest() for image in images]
            for etag, image in zip(etags, images, strict=True):
                self._write(self._path(etag), image)
            for directory in {self._path(etag).parent for etag in etags}:
                sync_directory(directory)
        except OSError as error:
            raise from_os(error, "the image cannot be stored") from error
        return etags

    def _write(self, path: Path, image: bytes) -> None:
        if path.exists() and path.stat().st_size == len(image):
            return
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True, mode=0o700)
            sync_directory(self._directory)
        temporary = self._temporary / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                file.write(image)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _open(self, etag: str) -> Blob | None:
        try:
            return MappedFile(self._path(etag))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os(error, "the image cannot be read") from error
