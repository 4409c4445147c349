"""One suite for all ways to use the client: asyncio's loop, uvloop, and threads; nothing may be left over.

Which one a test runs with is in its id; `shell` is how to connect there. Tests of what only one of them has say so
with `@pytest.mark.asyncio(loop_factories=[...])`.
"""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "client"))  # the helpers of the client's tests
sys.path.insert(0, str(Path(__file__).parent))

from scripted_server import ScriptedServer
from server_thread import InThread, running
from shells import Asyncio, Connected, Shell, Threads
from steady_server import SteadyServer

SECONDS = 10.0  # a bound for a thread that does not end, never a measure


def threads() -> asyncio.AbstractEventLoop:
    """The loop that the server of a test runs in while the client runs in threads."""
    return asyncio.new_event_loop()


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The ways to use the client."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop, "threads": threads}


@pytest.fixture
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """The shell that the test is about."""
    chosen = getattr(request.node, "callspec", None)  # none: a test that needs no loop
    if chosen is None or chosen.params.get("_asyncio_loop_factory") is not threads:
        yield Asyncio()
        return
    made = Threads()
    yield made
    made.close()


@pytest.fixture
async def tidy(shell: Shell) -> AsyncIterator[None]:
    """Fails a test that leaves a task, a thread or an open file behind, or makes the loop complain."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    before = open_files()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("pixwire"):
            await asyncio.to_thread(thread.join, SECONDS)
            assert not thread.is_alive(), thread
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left
    assert not complaints
    if shell.name == "threads":  # a transport of a loop closes its socket in a turn of its own, with asyncio's check
        assert open_files() <= before


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
async def server(tidy: None) -> AsyncIterator[ScriptedServer]:
    """A server on a free loopback port that does what the test tells it."""
    async with ScriptedServer() as running:
        yield running


@pytest.fixture
async def client(server: ScriptedServer, shell: Shell) -> AsyncIterator[Connected]:
    """A client of that server."""
    async with shell.connect(server.url) as connected:
        yield connected


@pytest.fixture
async def impatient(server: ScriptedServer, shell: Shell) -> AsyncIterator[Connected]:
    """A client of that server whose calls fail when there is no connection."""
    async with shell.connect(server.url, on_disconnect="fail") as connected:
        yield connected


@pytest.fixture
def scripted() -> Iterator[InThread]:
    """That server in a thread, for a client in the main thread."""
    with running(ScriptedServer()) as host:
        yield host


@pytest.fixture
def steady_thread() -> Iterator[InThread]:
    """One that answers by itself."""
    with running(SteadyServer(size=20_000)) as host:
        yield host
