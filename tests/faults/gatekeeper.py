"""The test's side of `gate.py`: says at which stages processes stop, and sees them arrive."""

import asyncio
import contextlib
import json
import os
import select
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

SECONDS = 120.0
"""A bound for a test that hangs, never a measure."""


@dataclass(frozen=True)
class Visit:
    """A process that stands still at a stage."""

    stage: str
    subject: str
    pid: int
    _writer: asyncio.StreamWriter

    def let_go(self) -> None:
        """It goes on."""
        self._writer.close()


class Gatekeeper:
    """Stops whoever comes to one of the stages in `stops`. Lives in the test's loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stops: Collection[str] = ()
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()
        self._standing: list[Visit] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Gatekeeper":
        self._server = await asyncio.start_unix_server(self._come, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.open()
        self._server.close()
        await self._server.wait_closed()

    async def arrival(self) -> Visit:
        """The next process that came to a stop."""
        async with asyncio.timeout(SECONDS):
            return await self._visits.get()

    def open(self) -> None:
        """Nobody is stopped any more, and those who stand go on."""
        self.stops = ()
        for visit in self._standing:
            visit.let_go()
        self._standing.clear()

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):  # killed before it had said where it is
            found = json.loads(await reader.readline())
            if found["stage"] in self.stops:
                visit = Visit(found["stage"], found["subject"], found["pid"], writer)
                self._standing.append(visit)
                self._visits.put_nowait(visit)
                return
        writer.close()


def ended(pid: int) -> bool:
    """Whether this process has ended (a zombie has)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 0)[0])
    finally:
        os.close(handle)


async def end_of(pid: int) -> None:
    """Wait until this process has ended; it need not be a child of this one."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        async with asyncio.timeout(SECONDS):
            await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def children(pid: int) -> list[int]:
    """The process ids of the children of this process: of a server, its engine."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found
