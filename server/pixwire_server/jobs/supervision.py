"""When an engine counts as dead and how soon it is started again. Pure: time and chance are arguments."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The numbers, in seconds unless they count something."""

    base_delay_s: float = 0.2
    max_delay_s: float = 30.0
    stable_s: float = 60.0
    """An engine that lived this long after it was ready died of something new: the delays begin anew."""
    max_failed_starts: int = 5
    """So many starts in a row that never became ready end the server."""
    tick_s: float = 5.0
    """How often the silence of the engine is looked at."""
    silent_ticks: int = 24
    """A ready engine that reports nothing for so many ticks (two minutes) is taken for dead. It sends a heartbeat every
    second, also during a long forward pass.
    """
    max_busy_s: float = 1800.0
    """An engine whose loop has not turned for so long is taken for hung: one forward pass of a large model may last
    minutes on a slow processor, and killing that one would be worse than waiting.
    """
    start_ticks: int = 360
    """The same for one that has not become ready (half an hour: large models load slowly from network disks)."""
    stop_grace_s: float = 10.0
    """How long the engine may take to leave when it is asked to."""

    def delay(self, deaths: int, jitter: float) -> float:
        """Seconds before the next start after `deaths` (at least 1) in a row; `jitter` is drawn from [0, 1).

        Doubles each time up to the maximum, and is spread over its upper half, so that many servers that lost their
        engines together do not load their models together.
        """
        return min(self.max_delay_s, self.base_delay_s * 2.0 ** (min(deaths, 32) - 1)) * (0.5 + 0.5 * jitter)


class Liveness:
    """Notices an engine that is silent for too long.

    Counts ticks instead of comparing times: a server that was itself stopped for a while wakes up to one late tick, not
    to an engine that seems to have been silent for hours.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._silent = 0

    def seen(self) -> None:
        """The engine said something."""
        self._silent = 0

    def tick(self, ready: bool) -> bool:
        """Another tick has passed; True when the engine must be taken for dead."""
        self._silent += 1
        return self._silent > (self._policy.silent_ticks if ready else self._policy.start_ticks)
