"""The policies that others use. Each drops a job whose deadline has passed while it waits, which most of them do not:
so they waste nothing on what is late already, and only what becomes late under way is wasted.
"""

import itertools
from collections import deque
from dataclasses import replace

from pixwire_server.scheduling import composition
from pixwire_server.scheduling.admission import admit
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE, Streak
from pixwire_server.scheduling.cost import CostModel
from pixwire_server.scheduling.data import Capacity, Waiting

from .simulator import Pass, Run
from .traces import MOST_ROWS, Job

PLACES = 16


def _late(job: Job, now: float) -> bool:
    return job.deadline is not None and now > job.deadline


class OneAtATime:
    """First come, first served; the machine belongs to one request at a time (ComfyUI, A1111, Cog)."""

    def __init__(self) -> None:
        self.queue: deque[Job] = deque()
        self.run: Run | None = None

    def arrive(self, job: Job) -> None:
        self.queue.append(job)

    def next(self, now: float) -> Pass | float | None:
        while self.run is None and self.queue:
            job = self.queue.popleft()
            if not _late(job, now):
                self.run = Run(job)
        return None if self.run is None else Pass([self.run])

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        if self.run is not None and not self.run.stage:
            self.run = None


class StaticBatches:
    """Requests of one size and step count are collected up to a bound or a wait, then run together to their end
    (SGLang's dynamic batching, Triton). The bound is tuned per size, as an operator would: the knee.
    """

    WAIT = 0.1
    """Longest wait for company, in shortest times of the oldest request."""

    def __init__(self) -> None:
        self.model = CostModel()
        self.queue: list[Job] = []
        self.batch: list[Run] = []

    def arrive(self, job: Job) -> None:
        self.queue.append(job)

    def next(self, now: float) -> Pass | float | None:
        if not self.batch:
            self.queue = [job for job in self.queue if not _late(job, now)]
            if not self.queue:
                return None
            first = self.queue[0]
            group = self._group(first)
            due = first.arrived + self.WAIT * self.model.latency(first.work)
            full = sum(job.work.rows for job in group) >= self.model.knee(first.work.shape, MOST_ROWS)
            if not full and now < due:
                return due
            self.queue = [job for job in self.queue if job not in group]
            self.batch = [Run(job) for job in group]
        alike = [run for run in self.batch if run.stage == self.batch[0].stage]
        return Pass(alike if alike[0].stage == DENOISE else alike[:1])

    def _group(self, first: Job) -> list[Job]:
        most = self.model.knee(first.work.shape, MOST_ROWS)
        group: list[Job] = []
        rows = 0
        for job in self.queue:
            if job.work.shape != first.work.shape or job.work.steps != first.work.steps:
                continue
            if group and rows + job.work.rows > most:
                break
            group.append(job)
            rows += job.work.rows
        return group

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        self.model.observe(stage, one.members[0].job.work.shape, rows, seconds)
        ended = {run for run in self.batch if not run.stage}
        order = {ENCODE: 0, DENOISE: 1, DECODE: 2, "": 3}
        self.batch = sorted((run for run in self.batch if run not in ended), key=lambda run: order[run.stage])


class Continuous:
    """Step-level batching without a cost model: first come, first served into the places, everybody of a size shares
    every pass, sizes in turn (what pixwire did before). A resident whose deadline has passed is cancelled at once.
    """

    def __init__(self) -> None:
        self.queue: deque[Job] = deque()
        self.runs: list[Run] = []
        self.orders = itertools.count()
        self.streak = Streak()

    def arrive(self, job: Job) -> None:
        self.queue.append(job)

    def next(self, now: float) -> Pass | float | None:
        self.runs = [run for run in self.runs if not _late(run.job, now)]
        self.queue = deque(job for job in self.queue if not _late(job, now))
        occupied = sum(run.stage != DECODE for run in self.runs)
        for _ in admit((Waiting(job.key) for job in self.queue), Capacity(PLACES, occupied, len(self.runs))):
            self.runs.append(Run(self.queue.popleft(), next(self.orders)))
        if not self.runs:
            return None
        chosen = composition.choose([call(run) for run in self.runs], replace(self.streak, turn=0))
        return Pass([self.runs[index] for index in chosen])

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        self.streak = self.streak.then(stage)
        for run in one.members:
            run.order = next(self.orders)
        self.runs = [run for run in self.runs if run.stage]


def call(run: Run) -> composition.Waiting:
    """The parked call of a run, as the engine's hub would put it: decodes one image at a time, texts one by one."""
    key = (run.stage, run.job.work.shape.name, 0 if run.stage == DENOISE else run.job.key)
    rows = run.job.work.rows if run.stage == DENOISE else run.job.work.images if run.stage == DECODE else 1
    return composition.Waiting(run.order, run.stage, key, rows, MOST_ROWS)
