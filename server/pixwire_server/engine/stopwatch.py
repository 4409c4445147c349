"""How long a forward pass takes, also on a device that computes behind the processor's back."""

import time
from typing import Any

import torch

_cuda: Any = torch.cuda


class Stopwatch:
    """Runs from its making to `stop`.

    A GPU is handed its work and goes on by itself, so there the pass is between two marks in its stream, and its time
    is known when the second one is reached: nobody waits for it. What counts is the longer of the two times: either
    the device or the processor that feeds it is the one that everybody waits for.
    """

    __slots__ = ("_begin", "_end", "_seconds", "_start")

    def __init__(self) -> None:
        self._begin: Any = None
        self._end: Any = None
        if _cuda.is_initialized():
            self._begin, self._end = _cuda.Event(enable_timing=True), _cuda.Event(enable_timing=True)
            self._begin.record()
        self._seconds = 0.0
        self._start = time.perf_counter()

    def stop(self) -> None:
        """The pass has been handed over, or computed."""
        self._seconds = time.perf_counter() - self._start
        if self._end is not None:
            self._end.record()

    def add(self, seconds: float) -> None:
        """The processor spent so much more on behalf of the pass."""
        self._seconds += seconds

    @property
    def processor(self) -> float:
        """Seconds of the processor, once stopped."""
        return self._seconds

    def read(self) -> float | None:
        """Seconds of the pass, once stopped; None while the device is still at it."""
        if self._end is None:
            return self._seconds
        if not self._end.query():
            return None
        return max(self._seconds, float(self._begin.elapsed_time(self._end)) / 1000)
