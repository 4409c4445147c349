"""The benchmark's side of an application process: start it, let it play, kill it."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .outcomes import Answer, Kind, Outcome
from .play import LONGEST_LINE
from .services import ENVIRONMENT, START_S
from .trace import Request


@dataclass(slots=True)
class Play:
    """What is known of a trace that is being played."""

    sent: dict[int, tuple[float, float]] = field(default_factory=dict)
    """When a request was due, and when it was sent."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def hear(self, event: dict[str, Any]) -> None:
        """One event of the application."""
        number = event["number"]
        if event["event"] == "sent":
            self.sent[number] = event["due"], event["sent"]
            return
        told = event["answer"]
        answer = None if told is None else Answer(**told | {"image": base64.b64decode(told["image"])})
        moments = {name: event[name] for name in ("due", "sent", "over")}
        self.outcomes[number] = Outcome(number, Kind(event["kind"]), **moments, answer=answer, why=event["why"])

    def under_way(self) -> list[int]:
        """Requests that were sent and have not ended."""
        return [number for number in self.sent if number not in self.outcomes]


class Player:
    """An application process."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        """What it told about itself when it was ready: memory, modules, torch."""
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, address: str) -> None:
        """Returns when the application is ready to ask."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.deployments.play",
                self.name,
                address,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **ENVIRONMENT},
                limit=LONGEST_LINE,
                start_new_session=True,
            )
        async with asyncio.timeout(START_S):
            self.facts = await self._event()

    async def play(
        self,
        requests: Sequence[Request],
        *,
        begin: float = 0.0,
        patience: float | None = None,
        closed: bool = False,
        detail: bool = False,
        again: bool = False,
        into: Play | None = None,
    ) -> Play:
        """Play a trace; `into` is filled while it goes on.

        Raises EOFError when the application was killed.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        found = Play() if into is None else into
        order = {"requests": [one.to_map() for one in requests], "patience": patience, "begin": begin}
        order |= {"closed": closed, "detail": detail, "again": again}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        while (event := await self._event())["event"] != "played":
            found.hear(event)
        return found

    async def _event(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.startswith(b"{"):
                event: dict[str, Any] = json.loads(line)
                return event
        raise EOFError(f"the application {self.name} has ended; its log: {self._log.read_text()[-2000:]}")

    async def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def stop(self) -> None:
        """The usual end: it closes its service."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), START_S)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
