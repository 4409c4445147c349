"""Runs `pixwire` as a user does: as a process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 60.0  # a bound for a command that hangs, never a measure


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be one JSON value."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error it printed as JSON."""
        found: dict[str, Any] = self.json["error"]
        return found


Inside = Callable[..., Awaitable[Ended]]
"""What the fixture `inside` gives: runs a command in this process."""


class Command:
    """One running `pixwire ARGUMENTS`, in the folder `cwd`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, *arguments: str, cwd: Path, url: str = "", **env: str) -> "Command":
        environment = {**os.environ, "PIXWIRE_URL": url, "COLUMNS": "100", **env}
        first = env.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*first, *sys.path]))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pixwire",
            *arguments,
            cwd=cwd,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    async def end(self) -> Ended:
        """Waits for the end."""
        async with asyncio.timeout(SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, out.decode(), err.decode())


async def run(*arguments: str, cwd: Path, url: str = "", **env: str) -> Ended:
    """Runs a command to its end."""
    return await (await Command.start(*arguments, cwd=cwd, url=url, **env)).end()
