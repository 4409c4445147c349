"""Time as an argument, so that tests can hold it still."""

import time
from collections.abc import Callable
from dataclasses import dataclass


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` in seconds measures; `wall_ms`, milliseconds since 1970, is what the journal and people read."""

    monotonic: Callable[[], float] = time.monotonic
    wall_ms: Callable[[], int] = _wall_ms
