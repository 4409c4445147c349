"""`tap` and `proxy`: between clients and a server, showing and recording what passes, doing harm when asked."""

import asyncio
import contextlib
import re
import signal
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ...cli.exits import ExitCode
from ..annotate import Annotator, Side
from ..capture import EOF, OPEN, Chunk, Mark, Record
from ..errors import InputError
from ..faults import Faults, Flip
from ..proxy import Proxy
from ..record import Recorder
from ..screen import Screen
from ..transport import TlsOptions
from .decode import mark_map


@dataclass(frozen=True, slots=True)
class TapOptions:
    """Where to listen, where to connect, what to do in between. connections: end after so many (0: at Ctrl-C)."""

    upstream: str
    listen: str
    output: Path | None = None
    connections: int = 0
    faults: Faults = field(default_factory=Faults)
    tls: TlsOptions = field(default_factory=TlsOptions)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout: float = 5.0
    quiet: bool = False


async def tap(what: TapOptions, screen: Screen) -> int:
    """Runs until Ctrl-C, until so many connections have come and gone, or until its output cannot be written."""
    over = asyncio.Event()
    with _Output(what, screen, over) as output:
        proxy = Proxy(
            what.upstream,
            listen=what.listen,
            faults=what.faults,
            observe=output,
            tls=what.tls,
            server_tls=_server_tls(what),
            connect_timeout=what.timeout,
        )
        async with proxy:
            screen.result(
                {"item": "listening", "url": proxy.url, "upstream": what.upstream},
                f"listening on {proxy.url}, passing on to {what.upstream}",
            )
            await _until_over(proxy, what.connections, over)
        output.check()
        if what.output is not None:
            screen.note(f"{output.records} records in {what.output}")
    return ExitCode.FAILED if proxy.problems and not proxy.passages else ExitCode.OK


async def _until_over(proxy: Proxy, connections: int, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    counting = asyncio.create_task(_count(proxy, connections, stop))
    try:
        await stop.wait()
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _count(proxy: Proxy, connections: int, stop: asyncio.Event) -> None:
    if not connections:
        return
    for _ in range(connections):
        passage = await proxy.accepted()
        await passage.ended.wait()
    stop.set()


def _server_tls(what: TapOptions) -> ssl.SSLContext | None:
    if what.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(list(what.tls.alpn))
    try:
        context.load_cert_chain(what.tls_cert, what.tls_key)
    except OSError as error:
        raise InputError(f"cannot use {str(what.tls_cert)!r}: {error.strerror or error}") from None
    return context


class _Output:
    """Shows and records. A context manager: it holds the file. When it cannot write, it sets `over`; `check` raises."""

    def __init__(self, what: TapOptions, screen: Screen, over: asyncio.Event) -> None:
        self._what = what
        self._screen = screen
        self._over = over
        self._problem: OSError | None = None
        self._file: TextIO | None = None
        self._recorder: Recorder | None = None
        self._annotators: dict[tuple[int, Side], Annotator] = {}

    @property
    def records(self) -> int:
        """How many were written."""
        return 0 if self._recorder is None else self._recorder.records

    def __enter__(self) -> "_Output":
        if self._what.output is not None:
            try:
                self._file = self._what.output.open("w", encoding="ascii", buffering=1)
                info = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "peer": self._what.upstream}
                self._recorder = Recorder(self._file.write, info, secrets=self._screen.secrets)
            except OSError as error:
                self.__exit__()
                raise InputError(f"cannot write {str(self._what.output)!r}: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # was told already
                self._file.close()

    def check(self) -> None:
        """Raises the OSError that kept it from writing, if one did."""
        if self._problem is not None:
            raise self._problem

    def __call__(self, record: Record) -> None:
        if self._problem is not None:
            return
        try:
            if self._recorder is not None:
                self._recorder(record)
            if not self._what.quiet:
                self._show(record)
        except OSError as error:  # the connections are none of its business: it only ends the tap
            self._problem = error
            self._over.set()

    def _show(self, record: Record) -> None:
        if isinstance(record, Chunk):
            annotator = self._annotator(record.conn, record.side)
            for item in annotator.feed(record.data):
                self._screen.item(item, record.side, conn=record.conn)
            return
        if record.event == EOF and record.side is not None:
            for item in self._annotator(record.conn, record.side).end():
                self._screen.item(item, record.side, conn=record.conn)
        self._screen.result(mark_map(record), _words(record), "yellow")

    def _annotator(self, conn: int, side: Side) -> Annotator:
        return self._annotators.setdefault((conn, side), Annotator(side))


_NAMES = {"C": "the client", "S": "the server"}


def _words(mark: Mark) -> str:
    who = f" by {_NAMES[mark.side]}" if mark.side else ""
    what = "a connection" if mark.event == OPEN else mark.event + who
    return f"#{mark.conn} {'':9}  -- {what}" + (f": {mark.detail}" if mark.detail else "")


def parse_flip(text: str) -> Flip:
    """`S:1000/3`: byte 1000 of the server, bit 3; without the side it is the server's. Raises InputError."""
    side, _, rest = text.rpartition(":")
    offset, _, bit = rest.partition("/")
    sides: dict[str, Side] = {"": "S", "S": "S", "s": "S", "C": "C", "c": "C"}
    if side not in sides or not re.fullmatch(r"[0-9]{1,18}", offset) or not re.fullmatch("[0-7]?", bit):
        raise InputError(f"--flip {text!r}: write OFFSET/BIT or C:OFFSET/BIT, with a bit from 0 to 7")
    return Flip(int(offset), int(bit or 0), sides[side])


def faults_from(values: dict[str, Any]) -> Faults:
    """Faults from options. Raises InputError."""
    try:
        return Faults(**values)
    except ValueError as error:
        raise InputError(str(error)) from None
