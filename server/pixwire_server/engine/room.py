"""Which models leave memory so that another one fits. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A model in memory. `used` rises with every use; `idle`: no task needs it now."""

    name: str
    bytes: int
    used: int
    idle: bool
    pinned: bool


@dataclass(frozen=True, slots=True)
class Room:
    """How room is made: unload `evict` now; `drain` takes no new tasks until it is idle and can leave, too.

    With nothing to drain there is room as soon as `evict` is unloaded.
    """

    evict: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()


def make_room(held: Iterable[Held], need: int, budget: int) -> Room | None:
    """Room for `need` bytes more within `budget`: those used longest ago go first, idle ones before busy ones.

    None when even without all that may leave there is too little: pinned ones never do.
    """
    kept = list(held)
    over = sum(model.bytes for model in kept) + need - budget
    evict: list[str] = []
    drain: list[str] = []
    for model in sorted((model for model in kept if not model.pinned), key=lambda model: (not model.idle, model.used)):
        if over <= 0:
            break
        (evict if model.idle else drain).append(model.name)
        over -= model.bytes
    return None if over > 0 else Room(tuple(evict), tuple(drain))
