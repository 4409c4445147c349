"""The peers as services of the deployments' machinery: started, killed, started again at the same port."""

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp

from benchmarks.deployments import cores
from benchmarks.deployments.services import START_S, Process
from benchmarks.deployments.trace import Request

from .servers import PATH

PROBE = Request(-1, "a red circle", 0, 2)
POLL_S = 0.1


class Peer:
    """A server of `benchmarks.peers.servers`. Ready when it has made an image."""

    def __init__(self, module: str, folder: Path) -> None:
        self._module = f"benchmarks.peers.servers.{module}"
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def address(self, door: str) -> str:
        return f"http://127.0.0.1:{self._port}{PATH}"

    async def start(self) -> None:
        self._process = Process(self._folder / "server.log", self._module, "--port", str(self._port))
        await self._process.launch()
        try:
            async with asyncio.timeout(START_S):
                await self._ready()
        except TimeoutError:
            raise SystemExit(f"{self._module} did not start; its last words:\n{self._process.words()}") from None
        cores.pin(self._process.pid)

    async def _ready(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.post(self.address(""), json=PROBE.to_map()) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_S)

    def pause(self) -> None:
        """Stop its processes where they are: while it is not its turn."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    async def kill(self) -> None:
        assert self._process is not None
        await self._process.end(signal.SIGKILL)

    async def stop(self) -> None:
        if self._process is not None:
            self.resume()
            await self._process.end()


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
