"""Composition: which parked calls share the next forward pass. Pure; the hub asks before every pass.

The oldest call decides the batch key, calls of the same key join it first-in first-out while their rows fit. A call
is as old as the moment it was parked, and a request that has just been served parks again behind everybody else, so
a call waits only for calls that were there before it: nothing starves, and requests that entered a multi-stage loop
out of phase (ControlNet, then UNet) fall into step by themselves.

Two exceptions. Encoding goes first: it has to be done in any case, and done now it lets the newcomer join the very
next denoiser pass. And no stage gets more than `MAX_STREAK` passes in a row while another one waits: a burst of
newcomers or of long decodes must not hold up everybody else's steps for its whole length.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

ENCODE, DENOISE, DECODE = "encode", "denoise", "decode"

MAX_STREAK = 8
"""Passes of one stage in a row while another stage waits. Lower splits bursts that would have batched."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One parked call. `order` rises with the time of parking; `cap` is the row limit that holds for its key."""

    order: int
    stage: str
    key: Hashable
    rows: int
    cap: int


@dataclass(frozen=True, slots=True)
class Streak:
    """How many passes in a row the last served stage had."""

    stage: str = ""
    passes: int = 0

    def then(self, stage: str) -> "Streak":
        """The streak after one more pass of `stage`."""
        return Streak(stage, self.passes + 1 if stage == self.stage else 1)


def choose(waiting: Sequence[Waiting], streak: Streak) -> list[int]:
    """Indexes into `waiting` of the calls for the next pass, oldest first; empty only when nothing waits.

    The sum of their rows is at most the cap, except that a call larger than the cap runs alone.
    """
    if not waiting:
        return []
    barred = streak.stage if streak.passes >= MAX_STREAK else None
    candidates = [index for index, call in enumerate(waiting) if call.stage != barred] or list(range(len(waiting)))
    candidates.sort(key=lambda index: (waiting[index].stage != ENCODE, waiting[index].order))
    first = waiting[candidates[0]]
    chosen: list[int] = []
    rows = 0
    for index in candidates:
        call = waiting[index]
        if call.key != first.key:
            continue
        if chosen and rows + call.rows > first.cap:
            break  # skipping it for a smaller, younger call would let large requests starve
        chosen.append(index)
        rows += call.rows
    return chosen
