"""The whole server in this process, with a toy engine and an HTTP door: real sockets, real journal."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package
sys.path.insert(0, str(Path(__file__).parent.parent / "app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "doors"))

from http_server import HttpServer, StartHttp
from pki import Pki
from toy_engine import ToyEngine

from pixwire_server.config import ServerConfig


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates of an authority of its own; made once, since keys take time."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def start_http(tmp_path: Path) -> AsyncIterator[StartHttp]:
    """Starts servers on free ports; what still runs at the end is cancelled."""
    servers: list[HttpServer] = []

    def start(engine: ToyEngine | None = None, **options: object) -> HttpServer:
        values = {"listen": "127.0.0.1:0", "http": "0", "data_dir": str(tmp_path / "data"), **options}
        servers.append(HttpServer(ServerConfig(**values), engine or ToyEngine()))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        for client in server.clients:
            await client.aclose()
        server.exit.cancel()
        await asyncio.wait((server.exit,))


@pytest.fixture
def start_https(start_http: StartHttp, pki: Pki) -> StartHttp:
    """The same with TLS on the HTTP door."""
    return partial(start_http, http="https://127.0.0.1:0", tls_cert=str(pki.certificate), tls_key=str(pki.key))


@pytest.fixture
async def server(start_http: StartHttp) -> HttpServer:
    """One that finishes each job at once."""
    server = start_http()
    await server.listening()
    return server


@pytest.fixture
async def client(server: HttpServer) -> httpx.AsyncClient:
    """A client of it."""
    return await server.client()
