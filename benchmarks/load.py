"""Open-loop load: requests leave when the schedule says so, whether or not earlier ones have been answered.

The times are drawn ahead (Poisson arrivals, from a seed). A latency is counted from the time at which a request was
due, not from when it left: a server that stalls, or a generator that runs late, makes the figures worse, never better
(G. Tene's "coordinated omission"). Kept in HdrHistograms, 1 µs to 1 h, three digits.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped, unused-ignore]

LONGEST_US = 3_600_000_000
DIGITS = 3
OK = "ok"
UNFINISHED = "unfinished"
SPIN_S = 0.002
"""Timers of a loop are as fine as a millisecond; closer than this the generator asks the clock in every turn."""


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Times in seconds from the start at which requests are due: `rate` a second on average, drawn from the seed."""
    if rate <= 0 or seconds <= 0:
        raise ValueError(f"rate and seconds must be above 0, not {rate} and {seconds}")
    draw, times, now = random.Random(seed), [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


class Latencies:
    """A histogram of durations; in and out in seconds."""

    __slots__ = ("_histogram",)

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)

    def add(self, seconds: float) -> None:
        """One more. Under 1 µs counts as 1 µs, over an hour as an hour."""
        self._histogram.record_value(min(max(round(seconds * 1e6), 1), LONGEST_US))

    def merge(self, other: "Latencies") -> None:
        """All of the other's as well: the rounds of one run, say."""
        self._histogram.add(other._histogram)

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    @property
    def mean(self) -> float:
        return float(self._histogram.get_mean_value()) / 1e6 if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """In seconds; 0 of none. `percent` from 0 to 100."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1e6 if self.count else 0.0

    def curve(self) -> list[tuple[float, float]]:
        """Percent and seconds, closer and closer to 100: what `plots.percentiles` draws."""
        points = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0]
        points += [100 - 10**-n * 10 * share for n in range(5) for share in (1.0, 0.5, 0.25)]
        return [(at, self.percentile(at)) for at in sorted(set(points)) if (100 - at) / 100 * self.count >= 1]

    def figures(self) -> dict[str, float]:
        """In milliseconds, by the names that records use."""
        names = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0}
        found = {name: self.percentile(at) * 1000 for name, at in names.items()}
        return {"count": float(self.count), "mean_ms": self.mean * 1000, **found}


@dataclass(slots=True)
class Offered:
    """What came of a load. `late` is how far behind its schedule the generator itself sent: of no weight, it must be
    small against the latencies, or the generator was measured."""

    outcomes: dict[str, Latencies] = field(default_factory=dict)
    late: Latencies = field(default_factory=Latencies)
    seconds: float = 0.0
    held: int = 0

    def of(self, outcome: str) -> Latencies:
        """The latencies of the requests that ended so; of none, when none did."""
        return self.outcomes.get(outcome, Latencies())

    def counts(self) -> dict[str, int]:
        return {name: latencies.count for name, latencies in sorted(self.outcomes.items())}

    def goodput(self) -> float:
        """Requests that ended well, a second."""
        return self.of(OK).count / self.seconds if self.seconds else 0.0


Call = Callable[[int], Awaitable[str | None]]
"""Makes the request of this number. Returns None when it ended well, else a word for how ("shed"); what it raises is
counted under the name of its class."""


async def offer(
    call: Call, times: Sequence[float], *, at_most: int = 10_000, grace: float = 30.0, spin: float = SPIN_S
) -> Offered:
    """Make the requests at their times; ends when all are answered, or `grace` seconds after the last was due.

    At most `at_most` run at once; one over that waits (`held` counts them), and its wait is in its latency. What is not
    answered at the end is cancelled and counted as "unfinished", with its age as its latency, which is too small.
    `spin`: seconds before each time in which the loop turns instead of sleeping; 0 where it shares a core with what is
    measured. Cancelling it cancels the requests.
    """
    found, start = Offered(), perf_counter()
    places, running = asyncio.Semaphore(at_most), set[asyncio.Task[None]]()

    async def one(number: int, due: float) -> None:
        outcome = UNFINISHED
        try:
            outcome = await call(number) or OK
        except asyncio.CancelledError:
            raise
        except Exception as error:
            outcome = type(error).__name__
        finally:
            found.outcomes.setdefault(outcome, Latencies()).add(perf_counter() - start - due)
            places.release()

    try:
        for number, due in enumerate(times):
            await _until(start + due, spin)
            found.held += places.locked()
            await places.acquire()
            found.late.add(perf_counter() - start - due)
            task = asyncio.create_task(one(number, due))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(0)  # what has not begun could not be counted
        if running:
            await asyncio.wait(
                running, timeout=max(0.0, start + (times[-1] if times else 0.0) + grace - perf_counter())
            )
    finally:
        left = list(running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    found.seconds = perf_counter() - start
    return found


async def _until(due: float, spin: float) -> None:
    while (left := due - perf_counter()) > 0:  # noqa: ASYNC110 - it waits for a time, not for an event
        await asyncio.sleep(left - spin if left > spin else 0)


def merged(rounds: Sequence[Offered]) -> Mapping[str, Latencies]:
    """The latencies of all rounds together, by outcome."""
    found: dict[str, Latencies] = {}
    for one_round in rounds:
        for outcome, latencies in one_round.outcomes.items():
            found.setdefault(outcome, Latencies()).merge(latencies)
    return found
