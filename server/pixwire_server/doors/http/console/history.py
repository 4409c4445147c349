"""What the server did in the last minutes, sampled once a second, so that a page which is opened now has a past to
show. Pure: time is an argument, in monotonic seconds.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from pixwire_server.jobs import DENOISE

EVERY_S: Final = 1.0
KEPT: Final = 300
"""Samples: five minutes."""
PASSES: Final = 64
"""So many of the last passes can be told of; whoever looks less often misses some."""
COLUMNS: Final = ("at_ms", "images_per_minute", "rows", "step_ms", "waiting", "running", "oldest_ms")
"""Of a sample. `at_ms`: since the server began; `rows` and `step_ms`: means of the passes that ended in this second, of
the last ones where a pass takes longer; None when nothing runs.
"""

T = TypeVar("T")
Sample = tuple[int, float, float | None, float | None, int, int, int]
Pass = tuple[int, int, float, int]
"""Number, rows, milliseconds, requests."""


class History:
    """Takes note of passes and of the state. Memory: KEPT samples, PASSES passes."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._passes: deque[Pass] = deque(maxlen=PASSES)
        self._taken = self._passed = 0
        self._count = self._rows = 0
        self._ms = 0.0
        self._means: tuple[float, float] | tuple[None, None] = (None, None)

    def passed(self, number: int, stage: str, rows: int, ms: float, handles: Collection[int]) -> None:
        """Hears of every pass; those that are no steps are left out."""
        if stage != DENOISE:
            return
        self._passes.append((number, rows, round(ms, 3), len(handles)))
        self._passed += 1
        self._count += 1
        self._rows += rows
        self._ms += ms

    def sample(self, now: Mapping[str, Any]) -> None:
        """Keep this second; `now` is the body of ADMIN `overview` (SPEC 8.19)."""
        count, queue = self._count, now["queue"]
        if count:
            self._means = round(self._rows / count, 2), round(self._ms / count, 3)
        elif not now["running"]:
            self._means = None, None
        self._samples.append(
            (
                now["uptime_ms"],
                now["engine"]["images_per_minute"],
                *self._means,
                queue["high"] + queue["normal"] + queue["low"],
                len(now["running"]),
                queue["oldest_ms"],
            )
        )
        self._taken += 1
        self._count = self._rows = 0
        self._ms = 0.0

    def samples_since(self, mark: int) -> tuple[int, Sequence[Sample]]:
        """The mark of now, and what was sampled since `mark`; 0 is the mark of the beginning."""
        return self._taken, _tail(self._samples, self._taken - mark)

    def passes_since(self, mark: int) -> tuple[int, Sequence[Pass]]:
        """The same for passes."""
        return self._passed, _tail(self._passes, self._passed - mark)


def _tail(kept: deque[T], count: int) -> Sequence[T]:
    return tuple(kept)[-count:] if count > 0 else ()
