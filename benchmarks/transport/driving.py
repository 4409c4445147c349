"""How a client is driven: so many requests under way, for so long. Times in seconds, results as their names say."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.measure import percentile
from benchmarks.processes import cpu_seconds
from benchmarks.transport.clients.base import BlockingClient, Call, Client

Figures = dict[str, float]
WARM = 8
"""Requests of each lane before the clock starts."""
GIB = 1 << 30
LEAST = 3
"""Fetches of one run, however long they take."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many connections, and how many requests under way on each."""

    name: str
    connections: int
    flight: int

    @property
    def lanes(self) -> int:
        return self.connections * self.flight


ONE = Load("one at a time", 1, 1)
ONE_CONNECTION = Load("64 on one connection", 1, 64)
CONNECTIONS = Load("64 connections", 64, 1)
LOADS = {load.name: load for load in (ONE, ONE_CONNECTION, CONNECTIONS)}


class Meter:
    """A clock for the timed part of a run: wall time, and the CPU time of this process and of the server's."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._begin = self._client = self._server = 0.0

    def start(self) -> float:
        """Now; the timed part begins."""
        self._server, self._client, self._begin = self._servers(), time.process_time(), perf_counter()
        return self._begin

    def requests(self, times: list[float]) -> Figures:
        """What a run of requests came to; it ends now."""
        whole, client, server = self._stop()
        count = len(times)
        return {
            "count": float(count),
            "p50_us": percentile(times, 0.5) * 1e6,
            "p99_us": percentile(times, 0.99) * 1e6,
            "per_s": count / whole,
            "server_cpu_us": server / count * 1e6,
            "client_cpu_us": client / count * 1e6,
        }

    def fetches(self, times: list[float], size: int) -> Figures:
        """What a run of fetches came to; it ends now."""
        whole, client, server = self._stop()
        moved = len(times) * size
        return {
            "count": float(len(times)),
            "p50_us": percentile(times, 0.5) * 1e6,
            "mb_per_s": moved / whole / 1e6,
            "server_cpu_s_per_gib": server / moved * GIB,
            "client_cpu_s_per_gib": client / moved * GIB,
        }

    def _stop(self) -> tuple[float, float, float]:
        end, client = perf_counter(), time.process_time()
        return end - self._begin, client - self._client, self._servers() - self._server

    def _servers(self) -> float:
        return sum(map(cpu_seconds, self._pids))


async def requests(client: Client, operation: str, load: Load, seconds: float, meter: Meter) -> Figures:
    """Requests without a pause, from as many lanes as the load has."""
    await client.connect(load.connections)
    calls = [client.call(operation, lane // load.flight) for lane in range(load.lanes)]
    times: list[float] = []

    async def warm(call: Call) -> None:
        for _ in range(WARM):
            await call()

    async def lane(call: Call, end: float) -> None:
        now = 0.0
        while now < end:  # at least one, however late the machine is
            start = perf_counter()
            await call()
            now = perf_counter()
            times.append(now - start)

    await asyncio.gather(*map(warm, calls))
    end = meter.start() + seconds
    await asyncio.gather(*(lane(call, end) for call in calls))
    return meter.requests(times)


async def fetches(client: Client, size: int, how: str, seconds: float, meter: Meter) -> Figures:
    """Fetches of one image, one after the other."""
    await client.connect(1)
    await client.fetch(size, how)
    times: list[float] = []
    now = begin = meter.start()
    while now < begin + seconds or len(times) < LEAST:
        start = now
        got = len(await client.fetch(size, how))
        now = perf_counter()
        times.append(now - start)
        check(got, size)
    return meter.fetches(times, size)


def check(got: int, size: int) -> None:
    """Raises ValueError for an image that is not whole: it would be fast."""
    if got != size:
        raise ValueError(f"an image of {size} bytes came with {got}")


@dataclass(slots=True)
class Mixed:
    """A small request every `every` seconds while images of `size` are fetched back to back (0: none)."""

    client: Client
    size: int
    how: str
    every: float
    seconds: float

    async def run(self) -> Figures:
        """Latency of the small ones, from their leaving and from when they were due; MB/s of the large ones."""
        await self.client.connect(2)
        status = self.client.call("status", 0)
        await status()
        took: list[float] = []
        since_due: list[float] = []
        begin = perf_counter()
        large = asyncio.create_task(self._fetch(begin + self.seconds))

        async def small(due: float) -> None:
            start = perf_counter()
            await status()
            end = perf_counter()
            took.append(end - start)
            since_due.append(end - due)

        due, sent = begin, []
        while due < begin + self.seconds:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            sent.append(asyncio.create_task(small(due)))
            due += self.every
        await asyncio.gather(*sent)
        bytes_per_s = await large
        return {
            "count": float(len(took)),
            "p50_us": percentile(took, 0.5) * 1e6,
            "p99_us": percentile(took, 0.99) * 1e6,
            "p99_from_due_us": percentile(since_due, 0.99) * 1e6,
            "mb_per_s": bytes_per_s / 1e6,
        }

    async def _fetch(self, end: float) -> float:
        """Bytes per second of the fetches that ended."""
        if not self.size:
            return 0.0
        begin, done = perf_counter(), 0
        while perf_counter() < end:
            done += len(await self.client.fetch(self.size, self.how))
        return done / (perf_counter() - begin)


def blocking_requests(client: BlockingClient, operation: str, load: Load, seconds: float, meter: Meter) -> Figures:
    """`requests` for threads: one for each lane."""
    client.connect(load.connections)
    calls = [client.call(operation, lane // load.flight) for lane in range(load.lanes)]
    times: list[list[float]] = [[] for _ in calls]
    failed: list[BaseException] = []
    begun = 0.0

    def go() -> None:
        nonlocal begun
        begun = meter.start()

    barrier = threading.Barrier(load.lanes, action=go)

    def lane(call: Callable[[], object], own: list[float]) -> None:
        try:
            for _ in range(WARM):
                call()
            barrier.wait()
            end, now = begun + seconds, 0.0
            while now < end:
                start = perf_counter()
                call()
                now = perf_counter()
                own.append(now - start)
        except BaseException as error:
            barrier.abort()
            failed.append(error)

    threads = [threading.Thread(target=lane, args=pair) for pair in zip(calls[1:], times[1:], strict=True)]
    for thread in threads:
        thread.start()
    lane(calls[0], times[0])  # in the main thread: a request at a time needs no other one
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return meter.requests([one for own in times for one in own])


def blocking_fetches(client: BlockingClient, size: int, how: str, seconds: float, meter: Meter) -> Figures:
    """`fetches` for a blocking client."""
    client.connect(1)
    client.fetch(size, how)
    times: list[float] = []
    now = begin = meter.start()
    while now < begin + seconds or len(times) < LEAST:
        start = now
        got = len(client.fetch(size, how))
        now = perf_counter()
        times.append(now - start)
        check(got, size)
    return meter.fetches(times, size)
