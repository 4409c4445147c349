"""The same model and the same trace in the five deployments of the study that pixwire grew out of.

    python -m benchmarks.deployments --json benchmarks/results/deployments.json --plots benchmarks/results
    python -m benchmarks.deployments --quick

Latency split into transport, queue, compute and delivery; 0.5, 0.9, 1.5 and 3 times the load that the plain pipeline
can bear, at Poisson times; kill -9 in the middle of a trace. Then the study's claims, with a verdict from the figures.
The servers are on one core, the application on another; whatever computes has one thread.
"""

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import processes, record

from . import cores, report
from .figures import Rounds, counts, lines_of_code, summed, under_load
from .outcomes import Kind, Outcome
from .prompts import Prompts
from .references import Judge, judge_of
from .services import Service
from .stands import DEPLOYMENTS, SERVICES, Deployment, Stand, parts
from .trace import Request, poisson
from .verdicts import EMBEDDED, INSIDE, PXW, Figures, judge


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    alone: int
    """Requests of one round without load."""
    loads: Sequence[float]
    """Times the capacity."""
    seconds: float
    """Length of a trace."""
    killed: Sequence[str]
    """Deployments that are killed."""
    probes: int = 12
    """Images that the capacity is measured with."""
    patience: float = 12.0
    """In times of one image."""
    kill_load: float = 1.5
    left_out: Sequence[str] = ()
    warm: int = 2
    """Requests of the round ahead that is thrown away."""
    splits: int = 3
    """Rounds without load for each round under load: they are short."""


FULL = Plan(8, (0.5, 0.9, 1.5, 3.0), 4.0, [one.title for one in DEPLOYMENTS])
QUICK = Plan(1, (3.0,), 0.4, [PXW], probes=2, patience=6.0, left_out=[EMBEDDED], warm=1, splits=1)


@contextlib.asynccontextmanager
async def standing(deployments: Sequence[Deployment], folder: Path) -> AsyncIterator[dict[str, Stand]]:
    """These deployments, started; ended at the end, however that comes."""
    each = {one.title: one.service if not one.inside else one.title for one in deployments}
    made: dict[str, Service] = {}
    for one in deployments:
        key = each[one.title]
        if key not in made:
            home = folder / key.replace(" ", "-")
            home.mkdir()
            made[key] = SERVICES[one.service](home)
    stands = {one.title: Stand(one, made[each[one.title]], folder) for one in deployments}
    inside = [stand for stand in stands.values() if stand.deployment.inside]
    outside = [stand for stand in stands.values() if not stand.deployment.inside]
    try:
        await asyncio.gather(*(service.start() for service in made.values()), *(stand.start() for stand in inside))
        await asyncio.gather(*(stand.start() for stand in outside))
        yield stands
        await asyncio.gather(*(stand.stop() for stand in stands.values()))
    finally:
        await asyncio.gather(*(stand.kill() for stand in stands.values()))
        await asyncio.gather(*(service.stop() for service in made.values()))


class Run:
    """One run of the benchmark; what it found is in its attributes."""

    def __init__(self, plan: Plan, rounds: int, stands: dict[str, Stand], done: Callable[[], None]) -> None:
        self.plan, self.rounds, self.done = plan, rounds, done
        self.stands = stands
        self.capacity = 0.0
        self.patience = 0.0
        self.split: dict[str, Rounds] = {name: [] for name in stands}
        self.load: dict[str, dict[str, Rounds]] = {}
        self.killed: dict[str, dict[str, float]] = {}
        self.outcomes: list[Outcome] = []
        self._prompts = Prompts(seed=0)

    async def measure_capacity(self) -> None:
        """Images a second of the plain pipeline in the application's own process, one after the other."""
        made = await self.stands[INSIDE].one_by_one(self._prompts.take(self.plan.probes))
        self.capacity = len(made) / sum(outcome.over - outcome.sent for outcome in made)
        self.patience = self.plan.patience / self.capacity

    def draw(self) -> None:
        """All requests that there will be; every run has its own."""
        take, plan = self._prompts.take, self.plan
        self._warm = take(plan.warm)
        self._alone = [take(plan.alone) for _ in range(self.rounds * plan.splits)]
        self._loads = [{load: self._trace(load, number) for load in plan.loads} for number in range(self.rounds)]
        self._kill = self._trace(plan.kill_load, -1)

    def _trace(self, load: float, seed: int) -> list[Request]:
        rate = load * self.capacity
        return poisson(self._prompts.take(max(2, round(rate * self.plan.seconds))), rate, seed)

    async def make_references(self) -> None:
        """What every image should be."""
        drawn = self._prompts.requests
        self._judge: Judge = await judge_of(list(drawn.values())[self.plan.probes :], self._prompts.wanted)
        self.obedience = self._judge.obedience()

    def _judged(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        judged = self._judge.judge(outcomes)
        self.outcomes += judged
        return judged

    async def without_load(self) -> None:
        """The way of an image that has the machine to itself."""
        for stand in self.stands.values():  # the first one warms up, and is thrown away
            await stand.one_by_one(self._warm)
            self.done()
        for requests in self._alone:
            for name, stand in self.stands.items():
                self.split[name].append(parts(self._judged(await stand.one_by_one(requests))))
                self.done()

    async def with_load(self) -> None:
        """Every load, every deployment in turn."""
        loaded = {name: stand for name, stand in self.stands.items() if stand.deployment.overloaded}
        self.load = {name: {f"{load:g}x": [] for load in self.plan.loads} for name in loaded}
        for traces in self._loads:
            for load, requests in traces.items():
                for name, stand in loaded.items():
                    outcomes = self._judged(await stand.under_load(requests, self.patience))
                    self.load[name][f"{load:g}x"].append(under_load(outcomes, self.plan.seconds))
                    self.done()

    async def with_kill(self) -> None:
        """kill -9 in the middle of a trace, and what became of it."""
        for name in self.plan.killed:
            outcomes = await self.stands[name].killed(self._kill, self.plan.seconds / 2)
            self.killed[name] = counts(self._judged(outcomes))
            self.done()

    def figures(self) -> Figures:
        """All of it."""
        load = {name: summed(rows) for name, rows in self.load.items()}
        facts = {name: stand.facts for name, stand in self.stands.items()}
        return Figures(summed(self.split), load, self.killed, facts, lines_of_code())


def steps(plan: Plan, rounds: int, deployments: Sequence[Deployment]) -> int:
    """How often `done` is called."""
    alone, loads = 1 + rounds * plan.splits, rounds * len(plan.loads) * sum(one.overloaded for one in deployments)
    return alone * len(deployments) + loads + len(plan.killed)


async def run(plan: Plan, rounds: int, folder: Path) -> Run:
    """Measure."""
    deployments = [one for one in DEPLOYMENTS if one.title not in plan.left_out]
    with record.bar("deployments", steps(plan, rounds, deployments)) as done:
        async with standing(deployments, folder) as stands:
            found = Run(plan, rounds, stands, done)
            await found.measure_capacity()
            found.draw()
            await found.make_references()
            await found.without_load()
            await found.with_load()
            await found.with_kill()
            return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = record.parser(__doc__, rounds=2)
    options: argparse.Namespace = record.parse(parser, arguments, quick_rounds=1)
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="deployments-") as name, processes.congestion():
        found = uvloop.run(run(plan, options.rounds, Path(name)))
    figures = found.figures()
    claims = judge(figures)
    report.show(figures, claims, found.capacity, found.patience)
    if options.plots:
        report.plot(figures, options.plots)
    wrong = [outcome for outcome in found.outcomes if outcome.kind is Kind.WRONG]
    record.write(
        options,
        "deployments",
        results=report.results(figures),
        title="Five deployments of the same model",
        plots=report.PLOTS if options.plots else [],
        notes=report.NOTES,
        why=report.why(figures),
        capacity_per_s=found.capacity,
        patience_s=found.patience,
        load=figures.load,
        killed=figures.killed,
        lines=figures.lines,
        applications=figures.facts,
        claims=[asdict(claim) for claim in claims],
        images={"checked": len(found.outcomes), "wrong": len(wrong), "show_their_prompt": found.obedience},
        pinned=cores.PINNED,
        broker="a stand-in: a durable queue in SQLite with one worker, until pixwire joins machines by a real broker",
    )


if __name__ == "__main__":
    main()
