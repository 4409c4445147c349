"""`send`: frames from JSON lines, or any bytes; what comes back as JSON lines."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...cli.exits import ExitCode
from ..annotate import Annotator, Item, SeenFrame
from ..build import Streams, frame_of, hex_bytes, read_file
from ..errors import InputError, WireError, exit_of_code
from ..screen import Screen
from ..talk import Talk, TalkOptions, check_alpn
from ..transport import READ_SIZE, Wire, open_wire
from ..waits import Mode, Waits

_WAIT_LINE: Final = "wait"


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What to send and how long to listen. handshake: begin with preface and HELLO as every client."""

    sources: tuple[str, ...] = ()
    hex: tuple[str, ...] = ()
    wait: Mode = "end"
    deadline: float = 10.0
    handshake: bool = True
    half_close: bool = False
    echo: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """Bytes to send, or a wait."""

    data: bytes = b""
    wait: Mode | None = None


async def send(options: TalkOptions, what: SendOptions, screen: Screen) -> int:
    """Sends, prints what comes back, returns an exit code by the first ERROR or GOAWAY."""
    orders = list(_orders(what))
    exchange = await _open(options, what, screen)
    try:
        async with asyncio.timeout(what.deadline) as limit:
            code = await exchange.run(orders)
    except TimeoutError:
        if not limit.expired():
            raise
        raise exchange.too_late(what.deadline) from None
    finally:
        await exchange.wire.close()
    return code


async def _open(options: TalkOptions, what: SendOptions, screen: Screen) -> "Exchange":
    if what.handshake:
        with screen.busy(f"connecting to {options.url}"):
            talk = await Talk.connect(options)
        return Exchange(talk.wire, talk.items(), what, screen)
    with screen.busy(f"connecting to {options.url}"):
        wire = await open_wire(options.url, options.tls, timeout=options.timeout)
    check_alpn(wire, options.tls)
    return Exchange(wire, _raw_items(wire), what, screen)


async def _raw_items(wire: Wire) -> AsyncIterator[Item]:
    """What a peer says to whom no handshake was offered."""
    annotator = Annotator("S")
    while data := await wire.read(READ_SIZE):
        for item in annotator.feed(data):
            yield item
    for item in annotator.end():
        yield item


class Exchange:
    """Sending and listening at the same time, on one connection."""

    def __init__(self, wire: Wire, items: AsyncIterator[Item], what: SendOptions, screen: Screen) -> None:
        self.wire = wire
        self.waits = Waits(what.wait)
        self.refused: int | None = None
        """The first error code that came."""
        self._items = items
        self._what = what
        self._screen = screen
        self._changed = asyncio.Event()

    async def run(self, orders: list[_Order]) -> int:
        """Carries out the orders, then waits as asked. Returns the exit code."""
        listening = asyncio.create_task(self._listen())
        try:
            for order in orders:
                await self._carry_out(order)
            self.waits.complete = True
            if self._what.half_close:
                self.wire.end()
            await self._until_done()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if not listening.cancelled() and (error := listening.exception()) is not None:
            raise error
        if self.waits.over:
            self._screen.note("the server ended the connection" + (" (cut)" if self.wire.reset else ""))
            if self.refused is None and not self.waits.settled:
                return ExitCode.CONNECTION
        return ExitCode.OK if self.refused is None else exit_of_code(self.refused)

    async def _carry_out(self, order: _Order) -> None:
        if order.wait is not None:
            mode, self.waits.mode, self.waits.complete = self.waits.mode, order.wait, True
            await self._until_done()
            self.waits.mode, self.waits.complete = mode, False
            return
        for item in self.waits.sent(order.data):
            if self._what.echo:
                self._screen.item(item, "C")
        await self.wire.write(order.data)

    async def _until_done(self) -> None:
        while not self.waits.done:
            if (question := self.waits.question()) is not None:
                await self.wire.write(question)
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self) -> None:
        try:
            async for item in self._items:
                if self.waits.received(item):
                    self._screen.item(item, "S")
                    self._note_refusal(item)
                self._changed.set()
        except OSError:  # of the output; `run` raises it, and must not wait for what nobody hears any more
            self.waits.over = True
            self._changed.set()
            raise
        self.waits.over = True
        self._changed.set()

    def _note_refusal(self, item: Item) -> None:
        if self.refused is None and isinstance(item, SeenFrame) and item.name in ("ERROR", "GOAWAY"):
            code = (item.head or {}).get("code")
            if isinstance(code, int) and code:
                self.refused = code

    def too_late(self, seconds: float) -> WireError:
        """The deadline passed first."""
        waiting = [f"stream {stream} has not ended" for stream in sorted(self.waits.open)]
        waiting += ["a PING was not answered"] if self.waits.pings else []
        if self.waits.garbled:
            waiting = ["the connection has not ended"]
        hint = "--deadline gives it longer, --wait says what to wait for"
        return WireError(
            f"within {seconds:g} s {', '.join(waiting) or 'no end came'}", hint, exit_code=ExitCode.TIMEOUT
        )


# ---------------------------------------------------------------------- what to send


def _orders(what: SendOptions) -> Iterator[_Order]:
    streams = Streams()
    for text in what.hex:
        data = read_hex(text)
        if not data:
            raise InputError(f"there is nothing to send: --hex {text!r} has no digits")
        yield _Order(data)
    for source in what.sources:
        yield from _from_source(source, streams)
    if not what.hex and not what.sources:
        raise InputError("there is nothing to send", "give a JSON object, @FILE, - for stdin, or --hex")


def read_hex(text: str) -> bytes:
    """Hex, or @file with hex in it."""
    return hex_bytes(read_file(Path(text[1:])).decode("latin-1") if text.startswith("@") else text)


def _from_source(source: str, streams: Streams) -> Iterator[_Order]:
    if source == "-":
        text = sys.stdin.buffer.read().decode("utf-8", errors="replace")  # as that of a file
        yield from _from_lines(text, "stdin", streams, None)
    elif source.startswith("@"):
        path = Path(source[1:])
        yield from _from_lines(read_file(path).decode("utf-8", errors="replace"), str(path), streams, path.parent)
    else:
        yield _order(source, streams, None)


def _from_lines(text: str, name: str, streams: Streams, folder: Path | None) -> Iterator[_Order]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield _order(line, streams, folder)
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error.message}", error.hint, line=number) from None


def _order(text: str, streams: Streams, folder: Path | None) -> _Order:
    wanted = _wait_of(text)
    return _Order(wait=wanted) if wanted is not None else _Order(frame_of(text, streams, folder=folder))


def _wait_of(text: str) -> Mode | None:
    """`{"wait": "end"}` between frames."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != {_WAIT_LINE}:
        return None
    if found[_WAIT_LINE] not in ("end", "quiet", "eof"):
        raise InputError(f"wait must be end, quiet or eof, not {found[_WAIT_LINE]!r:.40}")
    mode: Mode = found[_WAIT_LINE]
    return mode
