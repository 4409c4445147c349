"""What is asked for, and when. Kept free of libraries: an application has nothing else of this benchmark in it."""

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

STEPS = 6
GUIDANCE = 1.5
"""What the built-in model recommends. Above 1 every image is two rows in a pass."""
SIZE = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One image. `at`: when it is due, in seconds from the start of the trace."""

    number: int
    prompt: str
    seed: int
    steps: int = STEPS
    at: float = 0.0

    def to_map(self) -> dict[str, Any]:
        return asdict(self)


def poisson(requests: Iterable[Request], rate: float, seed: int) -> list[Request]:
    """The same requests, `rate` of them a second on average, independent of each other and of every answer."""
    rng, at, due = random.Random(f"arrivals/{seed}/{rate}"), 0.0, []
    for request in requests:
        at += rng.expovariate(rate)
        due.append(replace(request, at=at))
    return due
