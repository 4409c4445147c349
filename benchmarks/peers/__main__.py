"""pixwire against other servers that people build for the same model: the same trace, one core each.

    python -m benchmarks.peers --json benchmarks/results/peers.json --plots benchmarks/results
    python -m benchmarks.peers --quick

A burst of requests at once gives images a second; Poisson arrivals at 0.8 times what the plain pipeline can bear give
latencies; then a long job is given up, and the server is killed (kill -9) in the middle of a trace. Every image is
compared with the one that its prompt and seed should give. The peers: `benchmarks.peers.servers`.

All stand all the time and take turns in every round; while it is not its turn a peer is stopped (SIGSTOP), since some
poll when nobody asks them and would take that from the others. Each has made a burst before anything is measured.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

import pixwire
from benchmarks import measure, processes, record
from benchmarks.deployments import cores
from benchmarks.deployments.figures import counts
from benchmarks.deployments.outcomes import Kind, Outcome, latencies
from benchmarks.deployments.prompts import Prompts
from benchmarks.deployments.references import judge_of
from benchmarks.deployments.services import Pixwire
from benchmarks.deployments.stands import Deployment, Stand
from benchmarks.deployments.trace import STEPS, Request, poisson
from benchmarks.load import Latencies

from . import report
from .cancel import Begin, by_http, by_pxw, seconds_to_freed
from .services import Peer

CLIENT = "benchmarks.peers.client"
PEERS = {"FastAPI, one lock": "fastapi_lock", "LitServe": "litserve_batch", "mosec": "mosec_batch",
         "thread per request": "naive_threads"}  # fmt: skip
PIXWIRE = "pixwire"
MIXED = (STEPS - 2, STEPS, STEPS + 2)
"""Steps of the requests in the mixed burst; everywhere else all have the same, which is what static batches like."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    burst: int
    seconds: float
    """Length of the trace at `load`."""
    cancels: int
    warm: int
    """Images that each makes at once before anything is measured."""
    killed: Sequence[str]
    names: Sequence[str] = (*PEERS, PIXWIRE)
    load: float = 0.8
    kill_load: float = 1.5
    kill_seconds: float = 5.0
    long_steps: int = 60
    """Of the job that is given up."""
    probes: int = 6
    """Images that the capacity is measured with."""


FULL = Plan(24, 12.0, 3, 24, (*PEERS, PIXWIRE))
QUICK = Plan(3, 0.5, 1, 1, ["FastAPI, one lock"], kill_seconds=0.5, long_steps=10, probes=2)
SETTLE_S = 0.2
"""After a stop: a server's timers go off at once, and it closes connections that were idle for long."""


def service_of(name: str, folder: Path) -> "Peer | Pixwire":
    home = folder / name.replace(" ", "-").replace(",", "")
    home.mkdir()
    return Pixwire(home) if name == PIXWIRE else Peer(PEERS[name], home)


@contextlib.asynccontextmanager
async def standing(names: Sequence[str], folder: Path) -> AsyncIterator[dict[str, Stand]]:
    """These servers, each with an application."""
    stands = {}
    for name in names:
        application, door = ("pxw", "tcp") if name == PIXWIRE else (CLIENT, "")
        stands[name] = Stand(Deployment(name, application, name, door), service_of(name, folder), folder)
    try:
        await asyncio.gather(*(stand.service.start() for stand in stands.values()))
        await asyncio.gather(*(stand.start() for stand in stands.values()))
        yield stands
        await asyncio.gather(*(stand.stop() for stand in stands.values()))
    finally:
        await asyncio.gather(*(stand.kill() for stand in stands.values()))
        await asyncio.gather(*(stand.service.stop() for stand in stands.values()))


class Run:
    """One run of the benchmark; what it found is in its attributes."""

    def __init__(self, plan: Plan, rounds: int, stands: dict[str, Stand], done: Callable[[], None]) -> None:
        self.plan, self.rounds, self.stands, self.done = plan, rounds, stands, done
        self.prompts = Prompts(seed=1)
        self.rows: dict[str, list[dict[str, float]]] = {name: [] for name in stands}
        self.waits = {name: Latencies() for name in stands}
        self.cancelled: dict[str, list[float]] = {}
        self.whole: dict[str, float] = {}
        self.killed: dict[str, dict[str, float]] = {}
        self.ends: dict[str, list[Outcome]] = {name: [] for name in stands}
        self.capacity = 0.0

    async def prepare(self) -> None:
        """Measure what one image takes on the simplest server, draw the traces, make the right images."""
        plan, take = self.plan, self.prompts.take
        warm, probes, first = take(plan.warm), take(plan.probes), next(iter(self.stands))
        for name, stand in self.stands.items():
            async with self.turn(name):
                await stand.under_load(warm, report.LONGEST_S)
        async with self.turn(first):
            made = await self.stands[first].one_by_one(probes)
        self.capacity = len(made) / sum(one.over - one.sent for one in made)
        rate = plan.load * self.capacity
        self._bursts = [take(plan.burst) for _ in range(self.rounds)]
        self._mixed = [
            [self.prompts.with_steps(MIXED[n % len(MIXED)]) for n in range(plan.burst)] for _ in self._bursts
        ]
        self._traces = [
            poisson(take(max(2, round(rate * plan.seconds))), rate, number) for number in range(self.rounds)
        ]
        rate = plan.kill_load * self.capacity
        self._kill = poisson(take(max(2, round(rate * plan.kill_seconds))), rate, -1)
        judged = list(self.prompts.requests.values())[plan.warm + plan.probes :]
        self._judge = await judge_of(judged, self.prompts.wanted)

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Meanwhile no other peer computes or polls. pixwire is not stopped: idle, it takes a thousandth of a core."""
        others = [stand.service for other, stand in self.stands.items() if other != name]
        peers = [service for service in others if isinstance(service, Peer)]
        for service in peers:
            service.pause()
        try:
            await asyncio.sleep(SETTLE_S)
            yield
        finally:
            for service in peers:
                service.resume()

    async def _ask(self, name: str, requests: Sequence[Request], seconds: float) -> list[Outcome]:
        outcomes = self._judge.judge(await self.stands[name].under_load(requests, seconds))
        self.ends[name] += outcomes
        return outcomes

    async def play(self) -> None:
        """Bursts and traces, every server in turn."""
        for burst, mixed, trace in zip(self._bursts, self._mixed, self._traces, strict=True):
            for name in self.stands:
                async with self.turn(name):
                    row = {"images_per_s": rate_of(await self._ask(name, burst, report.LONGEST_S))}
                    row["mixed_images_per_s"] = rate_of(await self._ask(name, mixed, report.LONGEST_S))
                    self.rows[name].append(row | self._latencies(name, await self._ask(name, trace, report.LONGEST_S)))
                self.done()

    def _latencies(self, name: str, outcomes: Sequence[Outcome]) -> dict[str, float]:
        found = Latencies()
        for seconds in latencies(outcomes):
            found.add(seconds)
        self.waits[name].merge(found)
        return {key: found.figures()[key] for key in ("p50_ms", "p95_ms", "p99_ms")}

    async def cancel(self) -> None:
        """A long job, given up."""
        async with aiohttp.ClientSession() as http:
            for name, stand in self.stands.items():
                address = stand.service.address(stand.deployment.door)
                async with self.turn(name):
                    if name == PIXWIRE:
                        async with await pixwire.connect(address) as client:
                            await self._cancel(name, by_pxw(client))
                    else:
                        await self._cancel(name, by_http(http, address))
                self.done()

    async def _cancel(self, name: str, begin: Begin) -> None:
        stand = self.stands[name]
        assert isinstance(stand.service, Peer | Pixwire)
        found = []
        for number in range(self.plan.cancels + 1):  # the first one is let run to its end: so long it takes
            request = Request(-1, f"a red circle on a blue background {number}", number, self.plan.long_steps)
            if number == 0:
                begun = time.monotonic()
                (made,) = await stand.one_by_one([request])
                assert made.kind is Kind.DONE, made.why
                self.whole[name] = time.monotonic() - begun
            else:
                found.append(await seconds_to_freed(stand.service.pid, begin, request, self.whole[name]))
        self.cancelled[name] = found

    async def kill(self) -> None:
        """kill -9 in the middle of a trace."""
        for name in self.plan.killed:
            async with self.turn(name):
                outcomes = await self.stands[name].killed(self._kill, self.plan.kill_seconds / 2)
            outcomes = self._judge.judge(outcomes)
            self.killed[name] = counts(outcomes)
            self.done()

    def figures(self) -> dict[str, dict[str, measure.Summary]]:
        """A row for each server."""
        found = measure.summarise(self.rows)
        for name, row in found.items():
            ends, killed = self.ends[name], self.killed.get(name)
            row["freed_ms"] = measure.Summary.of([1000 * seconds for seconds in self.cancelled[name]])
            row["whole_ms"] = measure.Summary.of([1000 * self.whole[name]])
            for kind in (Kind.WRONG, Kind.FAILED):
                row[str(kind)] = measure.Summary.of([sum(one.kind is kind for one in ends)])
            row["asked"] = measure.Summary.of([len(ends)])
            if killed is not None:
                row["lost"] = measure.Summary.of([killed["lost"]])
        return found


def rate_of(outcomes: Sequence[Outcome]) -> float:
    """Images a second, from the first request to the last image; wrong ones are none."""
    done = [one.over for one in outcomes if one.kind is Kind.DONE]
    return len(done) / (max(done) - min(one.due for one in outcomes)) if done else 0.0


async def run(plan: Plan, rounds: int, folder: Path) -> Run:
    """Measure."""
    steps = len(plan.names) * (rounds + 1) + len(plan.killed)
    with record.bar("peers", steps) as done:
        async with standing(plan.names, folder) as stands:
            cores.stay(cores.CLIENT)
            found = Run(plan, rounds, stands, done)
            await found.prepare()
            await found.play()
            await found.cancel()
            await found.kill()
            return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = record.parse(record.parser(__doc__, rounds=2), arguments, quick_rounds=1)
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="peers-") as name, processes.congestion():
        found = uvloop.run(run(plan, options.rounds, Path(name)))
    figures = found.figures()
    report.show(figures, found.killed, found.capacity * plan.load)
    if options.plots:
        report.plot(figures, {name: waits.curve() for name, waits in found.waits.items()}, options.plots)
    record.write(
        options,
        "peers",
        results=figures,
        ratios=report.ratios(found.rows, PIXWIRE),
        killed=found.killed,
        latencies={name: waits.figures() for name, waits in found.waits.items()},
        title="The same model behind other servers",
        plots=report.PLOTS if options.plots else [],
        notes=report.NOTES,
        why=report.why(figures, PIXWIRE),
        rate_per_s=found.capacity * plan.load,
        pinned=cores.PINNED,
    )


if __name__ == "__main__":
    main()
