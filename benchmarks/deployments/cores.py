"""Who computes where: everything that serves on the first core, everything that asks on the second.

So every deployment has one core for the model, whether it is in a process of its own or not. On a machine with one
core, or where the system does not let us, nothing is pinned; the record says so.
"""

import contextlib
import os
from pathlib import Path

from benchmarks import processes

SERVER, CLIENT = 0, 1
PINNED = hasattr(os, "sched_getaffinity") and {SERVER, CLIENT} <= os.sched_getaffinity(0)


def stay(core: int) -> None:
    """This thread, and those that it starts, run there from now on."""
    if PINNED:
        os.sched_setaffinity(0, {core})


def pin(pid: int, core: int = SERVER) -> None:
    """A process, all its threads and all below it run there from now on: after the start, which takes all cores."""
    if not PINNED:
        return
    for one in processes.family(pid):
        for task in Path(f"/proc/{one}/task").glob("*"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), {core})


def pin_children() -> None:
    """The processes that this one has started belong to the servers."""
    for child in processes.family(os.getpid())[1:]:
        pin(child)
