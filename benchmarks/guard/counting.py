"""Counts what our code does, the same on every machine: bytecode instructions, calls, memory.

An instruction of Python is no instruction of the processor. But on the hot paths nearly all time is the interpreter's,
so that a path that executes a fifth more of them is slower, whatever else the machine does meanwhile.
"""

import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

OURS = ("/pixwire/", "/pixwire_protocol/", "/pixwire_server/")
"""Parts of the paths of files whose instructions count. Of other code only the calls do: a library's new release is no
regression of ours, but calling it ten times as often is one."""


@dataclass(slots=True)
class Counts:
    """What was executed."""

    instructions: int = 0
    calls: int = 0


class Counter:
    """Counts while it is on, in this thread and in threads that are started meanwhile."""

    def __init__(self, ours: tuple[str, ...] = OURS) -> None:
        self.counts = Counts()
        self._ours = ours
        self._known: dict[CodeType, bool] = {}
        self._on = False

    @contextmanager
    def on(self) -> Iterator[Counts]:
        """Count what happens inside; what was traced before (coverage, a debugger) goes on afterwards."""
        before = sys.gettrace()
        self._on = True
        sys.settrace(self._trace)
        try:
            yield self.counts
        finally:
            self._on = False
            sys.settrace(before)

    @contextmanager
    def with_threads(self) -> Iterator[None]:
        """Threads that are started inside are counted as well, while it is on."""
        threading.settrace(self._trace)
        try:
            yield
        finally:
            threading.settrace(None)

    @contextmanager
    def off(self) -> Iterator[None]:
        """What happens inside does not count: the other side's part, say."""
        before, self._on = self._on, False
        if before:
            sys.settrace(None)
        try:
            yield
        finally:
            self._on = before
            if before:
                sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Called for each new frame."""
        if not self._on:
            return None if threading.current_thread() is threading.main_thread() else self._later
        self.counts.calls += 1
        if not self._is_ours(frame.f_code):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _later(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Of a frame of another thread that began before counting did."""
        return self._later

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and self._on:
            self.counts.instructions += 1
        return self._step

    def _is_ours(self, code: CodeType) -> bool:
        known = self._known.get(code)
        if known is None:
            known = self._known[code] = any(part in code.co_filename for part in self._ours)
        return known


def peak_memory(work: Callable[[], object]) -> int:
    """Bytes that Python had allocated at most during the work, above what it had before."""
    import gc

    gc.collect()
    began = not tracemalloc.is_tracing()
    if began:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        if began:
            tracemalloc.stop()
