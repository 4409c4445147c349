"""A scripted server in a thread of its own, for tests that use the blocking client in the main thread."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scripted_server import Request, ScriptedServer

SECONDS = 20.0


class InThread:
    """A server in a loop in a thread; `do` runs something there and waits for it."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="server")

    @property
    def url(self) -> str:
        return self.server.url

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SECONDS)

    def next(self, kind: type) -> Request:
        return self.do(self.server.next(kind))

    def then(self, kind: type, act: Callable[[Request], object]) -> None:
        """When that request comes, do this, without waiting for it here."""

        async def wait() -> None:
            act(await self.server.next(kind))

        asyncio.run_coroutine_threadsafe(wait(), self.loop)

    def call(self, function: Callable[..., Any], *args: Any, **more: Any) -> None:
        async def work() -> None:
            function(*args, **more)

        self.do(work())


@contextmanager
def running(server: ScriptedServer) -> Iterator[InThread]:
    before = set(os.listdir("/proc/self/fd"))
    host = InThread(server)
    host.thread.start()
    host.do(server.__aenter__())
    try:
        yield host
    finally:
        host.do(server.__aexit__(None, None, None))
        host.loop.call_soon_threadsafe(host.loop.stop)
        host.thread.join()
        host.loop.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pixwire")] == []
    assert set(os.listdir("/proc/self/fd")) <= before


def interrupt(request: Request | None = None) -> None:
    """Ctrl-C: what the terminal does."""
    os.kill(os.getpid(), signal.SIGINT)
