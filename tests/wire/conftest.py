"""Real doors and strange servers for the wire tool."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package
sys.path.insert(1, str(Path(__file__).parents[1] / "server" / "doors"))  # and those of the door

from memory_jobs import MemoryJobs
from pki import Pki
from raw_client import SETTINGS

from pixwire_server.doors.address import Address, TcpAddress, UnixAddress
from pixwire_server.doors.door import Door
from pixwire_server.doors.listeners import bind_all
from pixwire_server.doors.tokens import Tokens

OpenDoor = Callable[..., Awaitable[str]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop the server runs on. The tool's own, asyncio's, is under test where it runs as a process."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def jobs(tmp_path: Path) -> MemoryJobs:
    return MemoryJobs(tmp_path)


@pytest.fixture
async def open_door(jobs: MemoryJobs) -> AsyncIterator[OpenDoor]:
    """Opens doors over those jobs; returns their URL."""
    doors: list[Door] = []

    async def make(
        address: Address | None = None,
        *,
        tokens: Path | None = None,
        tls: ssl.SSLContext | None = None,
        **settings: object,
    ) -> str:
        held = None if tokens is None else Tokens(tokens)
        door = Door(jobs, replace(SETTINGS, **settings), held, tls)  # type: ignore[arg-type]
        doors.append(door)
        (listener,) = await bind_all([address or TcpAddress("127.0.0.1", 0, tls is not None)])
        await door.open([listener])
        found = listener.address
        if isinstance(found, UnixAddress):
            return f"pixwire+unix://{found.path}"
        return f"pixwire{'s' if tls else ''}://{found.host}:{found.port}"

    yield make
    for door in doors:
        await door.abort()


@pytest.fixture
async def url(open_door: OpenDoor) -> str:
    """An ordinary server."""
    return await open_door()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates of an authority of its own."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def stranger() -> AsyncIterator[Callable[[bytes | None], Awaitable[str]]]:
    """Servers that answer the first bytes they get with these (None: with nothing), and close."""
    servers: list[asyncio.Server] = []
    handlers: set[asyncio.Task[None]] = set()

    async def make(answer: bytes | None) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            try:
                await reader.read(1024)
                if answer is None:
                    await reader.read()
                else:
                    writer.write(answer)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return f"pixwire://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield make
    for server in servers:
        server.close()
    for task in handlers:
        task.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)
