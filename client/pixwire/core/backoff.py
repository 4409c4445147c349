"""When to connect again: full jitter, never before the server wants it. Time and chance are arguments. SPEC 12.3."""

from dataclasses import dataclass

from pixwire_protocol.registry import LIMITS

CALM = 30.0  # seconds of a working connection after which the failures before it count no more


@dataclass(slots=True)
class Backoff:
    """How many connections failed in a row, and when the server wants to see us again. Times are seconds.

    The n-th wait (from 0) is a random time between 0 and min(longest, shortest * 2^n), from when the server wants us.
    """

    shortest: float = LIMITS["reconnect_min_ms"].default / 1000
    longest: float = LIMITS["reconnect_max_ms"].default / 1000
    failures: int = 0
    not_before: float = 0.0

    @property
    def bound(self) -> float:
        """The longest that the next wait can be."""
        return min(self.longest, self.shortest * (1 << min(self.failures, 62)))

    def hold_off(self, until: float) -> None:
        """The server does not want to see us before that time (GOAWAY's reconnect_after_ms)."""
        self.not_before = max(self.not_before, until)

    def lasted(self, seconds: float) -> None:
        """A connection that was ready for so long is over."""
        if seconds >= CALM:
            self.failures = 0

    def next(self, now: float, chance: float) -> float:
        """When to try again after one more failure; `chance` is a random number from 0 to below 1."""
        wait = chance * self.bound
        self.failures += 1
        return max(self.not_before, now) + wait
