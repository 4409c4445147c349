"""The floor's clients: the bytes of a STATUS request to an echo and back, plainly or with joined writes."""

import asyncio

from benchmarks.floor import EchoClient
from benchmarks.transport.clients.base import Call, Place
from benchmarks.transport.servers.echo import Corked
from benchmarks.transport.work import STANDING
from pixwire_protocol.messages import Status, encode

MESSAGE = b"".join(encode(Status(STANDING.ljust(36, "-")), stream=1))
"""As long as the STATUS of a job whose id is a UUID."""


class CorkedEchoClient(EchoClient):
    """Joins what is sent in one turn of the loop, as the corked server does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._out = Corked(self.transport)

    async def round_trip(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self._out.write(self.message)
        await future


class Echoes:
    """Connections to a bare echo; there is one operation, whatever it is called."""

    def __init__(self, place: Place, *, corked: bool) -> None:
        self._place, self._index = place, int(corked)
        self._kind = CorkedEchoClient if corked else EchoClient
        self._open: list[EchoClient] = []

    async def connect(self, count: int) -> None:
        loop, place = asyncio.get_running_loop(), self._place
        while len(self._open) < count:
            if path := place.unix(self._index):
                _, client = await loop.create_unix_connection(lambda: self._kind(MESSAGE), path)
            else:
                host, port = place.tcp(self._index)
                _, client = await loop.create_connection(lambda: self._kind(MESSAGE), host, port, ssl=place.tls())
            self._open.append(client)

    def call(self, operation: str, connection: int) -> Call:
        return self._open[connection].round_trip

    async def fetch(self, size: int, how: str, connection: int = 0) -> memoryview:
        raise NotImplementedError("an echo has no images")

    async def close(self) -> None:
        for one in self._open:
            one.transport.close()
