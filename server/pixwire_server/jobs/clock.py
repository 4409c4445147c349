"""Time as an argument, so that tests can hold it still."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Unlike the monotonic clock it goes on while the machine sleeps (Linux)."""


def steady(
    wall_ns: Callable[[], int] = time.time_ns,
    since_boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(_SINCE_BOOT),
) -> Callable[[], int]:
    """Milliseconds since 1970 as the wall clock shows them now, and from then on as time really passes.

    A wall clock that is put right, or wrong, while the server runs must not expire a day's results in one moment.
    """
    offset_ns = wall_ns() - since_boot_ns()
    return lambda: (offset_ns + since_boot_ns()) // 1_000_000


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None: ...


def _call_later(delay: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, callback)


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` in seconds measures; `wall_ms`, milliseconds since 1970, is what the journal and people read. It is
    the wall clock of the server's start, carried on without jumps. `call_later` calls back after so many seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall_ms: Callable[[], int] = field(default_factory=steady)
    call_later: Callable[[float, Callable[[], None]], Timer] = _call_later
