"""The client library, both shells, against a server in memory that answers at once and does not count.

The asyncio shell runs on uvloop without a socket, so that every read is of the same size. The sync one has a real
socket and a thread of its own, which is counted as well; its server is a process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

import pixwire
from benchmarks import processes
from benchmarks.guard.counting import Counter
from benchmarks.guard.protocol import ANNOUNCED, DONE, IMAGE, JOB, PIXELS, STATUS
from benchmarks.guard.scenario import Moved, Scenario, Stage
from pixwire_protocol import messages
from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.incoming import Received

TIMES = 32
PIECE = 64 * 1024
"""Bytes that one read of a socket gives."""


class Server(asyncio.Transport):
    """What the client takes for its socket: a server that answers in the next turn of the loop."""

    def __init__(self, counter: Counter, loop: asyncio.AbstractEventLoop, client: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self.moved = Moved()
        self._counter, self._loop, self._client = counter, loop, client
        self._connection = Connection(Role.SERVER, Settings(agent="guard", server_id="guard", epoch="1"))
        self._closing = False

    def write(self, data: Any) -> None:
        with self._counter.off():
            self.moved.bytes += len(data)
            self.moved.writes += 1
            for item in self._connection.receive(bytes(data)):
                if isinstance(item, Received):
                    self._answer(item.stream, item.message)
            self._loop.call_soon(self._deliver)

    def _answer(self, stream: int, message: messages.Message) -> None:
        match message:
            case messages.Status():
                self._connection.send(stream, messages.Result(STATUS), end=True)
            case messages.Submit():
                self._connection.send(stream, messages.Result({**STATUS, "duplicate": False}), end=True)
            case messages.Watch():
                self._connection.send(stream, messages.Result(DONE), end=True)
            case messages.Fetch():
                self._connection.send(stream, messages.Result(ANNOUNCED))
                self._connection.send_data(stream, PIXELS, end=True)

    def _deliver(self) -> None:
        with self._counter.off():
            buffers = self._connection.data_to_send() if self._connection.has_output else []
            data = memoryview(b"".join(buffers))
        while data:
            buffer = memoryview(self._client.get_buffer(PIECE))
            taken = min(len(buffer), len(data))
            buffer[:taken] = data[:taken]
            self._client.buffer_updated(taken)
            data = data[taken:]
        if self._connection.has_output:
            self._loop.call_soon(self._deliver)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._client.connection_lost, None)

    def abort(self) -> None:
        self.close()


class MemoryLoop(uvloop.Loop):  # type: ignore[misc, unused-ignore]
    """A loop on which every connection leads to a `Server`."""

    counter: Counter
    server: Server

    async def create_connection(  # type: ignore[override, unused-ignore]
        self, make: Callable[[], Any], *_: Any, **__: Any
    ) -> Any:
        protocol = make()
        self.server = Server(self.counter, self, protocol)
        protocol.connection_made(self.server)
        return self.server, protocol


Call = Callable[[pixwire.AsyncClient, Any], Awaitable[object]]


@contextmanager
def _asyncio(counter: Counter, call: Call, times: int, at_once: int) -> Iterator[Stage]:
    def make_loop() -> MemoryLoop:
        loop = MemoryLoop()
        loop.counter = counter
        return loop

    with asyncio.Runner(loop_factory=make_loop) as runner:
        client = runner.run(_connect())
        job = client.job(JOB)
        loop = runner.get_loop()
        assert isinstance(loop, MemoryLoop)

        async def some() -> None:
            for _ in range(times):
                if at_once == 1:
                    await call(client, job)
                else:
                    await asyncio.gather(*(call(client, job) for _ in range(at_once)))

        try:
            yield Stage(lambda: runner.run(some()), times * at_once, loop.server.moved)
        finally:
            runner.run(client.close())


async def _connect() -> pixwire.AsyncClient:
    return await pixwire.connect("pixwire://127.0.0.1:1")


@contextmanager
def _sync(counter: Counter) -> Iterator[Stage]:
    with (
        processes.child("benchmarks.client.server") as server,
        counter.with_threads(),
        pixwire.Client(f"pixwire://127.0.0.1:{server.line}") as client,
    ):
        job = client.job(JOB)

        def work() -> None:
            for _ in range(TIMES):
                job.status()

        yield Stage(work, TIMES)


async def _fetch(client: pixwire.AsyncClient, job: Any) -> None:
    image = await job.image()
    assert len(image.data) == IMAGE


def scenarios() -> Iterator[Scenario]:
    """Calls of both shells."""
    cases: dict[str, tuple[Call, int, int]] = {
        "status": (lambda client, job: job.status(), TIMES, 1),
        "status, 32 at once": (lambda client, job: job.status(), 2, 32),
        "submit": (lambda client, job: client.submit("a red circle", seed=1, steps=12), TIMES, 1),
        "image of 1 MiB": (_fetch, 2, 1),
    }
    for name, case in cases.items():

        def prepare(counter: Counter, case: tuple[Call, int, int] = case) -> Any:
            return _asyncio(counter, *case)

        yield Scenario(f"client, asyncio: {name}", prepare, memory="image" in name)
    yield Scenario("client, sync: status", _sync, memory=False)
