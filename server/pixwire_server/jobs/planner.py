"""What the scheduler has to know of jobs: what they cost, when they are due, who runs. Decisions are in `scheduling`.

No I/O and no clock of its own: `now` is an argument, in monotonic seconds.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pixwire_protocol.status import HIGH, LOW, NORMAL
from pixwire_server.engine import api
from pixwire_server.scheduling import forecast
from pixwire_server.scheduling.cost import CostModel, Shape, Work
from pixwire_server.scheduling.data import Capacity, Entry, Group
from pixwire_server.scheduling.forecast import Resident
from pixwire_server.scheduling.ranking import DueTimes, Priority, level

from . import deadlines
from .model import Job
from .record import Record
from .request import NO_TERMS
from .run import Run
from .table import Decided, JobQueue
from .works import Works, memory

CLASSES = {HIGH: Priority.HIGH, NORMAL: Priority.NORMAL, LOW: Priority.LOW}

SURELY = 0.9
"""Part of the foretold time that a job is sure to take: for less than that it is refused or expired, no sooner."""

FRESH_S = 0.1
"""How long the account of those that run is good for those who only want to know about when."""

ESTIMATES = 1024
"""Estimates kept; all are made anew after a second, as the cost model goes on learning."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one kind of job takes, in seconds."""

    latency: float
    """With the engine for itself."""
    cost: float
    """Of the device, its passes shared."""
    least: float
    """What it is sure to take; 0 when nothing is known of its kind."""
    memory: int
    """Bytes it holds in the engine."""
    kind: Hashable
    """What of its work can be told from outside."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator allows."""

    places: int
    """Jobs that may be denoised at once."""
    rows: int
    """Rows of one pass."""
    memory: int | None = None
    """Bytes that all jobs in the engine may be taken to hold; None: no bound."""
    max_attempts: int = 3


class Planner:
    """Keeps the account of the queue and of the runs. Lives in the event loop."""

    def __init__(self, queue: JobQueue, costs: CostModel, works: Works, bounds: Bounds) -> None:
        self.runs: dict[int, Run] = {}
        """The attempts the engine works on, by handle: the dispatcher's."""
        self.slack = forecast.LEAST_SLACK
        self.costs = costs
        self._queue = queue
        self._works = works
        self._bounds = bounds
        self._dues = DueTimes()
        self._estimates: dict[int, tuple[Work, Estimate]] = {}  # by id(): hashing a Work costs more than all the rest
        self._estimated_at = 0.0
        self._account: tuple[float, tuple[Resident, ...], float] | None = None

    # ------------------------------------------------------------------------------------------- the queue

    def wait(self, record: Record, now: float, *, fresh: bool = True, attempt: int | None = None) -> Estimate:
        """The job waits from now on. One that waited before has its old due time, and so its turn.

        `fresh`: it is new, and not one that an earlier run of the server has left. `attempt`: which run it waits for,
        if that is not what its job says yet. The answer is what it takes, for `eta`.
        """
        job = record.job
        work = self._works.of(job.params, job.attachments)
        estimate = self._estimate(work, now)
        ends = starts = None
        if job.terms is not NO_TERMS:
            ends, starts = deadlines.ends_by(record), deadlines.starts_by(record)
        priority = CLASSES[job.terms.priority]
        if record.due is None:
            last = ends
            if starts is not None and (ends is None or starts + estimate.latency < ends):
                last = starts + estimate.latency
            record.due = self._dues.give(
                (job.principal, priority, estimate.kind),
                priority,
                record.accepted_at,
                estimate.latency,
                estimate.cost,
                self.backlog(now) if fresh else 0.0,
                last,
            )
        self._queue.add(
            Entry(
                key=job.position,
                principal=job.principal,
                priority=priority,
                arrived=record.accepted_at,
                due=record.due,
                cost=estimate.cost,
                latency=estimate.least,
                deadline=ends,
                rows=work.rows,
                memory=estimate.memory,
                shape=work.shape.name,
                alone=self._suspect(attempt or job.attempt),
                start_by=starts,
                ticket=record,
            )
        )
        return estimate

    def take(self, now: float) -> Decided:
        """Who starts now and who has waited in vain; they are out of the queue."""
        if not len(self._queue):
            return [], []
        runs = self.runs.values()
        occupied = sum([run.holds_place for run in runs])
        if occupied >= self._bounds.places:  # as after most submits while there is a queue
            return [], self._queue.age(now)
        bound = self._bounds.memory
        residents, _ = self._residents(now, exactly=True)
        capacity = Capacity(
            self._bounds.places,
            occupied,
            len(runs),
            any(run.alone for run in runs),
            None if bound is None else max(0, bound - sum(run.memory for run in runs)),
            self._group(now),
        )

        def feasible(entry: Entry, at: float, beside: Sequence[Entry]) -> bool:
            if entry.latency <= 0:
                return True  # nothing is known of its kind: it is tried
            rows = self._bounds.rows
            return forecast.can_meet(self.costs, entry, at, residents, rows, self.slack, beside)

        running = Counter(run.record.job.principal for run in runs if run.holds_place)
        return self._queue.take(now, capacity, running, feasible)

    def began(self, handle: int, record: Record, now: float) -> Run:
        """The attempt that begins now."""
        job = record.job
        work = self._works.of(job.params, job.attachments)
        estimate = self._estimate(work, now)
        residents, _ = self._residents(now, exactly=True)
        due = self._due(record)
        before = forecast.ahead(
            self.costs, residents, level(CLASSES[job.terms.priority], due, now), due, self._bounds.rows
        )
        foretold = forecast.finish(0.0, before, estimate.cost, estimate.latency) if estimate.least else 0.0
        run = self.runs[handle] = Run(handle, record, self._suspect(job.attempt), work, memory(work), foretold)
        self.changed()
        return run

    def _suspect(self, attempt: int) -> bool:
        """The last attempt is made alone: if the engine dies again, it was this job, and no other job pays for it."""
        return 1 < self._bounds.max_attempts <= attempt

    def _group(self, now: float) -> Group | None:
        """Those who share the passes of the most urgent resident."""
        runs = [run for run in self.runs.values() if run.holds_place]
        if not runs:
            return None
        urgency = {run: (self._level(run.record, now), self._due(run.record)) for run in runs}
        first = min(runs, key=urgency.__getitem__)
        shape = first.work.shape
        rows = sum(run.work.rows for run in runs if run.work.shape == shape)
        return Group(shape.name, *urgency[first], max(0, self.costs.knee(shape, self._bounds.rows) - rows))

    # ------------------------------------------------------------------------------------------- learning

    def passed(self, passes: Sequence[api.Pass]) -> None:
        """What the engine computed."""
        for one in passes:
            self.costs.observe(one.stage, Shape(one.shape, one.cells), one.rows, one.ms / 1000)
            if one.stage == "denoise" and len(one.handles) == 1 and (run := self.runs.get(one.handles[0])):
                self._works.passed(one, run.record.job.params)

    def finished(self, run: Run, stats: api.JobStats, now: float) -> None:
        """A run came to its good end."""
        job = run.record.job
        self._works.finished(job.params, job.attachments, stats.passes, job.steps)
        self.costs.finished(run.foretold, now - run.record.started_at)

    def judged(self, run: Run, *, kept: bool) -> None:
        """A job that was started has, or has not, met its deadline."""
        if run.record.job.terms.timeout_ms is not None:
            self.slack = forecast.slack_after(self.slack, kept)

    def changed(self) -> None:
        """Something happened to a run: what was counted of them is not true any more."""
        self._account = None

    # ------------------------------------------------------------------------------------------- forecasts

    def backlog(self, now: float) -> float:
        """Seconds of the device for all that wait or run."""
        return self._queue.cost + self._residents(now)[1]

    def eta(self, record: Record, job: Job, rank: int | None, now: float, estimate: Estimate | None = None) -> float:
        """Seconds from now until the job is done, about. `job` is the record's, `rank` its place in the queue,
        `estimate` what `wait` said of it just now.
        """
        run = None if record.run is None else self.runs.get(record.run)
        if run is not None:
            return self._running_eta(run, now)
        estimate = estimate or self._estimate(self._works.of(job.params, job.attachments), now)
        waiting = len(self._queue) or 1
        before = self._residents(now)[1] + self._queue.cost * ((rank or 1) - 1) / waiting
        return forecast.finish(0.0, before, estimate.cost, estimate.latency)

    def least(self, job: Job, now: float) -> float:
        """Seconds the job takes at least, with the engine for itself; 0 when nothing is known of its kind."""
        return self._estimate(self._works.of(job.params, job.attachments), now).least

    def left(self, run: Run, now: float) -> float:
        """Seconds the run still takes at least; 0 when nothing is known of its kind."""
        if not self.costs.sure(run.work):
            return 0.0
        return SURELY * forecast.latency_left(self.costs, self._resident(run, now))

    def _running_eta(self, run: Run, now: float) -> float:
        residents, _ = self._residents(now)
        own = self._resident(run, now)
        others = [one for one in residents if one.key != own.key]
        before = forecast.ahead(self.costs, others, own.priority, own.due, self._bounds.rows)
        cost = forecast.cost_left(self.costs, own, self._bounds.rows)
        return forecast.finish(0.0, before, cost, forecast.latency_left(self.costs, own))

    def _estimate(self, work: Work, now: float) -> Estimate:
        if abs(now - self._estimated_at) > 1.0 or len(self._estimates) > ESTIMATES:
            self._estimates.clear()
            self._estimated_at = now
        known = self._estimates.get(id(work))
        if known is not None and known[0] is work:
            return known[1]
        latency = self.costs.latency(work)
        least = SURELY * latency if self.costs.sure(work) else 0.0
        kind = work.shape.name, work.steps, work.rows, work.images, work.also
        estimate = Estimate(latency, self.costs.cost(work, self._bounds.rows), least, memory(work), kind)
        self._estimates[id(work)] = work, estimate
        return estimate

    def _residents(self, now: float, *, exactly: bool = False) -> tuple[tuple[Resident, ...], float]:
        """Those that run, and the device seconds they still take."""
        if self._account is None or (exactly and self._account[0] != now) or abs(now - self._account[0]) > FRESH_S:
            residents = tuple(self._resident(run, now) for run in self.runs.values() if not run.ending)
            cost = sum(forecast.cost_left(self.costs, one, self._bounds.rows) for one in residents)
            self._account = now, residents, cost
        return self._account[1], self._account[2]

    def _resident(self, run: Run, now: float) -> Resident:
        record, job = run.record, run.record.job
        left = max(0, run.work.steps - job.step * max(1, run.work.steps // max(1, job.steps))) if run.holds_place else 0
        return Resident(
            job.position,
            self._level(record, now),
            self._due(record),
            run.work,
            left,
            job.step > 0,
            deadlines.ends_by(record),
        )

    def _level(self, record: Record, now: float) -> int:
        return level(CLASSES[record.job.terms.priority], self._due(record), now)

    @staticmethod
    def _due(record: Record) -> float:
        return record.accepted_at if record.due is None else record.due


def standing(run: Run) -> tuple[int, float, str]:
    """For the engine: class, due time and shape."""
    record = run.record
    due = record.accepted_at if record.due is None else record.due
    return int(CLASSES[record.job.terms.priority]), due, run.work.shape.name
