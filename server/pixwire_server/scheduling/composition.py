"""Composition: which parked calls share the next forward pass. Pure; the hub asks before every pass.

The most urgent call decides the batch key; calls of the same key join it in the same order while their rows fit. More
urgent is the higher class, then the nearer due time, then the older call. Where nobody says what is urgent (all of
one class, due at the same time) that is first-in first-out: a call is as old as the moment it was parked, and a
request that has just been served parks again behind everybody else, so requests that entered a multi-stage loop out of
phase (ControlNet, then UNet) fall into step by themselves.

Rows are filled up to the knee of the key, above which sharing only makes everybody late. Those who are left out stay
parked and lose nothing: so urgent work displaces, between two steps, whoever runs.

Nothing starves: every `AGED_PASS`-th pass goes to whom is longest overdue, whatever its class. Due times never move,
so only those due before it come before it there: its job is done within `AGED_PASS` passes for each step that it and
they have left. Keys take turns by the same rule: one whose jobs are due gets every `AGED_PASS`-th pass at least.

Two more exceptions. Encoding goes first: it has to be done in any case, and done now it lets the newcomer join the very
next denoiser pass. And no stage gets more than `MAX_STREAK` passes in a row while another one waits: a burst of
newcomers or of long decodes must not hold up everybody else's steps for its whole length.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from .cost import Shape
from .ranking import AGED_PASS

ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"

MAX_STREAK = 8
"""Passes of one stage in a row while another stage waits. Lower splits bursts that would have batched."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides the turns of a request: its class, when it is due, and what its passes are told apart by (None: as
    if no pass of its kind had ever been seen).
    """

    priority: int = 0
    due: float = 0.0
    shape: Shape | None = None


NO_STANDING = Standing()


@dataclass(frozen=True, slots=True)
class Waiting:
    """One parked call. `order` rises with the time of parking; `cap` is the row limit that holds for its key."""

    order: int
    stage: str
    key: Hashable
    rows: int
    cap: int
    level: int = 0
    """The class; the least number goes first."""
    due: float = 0.0
    """When its job ought to be finished: inside a class the nearest goes first. Any clock, the same for all."""
    knee: int | None = None
    """Rows above which a pass of its key gains nothing; None: not known, so `cap`."""

    @property
    def limit(self) -> int:
        """Rows of a pass of its key."""
        return self.cap if self.knee is None else max(1, min(self.cap, self.knee))


@dataclass(frozen=True, slots=True)
class Streak:
    """How many passes in a row the last served stage had, and how many passes there were since an aged turn."""

    stage: str = ""
    passes: int = 0
    turn: int = 0

    def then(self, stage: str) -> "Streak":
        """The streak after one more pass of `stage`."""
        return Streak(stage, self.passes + 1 if stage == self.stage else 1, (self.turn + 1) % AGED_PASS)


def choose(waiting: Sequence[Waiting], streak: Streak, now: float = math.inf) -> list[int]:
    """Indexes into `waiting` of the calls for the next pass, the one that decided it first; empty only when nothing
    waits.

    The sum of their rows is at most the limit of their key, except that a call larger than that runs alone.
    """
    if not waiting:
        return []
    barred = streak.stage if streak.passes >= MAX_STREAK else None
    candidates = [index for index, call in enumerate(waiting) if call.stage != barred] or list(range(len(waiting)))
    urgent = sorted(candidates, key=lambda index: _urgency(waiting[index]))
    first = waiting[urgent[0]]
    if streak.turn == AGED_PASS - 1:
        oldest = min((waiting[index] for index in candidates), key=_age)
        if oldest.due < now:
            first = oldest
            urgent.sort(key=lambda index: _age(waiting[index]))
    same = [index for index in urgent if waiting[index].key == first.key]
    chosen: list[int] = []
    rows = 0
    for index in same:
        call = waiting[index]
        if chosen and rows + call.rows > first.limit:
            break  # skipping it for a smaller, less urgent call would let large requests starve
        chosen.append(index)
        rows += call.rows
    return chosen


def _urgency(call: Waiting) -> tuple[bool, int, float, int]:
    return call.stage != ENCODE, call.level, call.due, call.order


def _age(call: Waiting) -> tuple[bool, float, int]:
    return call.stage != ENCODE, call.due, call.order
