"""Which queued jobs become resident in an engine: first come, first served, as many as there are places.

A job marked `alone` waits until the engine is empty and then has it for itself. It keeps its turn: nobody behind it is
let in before it, so it waits no longer than those who are inside need to finish.
"""

from collections.abc import Iterable

from .data import Capacity, Waiting


def admit(queue: Iterable[Waiting], capacity: Capacity) -> list[int]:
    """The keys of the jobs to start now, in queue order. Looks no further into `queue` than it must.

    Always a prefix of the queue (FIFO), never more than the free places, and never a second job beside one marked
    `alone`.
    """
    admitted: list[int] = []
    free = 0 if capacity.alone else capacity.places - capacity.occupied
    if free <= 0:
        return admitted
    for waiting in queue:
        if waiting.alone:
            return admitted if admitted or capacity.in_flight else [waiting.key]
        admitted.append(waiting.key)
        if len(admitted) == free:
            break
    return admitted
