"""A man in the middle: passes bytes between clients and a server, tells an observer, and does harm when told to.

    async with Proxy("pixwire://127.0.0.1:7499", faults=Faults(delay_ms=20)) as proxy:
        client = connect(proxy.url)
        passage = await proxy.accepted()           the connection of that client
        await passage.passed("S", 1000)            1000 bytes of the server have gone through
        passage.hold("S")                          the client looks like a reader that stalls
        passage.cut()                              both sides see a cut connection

What is recorded is what the receiver gets, when it is sent on.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

from .annotate import Side
from .capture import EOF, NOTE, OPEN, RESET, Chunk, Mark, Record
from .errors import InputError, WireError
from .faults import Faults, Lane, Step, lanes
from .transport import CONNECT_SECONDS, READ_SIZE, Target, TlsOptions, Wire, open_wire, parse_target

Observer = Callable[[Record], None]
_WAITING: Final = 64  # steps of one direction that wait for their time before reading pauses
_OTHER: Final[dict[Side, Side]] = {"C": "S", "S": "C"}
_GONE: Final = (OSError, ssl.SSLError)


class Passage:
    """One connection through the proxy. `C` is the client's end, `S` the server's."""

    def __init__(self, number: int, ends: dict[Side, Wire], faults: Faults, tell: Observer, since: int) -> None:
        self.number = number
        self.ends = ends
        self.lanes: dict[Side, Lane] = lanes(faults)
        self.sent: dict[Side, int] = {"C": 0, "S": 0}
        """Bytes of each side that were sent on."""
        self.over = False
        self.ended = asyncio.Event()
        """Set when both directions have ended."""
        self._how = faults.cut_how
        self._tell = tell
        self._start = since
        self._open: dict[Side, asyncio.Event] = {"C": asyncio.Event(), "S": asyncio.Event()}
        self._moved = asyncio.Condition()
        for gate in self._open.values():
            gate.set()

    # ------------------------------------------------------------------ for tests and commands

    def hold(self, side: Side) -> None:
        """Read no more of what this side sends, until `release`."""
        self._open[side].clear()

    def release(self, side: Side) -> None:
        """Read on."""
        self._open[side].set()

    def cut(self, how: Literal["reset", "eof"] = "reset") -> None:
        """End the connection, for both sides."""
        if self.over:
            return
        self.over = True
        for side, wire in self.ends.items():
            self._mark(RESET if how == "reset" else EOF, side, "cut by the proxy")
            _end(wire, how)

    async def passed(self, side: Side, count: int) -> None:
        """Waits until so many bytes of this side were sent on, or the connection is over."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.sent[side] >= count or self.over)

    # ------------------------------------------------------------------ the work

    async def run(self) -> None:
        """Passes bytes until both directions have ended."""
        self._mark(OPEN, None, None)
        try:
            async with asyncio.TaskGroup() as group:
                for side in _OTHER:
                    queue: asyncio.Queue[Step | None] = asyncio.Queue(_WAITING)
                    group.create_task(self._read(side, queue))
                    group.create_task(self._send(side, queue))
        except* _GONE:
            self.cut()
        finally:
            self.over = True
            for wire in self.ends.values():
                wire.abort() if wire.reset else await wire.close()
            self.ended.set()
            await self._wake()

    async def _read(self, side: Side, queue: asyncio.Queue[Step | None]) -> None:
        lane, wire = self.lanes[side], self.ends[side]
        loop = asyncio.get_running_loop()
        while not self.over:
            await self._open[side].wait()
            room = lane.room
            if room == 0:
                self._mark(NOTE, side, f"the proxy reads no more of this side, after {lane.position:,} bytes")
                self.hold(side)
                continue
            data = await wire.read(READ_SIZE if room is None else min(READ_SIZE, room))
            if wire.reset:
                self._mark(RESET, side, None)
                raise ConnectionResetError
            if not data:
                await queue.put(None)
                return
            for step in lane.take(data, loop.time()):
                await queue.put(step)
                if step.cut:
                    return

    async def _send(self, side: Side, queue: asyncio.Queue[Step | None]) -> None:
        wire = self.ends[_OTHER[side]]
        loop = asyncio.get_running_loop()
        while (step := await queue.get()) is not None:
            if (early := step.at - loop.time()) > 0:
                await asyncio.sleep(early)
            if step.data:
                self._tell(Chunk(self._now(), self.number, side, step.data))
                if not await wire.write(step.data):
                    raise ConnectionResetError
                self.sent[side] += len(step.data)
                await self._wake()
            if step.cut:
                self.cut(self._how)
                raise ConnectionResetError
        self._mark(EOF, side, None)
        if wire.target.tls:  # TLS cannot end one direction alone
            await wire.close()
        else:
            wire.end()

    async def _wake(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    def _mark(self, event: str, side: Side | None, detail: str | None) -> None:
        self._tell(Mark(self._now(), self.number, event, side, detail))

    def _now(self) -> int:
        return time.monotonic_ns() - self._start


class Proxy:
    """Listens and passes on. A context manager; everything is closed at its end.

    upstream: URL of the server. listen: "host:port" (port 0: any) or the path of a Unix socket. faults: for connections
    accepted from now on; may be replaced at any time. observe: gets every record as it happens. server_tls: speak TLS
    to the clients (a server's context, ALPN `pxw/1` set); tls: how to speak it to the server.
    """

    def __init__(
        self,
        upstream: str | Target,
        *,
        listen: str = "127.0.0.1:0",
        faults: Faults | None = None,
        observe: Observer | None = None,
        tls: TlsOptions | None = None,
        server_tls: ssl.SSLContext | None = None,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> None:
        self.upstream = parse_target(upstream) if isinstance(upstream, str) else upstream
        self.faults = faults or Faults()
        self.passages: list[Passage] = []
        self.problems: list[WireError] = []
        """Why the server could not be reached for a client; that client was turned away."""
        self._listen = listen
        self._observe = observe
        self._tls = tls
        self._server_tls = server_tls
        self._timeout = connect_timeout
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: asyncio.Queue[Passage] = asyncio.Queue()
        self._start = time.monotonic_ns()

    @property
    def url(self) -> str:
        """Where to connect to."""
        if "/" in self._listen:
            return f"pixwire+unix://{quote(self._listen)}"
        if self._server is None:
            raise RuntimeError("the proxy has not been started")
        host, port = self._server.sockets[0].getsockname()[:2]
        scheme = "pixwire" if self._server_tls is None else "pixwires"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def accepted(self) -> Passage:
        """The next connection that came, and reached the server; each is given once."""
        return await self._arrived.get()

    def cut_all(self, how: Literal["reset", "eof"] = "reset") -> None:
        """Ends all connections."""
        for passage in self.passages:
            passage.cut(how)

    async def __aenter__(self) -> Self:
        if "://" in self._listen:
            raise InputError(f"cannot listen on {self._listen!r}", "write host:port, or /path/to/a/socket, not a URL")
        try:
            if "/" in self._listen:
                self._server = await asyncio.start_unix_server(self._accept, self._listen, ssl=self._server_tls)
            else:
                host, port = _place(self._listen)
                self._server = await asyncio.start_server(self._accept, host, port, ssl=self._server_tls)
        except OSError as error:
            raise WireError(f"cannot listen on {self._listen}: {error.strerror or error}", "choose another") from None
        except UnicodeError:  # a part of the name is empty, or has more than 63 characters
            raise InputError(f"cannot listen on {self._listen!r}: no host can have this name") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for passage in self.passages:
            for wire in passage.ends.values():
                wire.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        client = Wire(Target(self.url, "", 0, None, self._server_tls is not None), reader, writer)
        try:
            server = await open_wire(self.upstream, self._tls, timeout=self._timeout)
        except WireError as problem:
            self.problems.append(problem)
            self._tell(Mark(0, len(self.passages) + 1, NOTE, None, problem.message))
            client.abort()
            return
        except asyncio.CancelledError:
            client.abort()
            return
        passage = Passage(len(self.passages) + 1, {"C": client, "S": server}, self.faults, self._tell, self._start)
        self.passages.append(passage)
        self._arrived.put_nowait(passage)
        # asyncio logs a handler that ends cancelled; the end of the proxy is none of its business
        with contextlib.suppress(asyncio.CancelledError):
            await passage.run()

    def _tell(self, record: Record) -> None:
        if self._observe is not None:
            self._observe(record)


def _place(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises InputError."""
    host, _, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 0xFFFF:
        raise InputError(f"cannot listen on {listen!r}", "write host:port (port 0: any free one), or /path/to/a/socket")
    return host.strip("[]") or "127.0.0.1", int(port)


def _end(wire: Wire, how: Literal["reset", "eof"]) -> None:
    if how == "eof":
        wire.end()
        return
    wire.cut()
