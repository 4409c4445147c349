"""Blocking calls that must be carried out one after the other, on threads that are shared with others.

A lane that has nothing to do holds no thread; one that is slow delays no other as long as there are threads.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")
Call = tuple[Callable[[], Any], asyncio.Future[Any]]
Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


class Lane:
    """Carries out calls in their order. Lives in the event loop."""

    def __init__(self, threads: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._threads = threads
        self._loop = loop
        self._calls: deque[Call] = deque()
        self._busy = False

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Carry out `function` after all that came before it, also when its future is cancelled.

        Raises RuntimeError when the threads were shut down.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.append((function, future))
        if not self._busy:
            self._send()
        return future

    def _send(self) -> None:
        """All that waits goes to a thread at once: a turn of the loop for each would cost more than most of them."""
        batch = tuple(self._calls)
        self._calls.clear()
        self._busy = True
        self._loop.run_in_executor(self._threads, _carry_out, batch).add_done_callback(self._done)

    def _done(self, carried_out: asyncio.Future[list[Outcome]]) -> None:
        self._busy = False
        if self._calls:
            self._send()
        for future, result, error in carried_out.result():
            if future.done():
                continue  # given up by whoever asked
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _carry_out(batch: tuple[Call, ...]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for function, future in batch:
        try:
            outcomes.append((future, function(), None))
        except Exception as error:
            outcomes.append((future, None, error))
    return outcomes
