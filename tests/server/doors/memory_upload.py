"""An upload into memory whose disk is as slow as the test wants it."""

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from pixwire_protocol.header import Buffer
from pixwire_server.jobs import RequestError, Submitted


class Disk(Protocol):
    """What an upload asks of the jobs it belongs to."""

    slow_disk: bool

    def notify(self) -> None: ...


class MemoryUpload:
    """Keeps what is written. With `slow_disk` a write is done when the test says so."""

    def __init__(self, accept: "Callable[[bytes], Future[Submitted]]", size: int, jobs: Disk) -> None:
        self._jobs = jobs
        self._accept = accept
        self._size = size
        self.data = bytearray()
        self.unwritten: list[tuple[int, Future[None]]] = []
        self.aborted = 0
        self.finished = False
        self.fail: RequestError | None = None

    def write(self, data: Buffer) -> "Future[None]":
        assert not self.aborted
        assert not self.finished
        future: Future[None] = asyncio.get_running_loop().create_future()
        self.data += data
        self.unwritten.append((len(data), future))
        if self.fail is not None:
            future.set_exception(self.fail)
        elif not self._jobs.slow_disk:
            self.settle()
        self._jobs.notify()
        return future

    @property
    def held(self) -> int:
        """Bytes that were handed in and are not written."""
        return sum(size for size, _ in self.unwritten)

    def settle(self) -> None:
        """Everything handed in is on the disk."""
        unwritten, self.unwritten = self.unwritten, []
        for _, future in unwritten:
            if not future.done():
                future.set_result(None)

    def finish(self) -> "Future[Submitted]":
        assert not self.aborted
        assert len(self.data) == self._size
        self.finished = True
        self._jobs.notify()
        return self._accept(bytes(self.data))

    def abort(self) -> None:
        self.aborted += 1
        self._jobs.notify()
