"""Fixtures of the client's tests: both event loops, a scripted server, nothing left over."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file; tests are no package

from command_line import Ended, Inside
from scripted_server import ScriptedServer

import pixwire
from pixwire.cli import main


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test here runs on the loop of the standard library and on uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def tidy() -> AsyncIterator[None]:
    """Fails a test that leaves a task behind or makes the loop complain."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left
    assert not complaints


@pytest.fixture
async def server(tidy: None) -> AsyncIterator[ScriptedServer]:
    """A server on a free loopback port that does what the test tells it."""
    async with ScriptedServer() as running:
        yield running


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[pixwire.AsyncClient]:
    """A client of that server."""
    async with pixwire.connect(server.url) as connected:
        yield connected


@pytest.fixture
async def impatient(server: ScriptedServer) -> AsyncIterator[pixwire.AsyncClient]:
    """A client of that server whose calls fail when there is no connection."""
    async with pixwire.connect(server.url, on_disconnect="fail") as connected:
        yield connected


@pytest.fixture
def inside(capsys: pytest.CaptureFixture[str]) -> Inside:
    """Runs a command in a thread of this process: quicker than a process, for commands that no signal is sent to."""

    def start(*arguments: str) -> Awaitable[Ended]:
        async def end() -> Ended:
            code = await asyncio.to_thread(main, arguments)
            return Ended(code, *capsys.readouterr())

        return asyncio.create_task(end())

    return start
