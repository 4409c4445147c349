"""`replay`: the client's side of a capture once more, to a server; are its answers the same?"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixwire_protocol.messages import Credit, Pong, encode

from ...cli.exits import ExitCode
from ..annotate import Annotator, Item, SeenFrame
from ..capture import Capture, Chunk, Connection, Record
from ..diff import DiffOptions, diff
from ..errors import InputError, WireError
from ..load import load
from ..record import Recorder
from ..replaying import Changes, Heard, steps
from ..screen import Screen
from ..transport import Target, TlsOptions, Wire, open_wire, parse_target
from .compare import show_differences


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """deadline: seconds per connection. only: the number of the one connection to replay. output: what was said now."""

    url: str
    deadline: float = 30.0
    only: int | None = None
    output: Path | None = None
    tls: TlsOptions = field(default_factory=TlsOptions)
    changes: Changes = field(default_factory=Changes)
    timeout: float = 5.0


async def replay(path: str, what: ReplayOptions, compare: DiffOptions, screen: Screen) -> int:
    """Replays, compares, prints; 1 when something differs."""
    target = parse_target(what.url)
    recorded = load(path)
    connections = recorded.connections()
    if not connections:
        raise InputError(f"{path!r} holds no connection: there is nothing to replay")
    if what.only is not None:
        connections = [connection for connection in connections if connection.id == what.only]
        if not connections:
            raise InputError(f"{path!r} has no connection {what.only}")
    heard: list[Record] = []
    with screen.busy(f"replaying {path} to {what.url}"):
        for connection in connections:
            heard += await _replay_one(connection, target, what, screen)
    again = Capture(tuple(heard), {"peer": what.url})
    if what.output is not None:
        _write(what.output, again)
    kept = {connection.id for connection in connections}
    before = Capture(tuple(record for record in recorded.records if record.conn in kept))
    ignored = DiffOptions(
        compare.ignore | ({"job"} if what.changes.job_suffix else set()), compare.keep, compare.timing
    )
    return show_differences(diff(before, again, ignored, sides=("S",)), screen, ("recorded", "now"))


def _write(path: Path, capture: Capture) -> None:
    """Without tokens, as every recording."""
    lines: list[str] = []
    recorder = Recorder(lines.append, capture.info)
    for record in capture.records:
        recorder(record)
    try:
        path.write_text("".join(lines), encoding="ascii")
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from None


async def _replay_one(connection: Connection, target: Target, what: ReplayOptions, screen: Screen) -> list[Record]:
    wire = await open_wire(target, what.tls, timeout=what.timeout)
    session = _Session(connection.id, wire)
    try:
        async with asyncio.timeout(what.deadline) as limit:
            await session.run(connection, what.changes)
    except TimeoutError:
        if not limit.expired():
            raise
        if not session.began:
            message = f"{wire.target.where} said nothing within {what.deadline:g} s"
            raise WireError(message, exit_code=ExitCode.TIMEOUT) from None
        screen.note(
            f"connection {connection.id}: the server did not say all it had said before, in {what.deadline:g} s"
        )
    finally:
        await wire.close()
    return session.records


class _Session:
    def __init__(self, number: int, wire: Wire) -> None:
        self.records: list[Record] = []
        self._number = number
        self._wire = wire
        self._heard = Heard()
        self._changed = asyncio.Event()
        self._start = time.monotonic_ns()

    @property
    def began(self) -> bool:
        return any(isinstance(record, Chunk) and record.side == "S" for record in self.records)

    async def run(self, connection: Connection, changes: Changes) -> None:
        """Sends step by step, and listens until the server has said all it said when it was recorded."""
        listening = asyncio.create_task(self._listen())
        try:
            for step in steps(connection, changes):
                await self._until(step.wait)
                self._note("C", step.data)
                if not await self._wire.write(step.data):
                    break
            await self._until(_all_heard(connection))
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _until(self, wanted: Heard) -> None:
        while not self._heard.covers(wanted):
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self) -> None:
        annotator = Annotator("S")
        while data := await self._wire.read():
            self._note("S", data)
            for item in annotator.feed(data):
                self._heard = self._heard.after(item)
                await self._answer(item)
            self._changed.set()
        self._heard = Heard(over=True)
        self._changed.set()

    async def _answer(self, item: Item) -> None:
        if not isinstance(item, SeenFrame):
            return
        out: list[Any] = []
        if item.name == "PING" and len(item.tail) == 8:
            out = encode(Pong(item.tail))
        elif item.name == "DATA" and item.tail:
            out = [*encode(Credit(len(item.tail)))]
            out += [] if item.end else encode(Credit(len(item.tail)), item.stream)
        if out:
            data = b"".join(map(bytes, out))
            self._note("C", data)
            await self._wire.write(data)

    def _note(self, side: Any, data: bytes) -> None:
        self.records.append(Chunk(time.monotonic_ns() - self._start, self._number, side, data))


def _all_heard(connection: Connection) -> Heard:
    heard, annotator = Heard(), Annotator("S")
    for item in annotator.feed(connection.sent("S")):
        heard = heard.after(item)
    return heard
