"""A server that answers every STATUS at once with the same map, and prints its port. For the measurements beside it."""

import asyncio
from typing import Any

import uvloop

from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.incoming import Received
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

ANSWER = {"job": "j", "kind": "txt2img", "state": "running", "seq": 3, "attempt": 1, "step": 2, "steps": 20}


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.connection = Connection(Role.SERVER, Settings(agent="bench", server_id="bench", epoch="1"))
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for item in self.connection.receive(data):
            if isinstance(item, Received) and isinstance(item.message, messages.Status):
                self.connection.send(item.stream, messages.Result(ANSWER), end=True)
        while self.connection.has_output:
            self.transport.write(b"".join(self.connection.data_to_send()))


async def main() -> None:
    """Serves until it is killed."""
    server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
