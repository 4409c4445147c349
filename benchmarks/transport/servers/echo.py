"""The floor of a round trip: bare uvloop servers that send back what they get, at once or once per turn of the loop.

Prints two addresses: the plain one and the corked one (uvloop does not join writes; see `Corked`).
"""

import asyncio
from dataclasses import replace
from typing import cast

import uvloop

from benchmarks.floor import Echo
from benchmarks.transport.servers.common import listening, options, ready, tls


class Corked:
    """Joins the writes of one turn of the loop: the first goes out at once, the others together at its end.

    Every write of uvloop is a system call. With many requests in flight most of them can be saved, at no cost for one.
    """

    __slots__ = ("_loop", "_open", "_rest", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._rest: list[bytes] = []
        self._open = True

    def write(self, data: bytes) -> None:
        if self._open:
            self._open = False
            self._loop.call_soon(self._flush)
            self._transport.write(data)
        else:
            self._rest.append(data)

    def _flush(self) -> None:
        self._open = True
        if self._rest:
            self._transport.write(b"".join(self._rest))
            self._rest.clear()


class CorkedEcho(asyncio.Protocol):
    """Sends back what arrives. What one read brought is one write; reads of one turn are joined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = Corked(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._out.write(data)


async def serve() -> None:
    given, loop = options(__doc__), asyncio.get_running_loop()
    plain, address = listening(given)
    corked, also = listening(replace(given, unix=f"{given.unix}.corked" if given.unix else ""))
    await loop.create_server(CorkedEcho, sock=corked, ssl=tls(given))
    async with await loop.create_server(Echo, sock=plain, ssl=tls(given)) as server:
        ready(f"{address} {also}")
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
