"""The scheduler's decisions with few and with many jobs in the queue, wired as in the simulator. No clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.guard.counting import Counter
from benchmarks.guard.scenario import Scenario, Stage
from benchmarks.scheduling import curves, simulator, traces
from benchmarks.scheduling.ours import Ours

TIMES = 16
SEED = 1


class Queue:
    """So many jobs wait, of all sizes and classes, some with deadlines, and the device is free."""

    def __init__(self, jobs: int, counter: Counter) -> None:
        self._host = curves.h200()
        self._counter = counter
        kind = next(kind for kind in traces.KINDS if kind.name == "overload")
        drawn = traces.draw(kind, self._host, jobs + 64, SEED)
        self._coming = iter([replace(job, arrived=0.0) for job in drawn])
        self._policy = Ours()
        self._now = 0.0
        for _ in range(jobs):
            self.arrive()

    def arrive(self) -> None:
        """One more job."""
        self._policy.arrive(next(self._coming))

    def decide(self) -> None:
        """Who starts, and what shares the next pass; what follows from the pass does not count, but what is learnt."""
        chosen = self._policy.next(self._now)
        assert isinstance(chosen, simulator.Pass)
        with self._counter.off():
            stage, shape = chosen.members[0].stage, chosen.members[0].job.work.shape
            rows = simulator.rows_of(stage, chosen.members)
            seconds = self._host.seconds(stage, shape, rows)
            self._now += seconds
            for run in chosen.members:
                simulator._advance(run, simulator.Outcome(run.job), self._now)
        self._policy.done(chosen, stage, rows, seconds, self._now)


@contextmanager
def _stage(counter: Counter, jobs: int, what: str) -> Iterator[Stage]:
    def work() -> None:
        with counter.off():  # the same queue each time
            queue = Queue(jobs, counter)
            one = queue.decide if what == "a pass" else queue.arrive
        for _ in range(TIMES):
            one()

    yield Stage(work, TIMES)


def scenarios() -> Iterator[Scenario]:
    """A pass, and an arrival, with 10 and 1,000 waiting jobs."""
    for jobs in (10, 1000):
        for what in ("a pass", "an arrival"):
            prepare = partial(_stage, jobs=jobs, what=what)
            yield Scenario(f"scheduler: {what}, {jobs:,} jobs wait", prepare, memory=False)
