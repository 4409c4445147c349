"""What the engine did during the last minute, for those who look after the server. Pure: time is an argument, in
monotonic seconds.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pixwire_server.engine.api import Cancelled, Failed, Finished

from .model import Job

WINDOW_S = 60
"""How far back the rates look. Kept by whole seconds, so that a fast engine costs no more memory than a slow one."""

LATEST = 4
"""So many passes are the last ones: more than there are kinds of jobs that commonly take turns."""

DENOISE = "denoise"
"""The stage whose passes are steps of jobs."""


@dataclass(slots=True)
class _Second:
    at: int
    passes: int = 0
    rows: int = 0
    ms: float = 0.0
    images: int = 0


@dataclass(frozen=True, slots=True)
class Readings:
    """Rates over the last minute; None where nothing happened in it. `passes` counts since the server began."""

    passes: int
    rows: float | None
    """Latents in a denoising pass, on average: how well steps of different jobs share the device."""
    step_ms: float | None
    """How long such a pass takes, on average."""
    images_per_minute: float
    resident: int
    """Tasks the engine holds, by its own account."""


class Gauges:
    """Keeps account of passes and images. Memory: one entry a second of the window, one a task in the engine."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()
        self._passes = 0
        self._resident = 0
        self._newest = 0
        self._last_pass: dict[int, int] = {}
        self.on_pass: list[Callable[[int, str, int, float, Collection[int]], None]] = []
        """Each hears of every pass: its number, stage, rows, milliseconds, and the tasks that were in it."""
        self.on_outcome: list[Callable[[tuple[str, str], Finished | Failed | Cancelled], None]] = []
        """Each hears of the engine's last word on a job, by principal and id."""
        self.on_end: list[Callable[[Job], None]] = []
        """Each hears of every job whose end is on disk."""

    def passed(self, number: int, stage: str, rows: int, ms: float, handles: Collection[int], now: float) -> None:
        """Pass `number` of the engine is over: `rows` latents in `ms` milliseconds, for the tasks `handles`."""
        for hear in self.on_pass:
            hear(number, stage, rows, ms, handles)
        if stage != DENOISE:
            return
        self._newest = max(self._newest, number)
        for handle in handles:
            self._last_pass[handle] = number
        self._passes += 1
        second = self._second(now)
        second.passes += 1
        second.rows += rows
        second.ms += ms

    def made(self, images: int, now: float) -> None:
        """So many images were finished."""
        self._second(now).images += images

    def beat(self, resident: int) -> None:
        """The engine told how many tasks it holds."""
        self._resident = resident

    def left(self, handle: int) -> None:
        """The engine has done with this task."""
        self._last_pass.pop(handle, None)

    def lost(self) -> None:
        """The engine is gone, and all it held."""
        self._last_pass.clear()
        self._resident = self._newest = 0

    def last_pass(self, handle: int) -> int | None:
        """The number of the last pass this task was in: tasks with the same number shared it."""
        return self._last_pass.get(handle)

    def is_parked(self, handle: int) -> bool:
        """Whether this task was in none of the last passes: others take their turn."""
        return self._last_pass.get(handle, 0) <= self._newest - LATEST

    def read(self, now: float) -> Readings:
        """The rates as they are at `now`."""
        self._drop(now)
        passes = sum(second.passes for second in self._seconds)
        rows = sum(second.rows for second in self._seconds)
        ms = sum(second.ms for second in self._seconds)
        return Readings(
            passes=self._passes,
            rows=round(rows / passes, 2) if passes else None,
            step_ms=round(ms / passes, 3) if passes else None,
            images_per_minute=float(sum(second.images for second in self._seconds)),
            resident=self._resident,
        )

    def _second(self, now: float) -> _Second:
        if not self._seconds or self._seconds[-1].at < int(now):
            self._drop(now)
            self._seconds.append(_Second(int(now)))
        return self._seconds[-1]

    def _drop(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= int(now) - WINDOW_S:
            self._seconds.popleft()
