"""One timer that can be set anew as often as one likes."""

from collections.abc import Callable

from .clock import Clock, Timer

LONGEST_S = 3600.0
"""It rings at least so often: event loops count the time of a timer on clocks of their own."""


GRAIN_S = 0.001
"""So much later it rings: then the moment is past for everybody, however they round."""


class Alarm:
    """Calls `ring` once the clock is past the moment it was last set to. Lives in the event loop."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at: float | None = None
        self._timer: Timer | None = None

    def set(self, at: float | None) -> None:
        """To this moment, in monotonic seconds, instead of any other; None: to none."""
        if at == self._at and self._timer is not None:
            return
        self.stop()
        if at is not None:
            self._at = at
            delay = min(LONGEST_S, max(0.0, at - self._clock.monotonic()) + GRAIN_S)
            self._timer = self._clock.call_later(delay, self._due)

    def stop(self) -> None:
        """Ring no more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._at = self._timer = None
        self._ring()
