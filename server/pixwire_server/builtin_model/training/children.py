"""Work shared out to processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class ChildLostError(Exception):
    """A process ended in the middle of its work; the text says what is likely, and what to do."""


def share(
    work: Callable[[T], R], jobs: Iterable[T], processes: int | None = None, begin: Callable[[], None] | None = None
) -> Iterator[R]:
    """What ``work`` makes of each job, in order; ``processes``: the cores, if not told; ``begin``: first in each."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), begin) as pool:
        try:
            yield from pool.map(work, jobs)
        except BrokenProcessPool:
            text = (
                "a process was killed, most likely for want of memory: close other programs or give fewer --processes"
            )
            raise ChildLostError(f"{text}; the same command goes on") from None
