"""What is more urgent: classes, the time by which a job is due, the time after which it need not be started.

    class     stretch   a job of this class is due `stretch` times its own shortest time after its arrival,
    HIGH        0.25    earlier when there is a backlog, the smaller the job the earlier (its head start),
    NORMAL      0.35    and at its deadline at the latest
    LOW         0.5

The head start is `part * backlog * ln(1 + backlog / (SCALE * cost))` seconds: next to nothing for a job as large as
the backlog, much for one that is small against it. To let small jobs pass shortens the mean wait and costs the large
ones little; and it is how small jobs keep their deadlines while the queue is longer than these.

A due time is fixed when the job arrives and never moves, so nothing starves: only a limited head start is ever given,
and whoever arrives later by more than that is due later.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from enum import IntEnum
from types import MappingProxyType

from .data import Entry


class Priority(IntEnum):
    """The classes; the least number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


STRETCH: Mapping[int, float] = MappingProxyType({Priority.HIGH: 0.25, Priority.NORMAL: 0.35, Priority.LOW: 0.5})

PATIENT, HURRIED = 0.2, 0.6
"""Part of the head start that a job without, and with, a deadline gets. Higher keeps more deadlines of small jobs, and
lengthens the longest waits (benchmarks/scheduling).
"""

SCALE = 20.0
"""Jobs of this many times less than the backlog begin to count as small."""

AGED_TURN = 3
"""One start in so many goes to the job that is longest overdue, whatever its class. Lower weakens the classes."""

AGED_PASS = 2
"""One pass in so many goes to the key of whom is longest overdue, whatever the class. Lower weakens the classes."""


def due(
    priority: int, arrived: float, latency: float, cost: float, backlog: float = 0.0, deadline: float | None = None
) -> float:
    """When a job ought to be finished; all in seconds, times on one clock.

    `latency` is its shortest time from start to end, `cost` the device time it takes, `backlog` the device time of all
    that wait or run when it arrives.
    """
    part = PATIENT if deadline is None else HURRIED
    start = part * backlog * math.log1p(backlog / (SCALE * cost)) if cost > 0 else 0.0
    wanted = arrived + STRETCH[priority] * latency - start
    return wanted if deadline is None else min(wanted, deadline)


REMEMBERED = 4096
"""Kinds of jobs whose latest due time is remembered."""


class DueTimes:
    """Due times as they are given out: jobs of one kind are due in the order of their arrival.

    The backlog grows while a burst arrives, and with it the head starts: without this the last of twenty equal jobs
    would be the first to start.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[Hashable, float] = OrderedDict()

    def give(
        self,
        kind: Hashable,
        priority: int,
        arrived: float,
        latency: float,
        cost: float,
        backlog: float = 0.0,
        deadline: float | None = None,
    ) -> float:
        """`due` of one more job of this `kind` (whoever cannot be told apart from outside: owner, class, amount)."""
        when = due(priority, arrived, latency, cost, backlog, deadline)
        if deadline is not None:
            return when
        when = self._last[kind] = max(when, self._last.get(kind, -math.inf))
        self._last.move_to_end(kind)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return when


def level(priority: int, due: float, now: float) -> int:
    """The class that counts now: a LOW job that is overdue counts as NORMAL, where its due time puts it in front."""
    return min(priority, Priority.NORMAL) if due < now else priority


def last_start(entry: Entry, margin: float = 1.0) -> float | None:
    """After this moment the job cannot meet its deadline even if it has the engine for itself, or is not wanted any
    more; None: it may wait for ever.

    `margin` (>= 1) stretches the predicted time, for a prediction known to be short.
    """
    if entry.deadline is None:
        return entry.start_by
    latest = entry.deadline - margin * entry.latency
    return latest if entry.start_by is None else min(latest, entry.start_by)
