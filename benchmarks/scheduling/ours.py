"""pixwire's own policy: the server's scheduling package, wired as the dispatcher and the hub wire it."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pixwire_server.scheduling import forecast, ranking
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE, Streak, Waiting, choose
from pixwire_server.scheduling.cost import CostModel
from pixwire_server.scheduling.data import Capacity, Entry, Group, Limits
from pixwire_server.scheduling.forecast import Resident
from pixwire_server.scheduling.queue import WaitQueue

from .baselines import PLACES, call
from .simulator import Pass, Run
from .traces import MOST_ROWS, Job


@dataclass(slots=True, eq=False)
class _Ranked(Run):
    """A run with what decides its turn."""

    due: float = 0.0


class Ours:
    """Admission by `queue.WaitQueue`, composition by `composition.choose`, both fed by one cost model that learns."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.model = CostModel()
        self.queue = WaitQueue(limits)
        self.jobs: dict[int, Job] = {}
        self.dues: dict[int, float] = {}
        self.due_times = ranking.DueTimes()
        self.runs: list[_Ranked] = []
        self.orders = itertools.count()
        self.streak = Streak()
        self.slack = forecast.LEAST_SLACK

    def arrive(self, job: Job) -> None:
        latency = self.model.latency(job.work)
        cost = self.model.cost(job.work, MOST_ROWS)
        backlog = self.queue.cost + sum(
            forecast.cost_left(self.model, resident(run, 0.0), MOST_ROWS) for run in self.runs
        )
        kind = job.principal, job.priority, job.work
        due = self.due_times.give(kind, job.priority, job.arrived, latency, cost, backlog, job.deadline)
        self.jobs[job.key] = job
        self.dues[job.key] = due
        self.queue.add(
            Entry(
                job.key,
                job.principal,
                job.priority,
                job.arrived,
                due,
                cost,
                latency,
                job.deadline,
                job.work.rows,
                shape=job.work.shape.name,
            )
        )

    def next(self, now: float) -> Pass | float | None:
        hopeless = {run for run in self.runs if forecast.hopeless(self.model, resident(run, now), now)}
        for _ in hopeless:
            self.slack = forecast.slack_after(self.slack, kept=False)
        self.runs = [run for run in self.runs if run not in hopeless]
        self._admit(now)
        if not self.runs:
            return None
        calls = [self._call(run, now) for run in self.runs]
        return Pass([self.runs[index] for index in choose(calls, self.streak, now)])

    def _call(self, run: _Ranked, now: float) -> Waiting:
        one = call(run)
        level = ranking.level(run.job.priority, run.due, now)
        knee = self.model.knee(run.job.work.shape, MOST_ROWS) if run.stage == DENOISE else None
        return Waiting(one.order, one.stage, one.key, one.rows, one.cap, level, run.due, knee)

    def _admit(self, now: float) -> None:
        occupied = sum(run.stage != DECODE for run in self.runs)
        residents = [resident(run, now) for run in self.runs]

        def feasible(entry: Entry, at: float, beside: Sequence[Entry]) -> bool:
            return forecast.can_meet(self.model, entry, at, residents, MOST_ROWS, self.slack, beside)

        running = Counter(run.job.principal for run in self.runs)
        capacity = Capacity(PLACES, occupied, len(self.runs), group=self._group(now))
        decision = self.queue.take(now, capacity, running, feasible)
        for key in decision.start:
            job = self.jobs.pop(key)
            self.runs.append(_Ranked(job, next(self.orders), due=self.dues.pop(key)))

    def _group(self, now: float) -> Group | None:
        """Those who share the passes of the most urgent resident."""
        running = [run for run in self.runs if run.stage != DECODE]
        if not running:
            return None
        first = min(running, key=lambda run: (ranking.level(run.job.priority, run.due, now), run.due))
        shape = first.job.work.shape
        rows = sum(run.job.work.rows for run in running if run.job.work.shape == shape)
        missing = self.model.knee(shape, MOST_ROWS) - rows
        level = ranking.level(first.job.priority, first.due, now)
        return Group(shape.name, level, first.due, max(0, missing))

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        self.model.observe(stage, one.members[0].job.work.shape, rows, seconds)
        self.streak = self.streak.then(stage)
        for run in one.members:
            run.order = next(self.orders)
            if not run.stage and run.job.deadline is not None:
                self.slack = forecast.slack_after(self.slack, now <= run.job.deadline)
        self.runs = [run for run in self.runs if run.stage]


def resident(run: _Ranked, now: float) -> Resident:
    """The run as the forecast sees it."""
    job = run.job
    level = ranking.level(job.priority, run.due, now)
    left = job.work.steps - run.step
    return Resident(job.key, level, run.due, job.work, left, run.stage != ENCODE, job.deadline)
