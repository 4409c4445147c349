"""The serving side of each deployment: processes on the servers' core, started, killed and started again."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from . import cores

START_S, STOP_S = 120.0, 30.0
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


class Process:
    """A program of ours in a process group of its own, which prints a line when it is ready."""

    def __init__(self, log: Path, *command: str) -> None:
        self._log = log
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, ready: str = "") -> str:
        """Returns the first line in which `ready` (a pattern) is found; from then on it is on the servers' core."""
        await self.launch(asyncio.subprocess.PIPE)
        assert self._process is not None
        output = self._process.stdout
        assert output is not None
        async with asyncio.timeout(START_S):
            while line := (await output.readline()).decode():
                if re.search(ready, line):
                    cores.pin(self._process.pid)
                    return line.strip()
        await self.end(signal.SIGKILL)
        raise SystemExit(f"{' '.join(self._command)} did not start; its last words are in {self._log}:\n{self.words()}")

    async def launch(self, output: int | None = None) -> None:
        """Start it, and wait for nothing. `output`: where its output goes; None: to its log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
                env={**os.environ, **ENVIRONMENT},
                start_new_session=True,
            )

    def words(self) -> str:
        """The end of what it said on stderr."""
        return self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """To it and all that it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and with SIGKILL all that it has started, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        with contextlib.suppress(ProcessLookupError):  # what did not end with it: workers of a server that was killed
            os.killpg(process.pid, signal.SIGKILL)


class Service(Protocol):
    """What a deployment needs beside the application."""

    def address(self, door: str) -> str:
        """Where the application finds it."""

    async def start(self) -> None:
        """Returns when it is ready to compute. Started again, it is at the same address."""

    async def kill(self) -> None:
        """kill -9, of every process of it at once."""

    async def stop(self) -> None:
        """The usual end."""


class Pixwire:
    """`pixwire serve` with all its doors; the defaults, one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._addresses: dict[str, str] = {}
        self._process: Process | None = None

    def address(self, door: str) -> str:
        return self._addresses[door]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        at = self._addresses
        options = ("--data-dir", str(self._folder / "data"), "--threads", "1", "--log-level", "warning")
        listen = (at.get("tcp", "127.0.0.1:0"), f"pixwire+unix://{self._folder}/socket")
        doors = (
            "--http",
            at.get("http", "http://127.0.0.1:0"),
            *(part for one in listen for part in ("--listen", one)),
        )
        self._process = Process(self._folder / "server.log", "benchmarks.deployments.stamped", *doors, *options)
        line = await self._process.start("listening on")
        found = {url.split("://")[0]: url for url in re.findall(r"[a-z+]+://[^\s,]+", line)}
        self._addresses = {"tcp": found["pixwire"], "unix": found["pixwire+unix"], "http": found["http"]}

    async def kill(self) -> None:
        assert self._process is not None
        await self._process.end(signal.SIGKILL)

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.end()


class Brokered:
    """The stand-in broker and one worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._address = "127.0.0.1:0"
        self._processes: Sequence[Process] = ()

    def address(self, door: str) -> str:
        return self._address

    async def start(self) -> None:
        log, port = self._folder / "broker.log", self._address.rpartition(":")[2]
        queue = Process(log, "benchmarks.deployments.broker.queue", str(self._folder / "queue.sqlite3"), "--port", port)
        self._address = await queue.start()
        worker = Process(log, "benchmarks.deployments.broker.worker", self._address)
        self._processes = (worker, queue)
        await worker.start("ready")

    async def kill(self) -> None:
        await asyncio.gather(*(process.end(signal.SIGKILL) for process in self._processes))

    async def stop(self) -> None:
        for process in self._processes:
            await process.end()


class Nothing:
    """The model is inside the application: there is no other process, only a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def address(self, door: str) -> str:
        return str(self._folder)

    async def start(self) -> None:
        self._folder.mkdir(exist_ok=True)

    async def kill(self) -> None:
        """What is to be killed is the application."""

    async def stop(self) -> None:
        """It ends with the application."""
