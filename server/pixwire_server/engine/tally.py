"""Keeps account of passes: what they cost, for the row limit of the next ones and for the server's forecasts."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pixwire_server.engine.api import Pass, Passed
from pixwire_server.engine.request import Call
from pixwire_server.engine.stopwatch import Stopwatch
from pixwire_server.scheduling.composition import DENOISE
from pixwire_server.scheduling.cost import CostModel, Shape

REPORT_S = 0.1
"""Least time between two reports while there is work."""

RETRY = 200
"""One denoiser pass in so many of a shape may have all rows, so that a knee which was found in a bad moment, or does
not hold any more, is found anew.
"""

MAIN = ("unet", "transformer")
"""The modules that are called in every step whatever else is; the others have curves of their own."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pass whose time may not be known yet."""

    number: int
    stage: str
    shape: Shape
    rows: int
    handles: tuple[int, ...]
    watch: Stopwatch


class Tally:
    """Belongs to the engine thread. `costs` may be learnt before."""

    def __init__(self, costs: CostModel | None = None) -> None:
        self._costs = costs or CostModel()
        self._number = 0
        self._running: deque[_Seen] = deque()
        self._done: list[Pass] = []
        self._reported = 0.0
        self._turn: list[Stopwatch] = []

    def seen(self, call: Call, sharers: Sequence[Call], rows: int, watch: Stopwatch) -> None:
        """A pass was run for the requests of `sharers`, the first of which is `call`'s; `watch` has stopped."""
        shape = shape_of(call)
        if shape is None:
            return
        self._number += 1
        handles = tuple(one.request.handle for one in sharers)
        self._running.append(_Seen(self._number, call.stage, shape, rows, handles, watch))
        self._turn.append(watch)

    def turned(self, seconds: float) -> None:
        """The hub's turn took `seconds` in all: what was not spent in its passes (the steps of the samplers, the way to
        the next call) is part of what they cost.
        """
        if self._turn:
            self._turn[-1].add(max(0.0, seconds - sum(watch.processor for watch in self._turn)))
            self._turn.clear()

    def knee(self, call: Call, cap: int) -> int | None:
        """Rows above which a pass of this call gains nothing; None: not known, or it is time to look again."""
        shape = shape_of(call)
        if shape is None or call.stage != DENOISE:
            return None
        if self._costs.passes(shape) % RETRY == RETRY - 1:
            return None
        return self._costs.knee(shape, cap)

    def report(self, now: float, *, idle: bool) -> Passed | None:
        """What has not been told yet, if it is time to; `idle`: nothing more will come for a while."""
        self._collect()
        if not self._done or (now - self._reported < REPORT_S and not idle):
            return None
        self._reported = now
        passes, self._done = tuple(self._done), []
        return Passed(passes)

    def _collect(self) -> None:
        """Passes end in their order: those before the first that is not done are."""
        while self._running:
            one = self._running[0]
            seconds = one.watch.read()
            if seconds is None:
                return
            self._running.popleft()
            self._costs.observe(one.stage, one.shape, one.rows, seconds)
            milliseconds = round(seconds * 1000, 3)
            shape = one.shape
            self._done.append(Pass(one.number, one.stage, shape.name, one.rows, shape.cells, milliseconds, one.handles))


def shape_of(call: Call) -> Shape | None:
    """What the passes of this call are told apart by; None for a request that nobody gave a shape."""
    shape = call.request.standing.shape
    module = call.name.partition(".")[0]
    if shape is None or call.stage != DENOISE or module in MAIN:
        return shape
    return Shape(f"{shape.name}+{module}", shape.cells)
