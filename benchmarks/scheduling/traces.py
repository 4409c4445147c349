"""Arrival traces: who asks for what, when. Drawn from a seed, in simulated seconds.

    trace      arrivals                                   load   jobs
    light      Poisson                                    0.35   all sizes, steps, classes, users; 30 % with a deadline
    busy       Poisson                                    0.80   the same
    bursty     idle, then eight times the mean            0.60   the same
    diurnal    Poisson, rate a sine between 0.1 and 1.9   0.65   the same
    flood      one principal sends 70 %                   0.85   the same
    overload   Poisson                                    1.50   the same, 60 % with a deadline
    surge      bursty around 1.3                          1.30   the same, 60 % with a deadline

Load 1 is what the machine can do with every pass at its best size. A deadline is 3 to 12 times the shortest time of
the job. Times scale with the machine, so that both machines see the same traces.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from pixwire_server.scheduling.cost import Shape, Work
from pixwire_server.scheduling.ranking import Priority

from .curves import Machine

MOST_ROWS = 16
STEPS = ((4, 0.2), (8, 0.2), (20, 0.4), (50, 0.2))
CLASSES = ((Priority.HIGH, 0.15), (Priority.NORMAL, 0.65), (Priority.LOW, 0.2))
SIZES = (0.55, 0.25, 0.2)
"""Share of each of the machine's shapes, as many as it has."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request. Seconds of simulated time."""

    key: int
    arrived: float
    principal: str
    priority: int
    work: Work
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table above. `rate(t)`: arrivals at the share `t` of the trace, its mean 1."""

    name: str
    load: float
    rate: Callable[[float], float]
    deadlines: float = 0.3
    flood: float = 0.0


def _steady(t: float) -> float:
    return 1.0


def _bursts(t: float) -> float:
    return 4.0 if (t * 10) % 1 < 0.2 else 0.25


def _sine(t: float) -> float:
    return 1.0 + 0.9 * math.sin(4 * math.pi * t - math.pi / 2)


KINDS = (
    Kind("light", 0.35, _steady),
    Kind("busy", 0.80, _steady),
    Kind("bursty", 0.60, _bursts),
    Kind("diurnal", 0.65, _sine),
    Kind("flood", 0.85, _steady, flood=0.7),
    Kind("overload", 1.5, _steady, deadlines=0.6),
    Kind("surge", 1.3, _bursts, deadlines=0.6),
)


def best_cost(machine: Machine, work: Work) -> float:
    """Device seconds with every denoiser pass at its best size."""
    steps = work.steps * work.rows * machine.best(work.shape, MOST_ROWS)
    return machine.seconds("encode", work.shape, 1) + steps + work.images * machine.seconds("decode", work.shape, 1)


def shortest(machine: Machine, work: Work) -> float:
    """Seconds with the machine for itself."""
    steps = work.steps * machine.seconds("denoise", work.shape, work.rows)
    return machine.seconds("encode", work.shape, 1) + steps + work.images * machine.seconds("decode", work.shape, 1)


def draw(kind: Kind, machine: Machine, jobs: int, seed: int) -> list[Job]:
    """A trace of about `jobs` jobs (exactly, that is), in order of arrival."""
    rng = random.Random(f"{kind.name} {machine.name} {seed}")
    works = [_work(machine, rng) for _ in range(jobs)]
    length = sum(best_cost(machine, work) for work in works) / kind.load
    times = sorted(_arrivals(kind, jobs, rng))
    return [
        _job(kind, machine, key, t * length, work, rng) for key, (t, work) in enumerate(zip(times, works, strict=True))
    ]


def _arrivals(kind: Kind, jobs: int, rng: random.Random) -> list[float]:
    """Shares of the trace, drawn from the rate by rejection: a Poisson process given its number of arrivals."""
    peak = max(kind.rate(i / 1000) for i in range(1000))
    times: list[float] = []
    while len(times) < jobs:
        t = rng.random()
        if rng.random() * peak < kind.rate(t):
            times.append(t)
    return times


def _work(machine: Machine, rng: random.Random) -> Work:
    shape: Shape = rng.choices(machine.shapes, SIZES[: len(machine.shapes)])[0]
    steps = rng.choices(*zip(*STEPS, strict=True))[0]
    images = 2 if rng.random() < 0.1 else 1
    return Work(shape, int(steps), images, images)


def _job(kind: Kind, machine: Machine, key: int, arrived: float, work: Work, rng: random.Random) -> Job:
    priority = rng.choices(*zip(*CLASSES, strict=True))[0]
    principal = "p0" if rng.random() < kind.flood else f"p{rng.randrange(1, 7)}"
    deadline = arrived + rng.uniform(3, 12) * shortest(machine, work) if rng.random() < kind.deadlines else None
    return Job(key, arrived, principal, int(priority), work, deadline)
