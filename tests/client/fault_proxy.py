"""A TCP proxy that breaks connections at a byte of the test's choice, loses them there, or passes byte after byte."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

Side = Literal["client", "server"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection when `after` bytes of that side were passed on; `silent`: nothing passes any more, in either
    direction, and nobody is told (a cable that was pulled).
    """

    side: Side
    after: int
    silent: bool = False


class _Half(asyncio.Protocol):
    """One side of one connection through the proxy."""

    def __init__(self, relay: "_Relay", side: Side) -> None:
        self.relay = relay
        self.side: Side = side
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.relay.made(self)

    def data_received(self, data: bytes) -> None:
        self.relay.received(self.side, data)

    def eof_received(self) -> bool:
        if not self.relay.lost:
            self.relay.close()
        return self.relay.lost

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.relay.lost:
            self.relay.close()
        self.relay.proxy.open.discard(self)
        self.relay.proxy.changed.set()


class _Relay:
    """One connection through the proxy, and what becomes of it."""

    def __init__(self, proxy: "FaultProxy", cut: Cut | None) -> None:
        self.proxy = proxy
        self.cut = cut
        self.halves: dict[Side, _Half] = {}
        self.passed: dict[Side, int] = {"client": 0, "server": 0}
        self.early = b""
        self.over = False
        self.lost = False

    def made(self, half: _Half) -> None:
        self.halves[half.side] = half
        self.proxy.open.add(half)
        if self.over:
            half.transport.abort()
        elif half.side == "client":
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._reach())
            self.proxy.tasks.add(task)
            task.add_done_callback(self.proxy.tasks.discard)
        else:
            early, self.early = self.early, b""
            self.pass_on("client", early)

    async def _reach(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: _Half(self, "server"), self.proxy.host, self.proxy.port
            )
        except OSError:
            self.close()

    def received(self, side: Side, data: bytes) -> None:
        if side == "client" and "server" not in self.halves:
            self.early += data
        else:
            self.pass_on(side, data)

    def pass_on(self, side: Side, data: bytes) -> None:
        cut = self.cut if self.cut is not None and self.cut.side == side else None
        if cut is not None:
            data = data[: cut.after - self.passed[side]]
        if self.lost:
            return
        self.passed[side] += len(data)
        other: Side = "server" if side == "client" else "client"
        if data and not self.over:
            self.write(self.halves[other].transport, data)
        if cut is not None and self.passed[side] >= cut.after:
            self.lost = cut.silent
            if not self.lost:
                self.close()

    def write(self, transport: Any, data: bytes) -> None:
        if not self.proxy.dribbles:
            transport.write(data)
            return
        for place in range(len(data)):  # each a segment of its own: asyncio sets TCP_NODELAY
            transport.write(data[place : place + 1])

    def close(self) -> None:
        if not self.over:
            self.over = True
            for half in self.halves.values():
                half.transport.close()


class FaultProxy:
    """Listens on loopback and passes everything on to `url`; the n-th connection is broken as `cuts[n]` says."""

    def __init__(self, url: str, *cuts: Cut | None, dribbles: bool = False) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.cuts = list(cuts)
        self.dribbles = dribbles
        self.relays: list[_Relay] = []
        self.open: set[_Half] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        self.url = ""
        self._server: asyncio.Server | None = None

    def _half(self) -> _Half:
        number = len(self.relays)
        relay = _Relay(self, self.cuts[number] if number < len(self.cuts) else None)
        self.relays.append(relay)
        return _Half(relay, "client")

    async def __aenter__(self) -> Self:
        make: Callable[[], asyncio.Protocol] = self._half
        self._server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        self.url = f"pixwire://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        if self.tasks:
            await asyncio.wait(self.tasks)
        for half in tuple(self.open):
            half.transport.abort()
        while self.open:
            self.changed.clear()
            await self.changed.wait()
