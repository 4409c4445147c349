"""The floor under every round trip: a bare uvloop server that sends back the bytes it gets, and its bare client."""

import argparse
import asyncio
from collections import deque
from typing import cast

import uvloop

from benchmarks.measure import pin


class Echo(asyncio.Protocol):
    """Sends back what arrives, at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports share no base class with asyncio's

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoClient(asyncio.Protocol):
    """Sends one message per call and waits until as many bytes have come back.

    Answers come in order, so a deque of futures is enough.
    """

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports share no base class with asyncio's

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        while self.received >= len(self.message):
            self.received -= len(self.message)
            self.waiting.popleft().set_result(None)

    async def round_trip(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.transport.write(self.message)
        await future


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, default=0, help="the core to run on")
    pin(parser.parse_args().core)
    uvloop.run(serve())
