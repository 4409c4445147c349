"""The images that jobs made, as files (see `blobs.py`). Those written or read last stay open."""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .blobs import BlobFolder, digest, write_whole
from .errors import from_os
from .kept_files import KeptFiles
from .ports import ARTIFACTS, Blob
from .stored_file import StoredFile

THREADS = 2
"""Writes wait for the disk, not for the processor: two keep one slow flush from delaying the next image."""


class ArtifactFiles:
    """The ArtifactStore of one machine. Construct and `close` it off the loop's thread, call it from the loop's."""

    def __init__(self, data_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._kept = KeptFiles()
        self.folder = BlobFolder(data_dir / ARTIFACTS, self._kept.drop)
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, "pixwire-artifacts")

    def put(self, images: Sequence[bytes | memoryview]) -> asyncio.Future[list[str]]:
        return self._loop.run_in_executor(self._threads, self._put, images)

    def release(self, names: Sequence[str]) -> None:
        self.folder.release(names)

    def kept(self, etag: str) -> StoredFile | None:
        return self._kept.find(etag)

    def open(self, etag: str) -> asyncio.Future[Blob | None]:
        return self._loop.run_in_executor(self._threads, self._open, etag)

    def close(self) -> None:
        """Finish the writes that were begun. Blocks. May be called again."""
        self._threads.shutdown()
        self._kept.clear()

    def _put(self, images: Sequence[bytes | memoryview]) -> list[str]:
        etags = [digest(image) for image in images]
        self.folder.hold(etags)
        try:
            for etag, image in zip(etags, images, strict=True):
                if not self.folder.has(etag, len(image)):
                    self._write(etag, image)
            self.folder.sync(etags)
            self._keep_open(etags)
        except BaseException as error:
            self.folder.release(etags)
            if isinstance(error, OSError):
                raise from_os(error, "the image cannot be stored") from error
            raise
        return etags

    def _keep_open(self, etags: Sequence[str]) -> None:
        """Whoever waits for the job fetches them in a moment."""
        with contextlib.suppress(OSError):  # too many files are open: then they are opened when they are asked for
            for etag in etags:
                self._kept.keep(etag, StoredFile(self.folder.path(etag)))

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
            file = StoredFile(self.folder.path(etag))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os(error, "the image cannot be read") from error
        self._kept.keep(etag, file)
        if not file.current:  # removed meanwhile: nobody may ever ask for it again, and it would keep its room
            self._kept.drop(etag)
        return file
