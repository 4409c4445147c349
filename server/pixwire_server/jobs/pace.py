"""How fast jobs end, to tell those who find the queue full when to come back. Pure: time is an argument."""

SMOOTHING = 0.2
"""Weight of the latest interval in the running mean."""

FIRST_GUESS_MS = 1_000
MIN_MS, MAX_MS = 100, 30_000


class Pace:
    """A running mean of the time between two ends of jobs."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._interval_s: float | None = None

    def ended(self, now: float) -> None:
        """A job ended at `now` (monotonic seconds)."""
        if self._last is not None:
            interval = now - self._last
            before = interval if self._interval_s is None else self._interval_s
            self._interval_s = before + SMOOTHING * (interval - before)
        self._last = now

    def retry_after_ms(self, foretold_s: float = 0.0) -> int:
        """When one more place in the queue is likely to be free; `foretold_s`: what the forecast thinks of that."""
        if self._interval_s is None:
            return int(min(MAX_MS, max(FIRST_GUESS_MS, foretold_s * 1000)))
        return int(min(MAX_MS, max(MIN_MS, max(self._interval_s, foretold_s) * 1000)))
