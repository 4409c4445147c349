"""The whole server in this process, with a toy engine: real sockets, real journal, real signals."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package
sys.path.insert(0, str(Path(__file__).parent.parent / "doors"))

from pki import Pki
from running_server import RunningServer, StartServer
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
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers on a free port; what still runs at the end is cancelled."""
    servers: list[RunningServer] = []

    def start(engine: ToyEngine | None = None, **options: object) -> RunningServer:
        values = {"listen": "127.0.0.1:0", "data_dir": str(tmp_path / "data"), **options}
        servers.append(RunningServer(ServerConfig(**values), engine or ToyEngine()))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.exit.cancel()
        await asyncio.wait((server.exit,))
