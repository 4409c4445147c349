"""Servers that tests kill: forked in milliseconds, on a Unix socket that stays the same, with their engines known."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gatekeeper import SECONDS, children, end_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHONPATH = os.environ.get(
    "PYTHONPATH", os.pathsep.join(str(ROOT / part) for part in ("protocol", "client", "server"))
)
MANY = 1_000_000


class NotStartedError(Exception):
    """The server ended before it listened; the text is its log."""


class Nursery:
    """The process that servers are forked from (see `crash_server.py`). `under`: a program that runs it; `environ`: for
    the engines.
    """

    def __init__(self, *under: str, **environ: str) -> None:
        self._process = subprocess.Popen(
            [*under, sys.executable, str(HERE / "crash_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, **environ},
        )
        self._orders = 0
        self.pids: set[int] = set()

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, **what: Any) -> int:
        """Start a server; the number that its answers bear."""
        self._orders += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": self._orders, **what}).encode() + b"\n")
        self._process.stdin.flush()
        return self._orders

    async def answer(self, number: int) -> dict[str, Any]:
        """The next that the server of this order says."""
        async with asyncio.timeout(SECONDS):
            return await asyncio.to_thread(self._answer, number)

    def _answer(self, number: int) -> dict[str, Any]:
        assert self._process.stdout is not None
        while True:
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            if answer["number"] == number:
                return answer

    def close(self) -> None:
        """End it and every server that is left."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class CrashServer:
    """One server and its data directory, through all its lives."""

    def __init__(self, nursery: Nursery, folder: Path, *, gate: Path | None = None, engine: str = "fast") -> None:
        self.data_dir = folder / "data"
        self.socket = folder / "s"
        self.url = f"pixwire+unix://{self.socket}"
        self.log = folder / "server.log"
        self.lives = 0
        self.pid = 0
        self.engines: set[int] = set()
        """Every engine that was seen, of all lives."""
        self.jobs: dict[str, Any] = {"max_attempts": MANY}
        self.restart: dict[str, Any] = {}
        self.config: dict[str, Any] = {"log_level": "info", "stream_rate": 10_000}
        self._nursery = nursery
        self.engine = engine
        self._gate = gate
        self._number = 0

    async def start(self) -> "CrashServer":
        """Return when it listens and its engine is ready. Raises NotStartedError with its log."""
        self._number = self._nursery.order(
            config={"listen": self.url, "data_dir": str(self.data_dir), **self.config},
            jobs=self.jobs,
            restart=self.restart,
            engine=self.engine,
            gate=None if self._gate is None else str(self._gate),
            log=str(self.log),
        )
        answer = await self._nursery.answer(self._number)
        if "line" not in answer:
            raise NotStartedError(f"the server ended with {answer['code']}:\n{self.log.read_text()}")
        self.pid = answer["pid"]
        self.lives += 1
        self._nursery.pids.add(self.pid)
        self.engine_pids()
        return self

    def engine_pids(self) -> list[int]:
        """Its children now: one engine, or none while there is none."""
        try:
            pids = children(self.pid)
        except FileNotFoundError:
            pids = []
        self.engines.update(pids)
        return pids

    async def count(self) -> dict[str, Any]:
        """How many tasks, threads and objects it has now; one at a time."""
        os.kill(self.pid, signal.SIGUSR1)
        return await self._nursery.answer(self._number)

    async def kill(self) -> None:
        """SIGKILL, and until it is gone."""
        self.engine_pids()
        os.kill(self.pid, signal.SIGKILL)
        await end_of(self.pid)
        self._nursery.pids.discard(self.pid)

    async def kill_engine(self) -> int:
        """SIGKILL to its engine; how many there were."""
        pids = self.engine_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            await end_of(pid)
        return len(pids)

    def stop_engine(self) -> int:
        """SIGSTOP to its engine, which nobody will continue; how many there were."""
        pids = self.engine_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return len(pids)

    async def stop(self) -> int:
        """SIGTERM; the exit status after the drain."""
        self.engine_pids()
        os.kill(self.pid, signal.SIGTERM)
        code = int((await self._nursery.answer(self._number))["code"])
        await end_of(self.pid)
        self._nursery.pids.discard(self.pid)
        return code
