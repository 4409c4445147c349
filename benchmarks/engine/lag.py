"""Does the engine starve the server's event loop? The lag of the loop while the engine denoises on all cores.

A timer is due every millisecond in a uvloop like the server's; how much later it runs is the lag that every request
meets. The engine is a real child process. Each way is measured for some seconds, all of them in turn, in each round:

    idle            the engine is up and has nothing to do
    nice 0 ... 19   all cores, 16 requests at once, the engine standing back that far (`--niceness`)
    one core less   nice 0, a thread less than there are cores (`--threads`)

`steps/s` is what the engine did meanwhile: what standing back costs. Further it is measured how long the loop is busy
with taking over one finished image from the engine, by its size.

    python -m benchmarks.engine.lag --json benchmarks/results/engine_lag.json
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
import uvloop

from benchmarks import measure
from benchmarks.engine import lab
from pixwire_server import builtin_model
from pixwire_server.engine import api
from pixwire_server.engine.child import usable_cores
from pixwire_server.engine.link import Decoder, encode
from pixwire_server.engine.process import EngineProcess

INTERVAL_S = 0.001
REQUESTS = 16
STEPS = 200
READ_SIZE = 1 << 18
"""What uvloop hands over at a time."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the engine."""

    name: str
    busy: bool = True
    niceness: int = 0
    threads: int = 0


def ways() -> tuple[Way, ...]:
    """All that are compared, the idle one first."""
    fewer = Way("one core less", threads=max(1, usable_cores() - 1))
    return (Way("idle", busy=False), *(Way(f"nice {n}", niceness=n) for n in (0, 5, 10, 19)), fewer)


class Load:
    """An engine that always has `REQUESTS` tasks, and counts its steps."""

    def __init__(self, engine: EngineProcess, busy: bool) -> None:
        self.ready = asyncio.Event()
        self.stepping = asyncio.Event()
        self.steps = 0
        self._engine = engine
        self._busy = busy
        self._handles = itertools.count(1)
        self._card: api.ModelCard | None = None
        engine.on_report(self._heard)

    def _heard(self, report: api.Report) -> None:
        if isinstance(report, api.Ready):
            self._card = report.models[0].card
            self.ready.set()
            for _ in range(REQUESTS if self._busy else 0):
                self._submit()
        elif isinstance(report, api.Progress):
            self.steps += 1
            self.stepping.set()
        elif isinstance(report, api.Left):
            self._submit()

    def _submit(self) -> None:
        card, handle = self._card, next(self._handles)
        assert card is not None
        size = card.default_width, card.default_height
        task = api.GenerateTask(handle, "a red circle", "", *size, STEPS, 3.0, handle)
        self._engine.send(api.Submit(task))


@asynccontextmanager
async def running(way: Way) -> AsyncIterator[Load]:
    """The engine as this way says; its steps have begun."""
    engine = EngineProcess()
    load = Load(engine, way.busy)
    settings = (api.ModelSettings(str(builtin_model.path()), device="cpu"),)
    config = api.EngineConfig(settings, threads=way.threads, niceness=way.niceness, log_level="WARNING")
    await engine.start(config)
    try:
        await load.ready.wait()
        if way.busy:
            await load.stepping.wait()
        yield load
    finally:
        engine.kill()
        await engine.stop(0)


async def lags(seconds: float) -> list[float]:
    """How much later than due a timer ran, in milliseconds, for each time it was due."""
    found = []
    end = time.perf_counter() + seconds
    while (due := time.perf_counter() + INTERVAL_S) < end:
        await asyncio.sleep(INTERVAL_S)
        found.append(max(0.0, (time.perf_counter() - due) * 1000))
    return found


async def one(way: Way, seconds: float) -> dict[str, float]:
    """The lag of one way in one round."""
    async with running(way) as load:
        before = load.steps
        start = time.perf_counter()
        found = await lags(seconds)
        rate = (load.steps - before) / (time.perf_counter() - start)
    return {
        "p50, ms": measure.percentile(found, 0.5),
        "p99, ms": measure.percentile(found, 0.99),
        "worst, ms": max(found),
        "steps/s": rate,
    }


def taking_over(megabytes: float, repeats: int) -> float:
    """Milliseconds that the loop is busy with one image of this size coming from the engine, the median."""
    image = api.EncodedImage(os.urandom(int(megabytes * 1e6)), "image/png", 1024, 1024, 1)
    data = b"".join(encode(api.Finished(1, (image,), api.JobStats(1, 1.0, 1.0, 1.0, 1.0, 1.0))))
    pieces = [data[start : start + READ_SIZE] for start in range(0, len(data), READ_SIZE)]
    times = []
    for _ in range(repeats):
        decoder, start = Decoder(), time.perf_counter()
        for piece in pieces:
            decoder.feed(piece)
        times.append((time.perf_counter() - start) * 1000)
    return measure.percentile(times, 0.5)


def main(
    seconds: Annotated[float, typer.Option(help="of each way in each round")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    quick: lab.Quick = False,
    json_file: lab.Json = None,
) -> None:
    """Lag of the event loop beside a busy engine."""
    if quick:
        seconds, rounds = 0.5, 1
    chosen = ways()

    async def all_rounds() -> dict[str, list[dict[str, float]]]:
        with lab.bar("lag", rounds * len(chosen)) as done:
            contestants = {way.name: lambda way=way: one(way, seconds) for way in chosen}
            return await measure.in_turn(rounds, contestants, done)

    results = uvloop.run(all_rounds())
    against = measure.ratios(results, "p99, ms", "idle")
    rows: list[dict[str, object]] = [
        {"engine": name, **{key: f"{value:.3g}" for key, value in row.items()}, "p99 / idle": f"{against[name]:.2g}"}
        for name, row in measure.summarise(results).items()
    ]
    images: list[dict[str, object]] = [
        {"image, MB": size, "loop busy, ms": taking_over(size, 3 if quick else 50)} for size in (0.01, 0.1, 1.5, 8.0)
    ]
    lab.show(f"lag of the event loop beside the engine, {usable_cores()} cores", rows)
    lab.show("taking over an image from the engine", images)
    settings = {"seconds": seconds, "rounds": rounds, "requests": REQUESTS, "interval_ms": INTERVAL_S * 1000}
    lab.record(json_file, "engine/lag", settings | {"images": images}, rows)


if __name__ == "__main__":
    typer.run(main)
