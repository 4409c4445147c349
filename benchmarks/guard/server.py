"""The server's side of one connection: real protocol, door, jobs and journal; no socket and no engine.

Counted is the thread of the event loop, from the bytes of a request to the bytes of its answer. uvloop runs it, as in
the server; the writer of the journal is a thread of its own and does not count.
"""

import asyncio
import itertools
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.guard.counting import Counter
from benchmarks.guard.protocol import IMAGE
from benchmarks.guard.scenario import Moved, Scenario, Stage
from benchmarks.stored_job import store_job
from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.incoming import Received
from pixwire_protocol.messages import Data, Fetch, Request, Result, Status, Submit
from pixwire_protocol.params import GenerateParams
from pixwire_server.doors.door import Door
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tcp import PxwProtocol
from pixwire_server.engine import api
from pixwire_server.jobs import Clock, Jobs, JobsSettings, open_jobs

CARD = api.ModelCard(
    name="guard/model", pipeline_class="None", default_steps=20, default_guidance_scale=5.0, default_width=64,
    default_height=64, size_multiple=8, max_width=512, max_height=512, max_steps=100, max_count=4, device="cpu",
    dtype="float32",
)  # fmt: skip
STORED = uuid.UUID(int=1).hex
TIMES = 32
PIECE = 64 * 1024
"""Bytes that one read of a socket gives."""


class NoEngine:
    """Is ready at once and is given nothing: the server keeps all jobs in its queue."""

    def on_report(self, callback: Callable[[api.Report], None]) -> None:
        self._report = callback

    def on_exit(self, callback: Callable[[int], None]) -> None:
        self._exit = callback

    async def start(self, config: api.EngineConfig) -> None:
        ready = api.Ready((api.ModelInfo(CARD.name, api.ModelState.LOADED, CARD),))
        asyncio.get_running_loop().call_soon(self._report, ready)

    def send(self, command: api.Command) -> None:
        """Nothing is done."""

    async def stop(self, grace: float) -> int:
        self._exit(0)
        return 0

    def kill(self) -> None:
        self._exit(-9)


class Wire(asyncio.Transport):
    """A socket that takes everything at once. `client` reads what the server writes; that does not count."""

    def __init__(self, counter: Counter) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000)})
        self.client = Connection(Role.CLIENT, Settings(agent="guard"))
        self.moved = Moved()
        self.arrived: list[Received] = []
        self.more = asyncio.Event()
        self._counter = counter
        self._closing = False

    def write(self, data: Any) -> None:
        self.writelines([data])

    def writelines(self, list_of_data: Any) -> None:
        with self._counter.off():
            data = b"".join(list_of_data)
            self.moved.bytes += len(data)
            self.moved.writes += 1
            heard = self.client.receive(data)
            self.arrived += [item for item in heard if isinstance(item, Received) and item.stream]
            self.more.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self._closing = True

    def close(self) -> None:
        self._closing = True


class Served:
    """A client of the server; both in one loop."""

    def __init__(self, jobs: Jobs, counter: Counter) -> None:
        self._counter = counter
        self.wire = Wire(counter)
        door = Door(jobs, DoorSettings(agent="guard", server_id="guard", epoch="1", stream_rate=1_000_000))
        self._protocol = PxwProtocol(door._reception, local=True)
        self._protocol.connection_made(self.wire)

    def deliver(self) -> None:
        """Let the server read what the client has to say."""
        while self.wire.client.has_output:
            with self._counter.off():
                data = b"".join(self.wire.client.data_to_send())
            while data:
                buffer = self._protocol.get_buffer(PIECE)
                piece, data = data[: len(buffer)], data[len(buffer) :]
                buffer[: len(piece)] = piece
                self._protocol.buffer_updated(len(piece))

    async def ask(self, messages: Sequence[Request]) -> list[Received]:
        """Send requests in one packet and wait for the ends of all answers."""
        self.wire.arrived.clear()
        self.wire.more.clear()
        for message in messages:
            with self._counter.off():
                self.wire.client.open(message)
        self.deliver()
        while sum(item.end for item in self.wire.arrived) < len(messages):
            await self.wire.more.wait()
            self.wire.more.clear()
            with self._counter.off():
                self._take()
            self.deliver()  # credit, and what keeps the connection alive
        return self.wire.arrived

    def _take(self) -> None:
        """Give credit back for the data that came."""
        for item in self.wire.arrived:
            if isinstance(item.message, Data) and len(item.message.tail):
                self.wire.client.consumed(item.stream, len(item.message.tail))
        self.wire.arrived = [item for item in self.wire.arrived if item.end or not isinstance(item.message, Data)]

    def leave(self) -> None:
        self._protocol.connection_lost(None)


@contextmanager
def serving(counter: Counter) -> Iterator[tuple[Served, asyncio.Runner]]:
    """A server with one finished job that has an image of 1 MiB, and the runner of its loop. Its clock stands still."""
    ticks = itertools.count()
    clock = Clock(monotonic=lambda: 1000.0 + next(ticks) * 1e-6, wall_ms=lambda: 1_700_000_000_000)
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        folder = Path(name) / "data"
        store_job(folder, STORED, IMAGE)
        settings = JobsSettings(folder, api.EngineConfig((api.ModelSettings("guard"),), max_resident=0), 1_000_000)
        jobs = runner.run(open_jobs(settings, make_engine=NoEngine, clock=clock, draw_seed=lambda: 7))

        async def enter() -> Served:
            served = Served(jobs, counter)
            served.deliver()
            while not served.wire.more.is_set():
                await served.wire.more.wait()
            return served

        async def leave() -> None:
            served.leave()
            await jobs.close()

        served = runner.run(enter())
        try:
            yield served, runner
        finally:
            runner.run(leave())


def submits(numbers: "itertools.count[int]") -> list[Request]:
    """Jobs that are new each time."""
    params = GenerateParams(prompt="a red circle", seed=1, steps=12).pack()
    return [Submit(job=uuid.UUID(int=next(numbers)).hex, kind="txt2img", tail=params)]


@contextmanager
def _stage(counter: Counter, make: Callable[[], Sequence[Request]], times: int) -> Iterator[Stage]:
    with serving(counter) as (served, runner):

        async def some() -> None:
            for _ in range(times):
                with counter.off():
                    messages = make()
                answers = await served.ask(messages)
                assert all(isinstance(item.message, Result | Data) for item in answers)

        yield Stage(lambda: runner.run(some()), times * len(make()), served.wire.moved)


def scenarios() -> Iterator[Scenario]:
    """SUBMIT, STATUS and FETCH, from bytes to bytes."""
    numbers = itertools.count(100)
    cases: dict[str, tuple[Callable[[], Sequence[Request]], int, bool]] = {
        "SUBMIT": (partial(submits, numbers), TIMES, False),
        "SUBMIT, 16 in one packet": (lambda: [m for _ in range(16) for m in submits(numbers)], 4, False),
        "STATUS": (lambda: [Status(STORED)], TIMES, False),
        "STATUS, 64 in one packet": (lambda: [Status(STORED)] * 64, 2, False),
        "FETCH of 1 MiB": (lambda: [Fetch(STORED)], 2, True),
    }
    for name, (make, times, memory) in cases.items():
        yield Scenario(f"server: {name}", partial(_stage, make=make, times=times), memory)
