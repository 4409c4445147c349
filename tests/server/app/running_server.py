"""`app.serve` with a toy engine, as a task of the test's loop."""

import asyncio
import os
import signal
import ssl
from collections.abc import Callable

from raw_client import RawClient
from toy_engine import ToyEngine

from pixwire_server import app
from pixwire_server.config import ServerConfig
from pixwire_server.doors.address import parse_address


class RunningServer:
    """Only one of them may be sent signals: they share the process."""

    def __init__(self, config: ServerConfig, engine: ToyEngine) -> None:
        self.engine = engine
        self.lines: list[str] = []
        self._announced = asyncio.Event()
        self.exit = asyncio.create_task(app.serve(config, self._announce, lambda: engine))

    def _announce(self, line: str) -> None:
        self.lines.append(line)
        self._announced.set()

    async def listening(self) -> str:
        """The address it printed."""
        waiting = asyncio.create_task(self._announced.wait())
        await asyncio.wait((waiting, self.exit), timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), self.exit
        return self.lines[0].split()[3]

    async def connect(self, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> RawClient:
        client = await RawClient.connect(parse_address(await self.listening()), tls=tls)
        await (client.ready() if token is None else client.authenticate(token))
        return client

    @staticmethod
    def signal(number: int = signal.SIGTERM) -> None:
        os.kill(os.getpid(), number)

    async def code(self) -> int:
        async with asyncio.timeout(20):
            return await asyncio.shield(self.exit)


StartServer = Callable[..., RunningServer]
"""What the fixture `start_server` gives: engine and configuration -> a server that is being started."""
