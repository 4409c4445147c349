"""The machine of the simulation: one device, one pass at a time; whoever is in it moves on when it is over."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

from .curves import Machine
from .traces import Job

NOISE = 0.03
"""Relative standard deviation of the time of a pass."""

SLOW, SLOW_BY = 0.002, 5.0
"""Share of passes that take `SLOW_BY` times as long: a hiccup of the machine."""


@dataclass(slots=True, eq=False)
class Run:
    """A job in the engine. Its stage is that of its next pass."""

    job: Job
    order: int = 0
    stage: str = ENCODE
    step: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """What a policy wants computed next: members of one stage and shape."""

    members: Sequence[Run]


@dataclass(slots=True)
class Outcome:
    """What became of a job. Times as in the trace; None: never."""

    job: Job
    first_preview: float | None = None
    finished: float | None = None
    steps: int = 0

    @property
    def in_time(self) -> bool:
        """Finished, and before its deadline if it has one."""
        return self.finished is not None and (self.job.deadline is None or self.finished <= self.job.deadline)


class Policy(Protocol):
    """Decides. All are told the same: arrivals with everything the request says, and how long passes took."""

    def arrive(self, job: Job) -> None: ...
    def next(self, now: float) -> Pass | float | None:
        """The next pass; or when to ask again; None: when somebody arrives."""
        ...

    def done(self, one: Pass, stage: str, rows: int, seconds: float, now: float) -> None:
        """The pass is over; the members' `stage` and `step` are those of their next one. Ended ones have stage ""."""
        ...


@dataclass(slots=True)
class Replay:
    """All that a run of the simulation shows."""

    outcomes: list[Outcome]
    length: float = 0.0
    """From the first arrival to the end of the last pass."""
    busy: float = 0.0
    at_last_arrival: list[tuple[str, float]] = field(default_factory=list)
    passes: int = 0
    rows: int = 0


def rows_of(stage: str, members: Sequence[Run]) -> int:
    """Rows of a pass: texts, latents or images."""
    return sum(
        run.job.work.rows if stage == DENOISE else run.job.work.images if stage == DECODE else 1 for run in members
    )


def replay(jobs: Sequence[Job], machine: Machine, policy: Policy, seed: int) -> Replay:
    """Run a trace to its end. The same seed draws the same noise, pass by pass."""
    rng = random.Random(seed)
    result = Replay([Outcome(job) for job in jobs])
    now, coming = 0.0, 0
    while True:
        while coming < len(jobs) and jobs[coming].arrived <= now:
            policy.arrive(jobs[coming])
            coming += 1
        wanted = policy.next(now)
        if isinstance(wanted, Pass):
            now = _compute(wanted, machine, policy, now, rng, result)
            continue
        later = [wanted] if wanted is not None else []
        if coming < len(jobs):
            later.append(jobs[coming].arrived)
        if not later:
            break
        now = max(now, min(later))
    result.length = now
    return result


def _compute(one: Pass, machine: Machine, policy: Policy, now: float, rng: random.Random, result: Replay) -> float:
    stage, shape = one.members[0].stage, one.members[0].job.work.shape
    assert all(run.stage == stage and run.job.work.shape == shape for run in one.members), "a pass mixes keys"
    rows = rows_of(stage, one.members)
    seconds = (
        machine.seconds(stage, shape, rows) * rng.lognormvariate(0, NOISE) * (SLOW_BY if rng.random() < SLOW else 1)
    )
    now += seconds
    result.busy += seconds
    result.passes += stage == DENOISE
    result.rows += rows if stage == DENOISE else 0
    for run in one.members:
        _advance(run, result.outcomes[run.job.key], now)
    policy.done(one, stage, rows, seconds, now)
    return now


def _advance(run: Run, outcome: Outcome, now: float) -> None:
    if run.stage == ENCODE:
        run.stage = DENOISE
    elif run.stage == DENOISE:
        run.step += 1
        outcome.steps += 1
        if outcome.first_preview is None:
            outcome.first_preview = now
        if run.step == run.job.work.steps:
            run.stage = DECODE
    else:
        run.stage = ""
        outcome.finished = now
