"""A door on real sockets over jobs that live in memory, and raw clients for it."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package

from memory_jobs import MemoryJobs
from pki import Pki
from raw_client import SETTINGS, Connect, OpenDoor, RawClient

from pixwire_server.doors.address import Address, TcpAddress
from pixwire_server.doors.door import Door
from pixwire_server.doors.listeners import bind_all
from pixwire_server.doors.tokens import Tokens


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop the server runs on: buffering and pausing differ from asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


ANY_PORT = TcpAddress("127.0.0.1", 0)


@pytest.fixture
def jobs(tmp_path: Path) -> MemoryJobs:
    return MemoryJobs(tmp_path)


@pytest.fixture
async def open_door(jobs: MemoryJobs) -> AsyncIterator[OpenDoor]:
    """Opens doors with other settings or addresses; all are closed at the end, and nothing may be left open then."""
    doors: list[Door] = []

    async def make(
        address: Address = ANY_PORT,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
        **settings: object,
    ) -> tuple[Door, Address]:
        door = Door(jobs, replace(SETTINGS, **settings), tokens, tls)  # type: ignore[arg-type]
        doors.append(door)
        (listener,) = await bind_all([address])
        await door.open([listener])
        return door, listener.address

    yield make
    for door in doors:
        await door.abort()
    assert jobs.open_images == 0
    assert jobs.open_watches == 0
    assert jobs.read_from == 0


@pytest.fixture
async def connect(open_door: OpenDoor) -> AsyncIterator[Connect]:
    """Connects raw clients, to an ordinary door unless one is named; the handshake is done when it returns."""
    clients: list[RawClient] = []
    ordinary: list[Address] = []

    async def make(address: Address | None = None, *, handshake: bool = True, **settings: object) -> RawClient:
        if address is None:
            if not ordinary:
                ordinary.append((await open_door())[1])
            address = ordinary[0]
        client = await RawClient.connect(address, **settings)
        clients.append(client)
        if handshake:
            await client.ready()
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates of an authority of its own; made once, since keys take time."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def client(connect: Connect) -> RawClient:
    """One client that is ready."""
    return await connect()
