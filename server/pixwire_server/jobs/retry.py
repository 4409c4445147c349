"""Repeats what the store must do but cannot do now: the end of a job is known and has to get onto the disk."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pixwire_server.store import StoreError

_log = logging.getLogger(__name__)

T = TypeVar("T")


class StoreRetry:
    """Runs store operations, again and again until they work.

    While `troubled`, one of them has failed and not worked since: no new work should be begun, since its result could
    not be kept either. `on_change` is called when that begins and ends.
    """

    def __init__(self, delay_s: float, on_change: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self._on_change = on_change
        self._failing: set[_Attempts[Any]] = set()
        self._stopped = False

    @property
    def troubled(self) -> bool:
        return bool(self._failing)

    def run(
        self,
        operation: Callable[[], asyncio.Future[T]],
        succeeded: Callable[[T], None],
        broken: Callable[[Exception], None],
        refused: Callable[[StoreError], None] = lambda error: None,
    ) -> None:
        """Call `operation` until its future has a result, then `succeeded` with it; `refused` after each failure.

        One of these calls raising, or a future failing with anything but StoreError, is a defect that no trying again
        will mend: `broken` is called with it, and that is the end.
        """
        _Attempts(self, operation, succeeded, broken, refused).start()

    def stop(self) -> None:
        """Try nothing again; what has not reached the disk is done over after the next start."""
        self._stopped = True
        for attempts in self._failing:
            attempts.stop()

    def failing(self, attempts: "_Attempts[Any]") -> bool:
        """One of them failed. False when it should not be tried again."""
        if not self._failing:
            self._failing.add(attempts)
            self._on_change()
        self._failing.add(attempts)
        return not self._stopped

    def working(self, attempts: "_Attempts[Any]") -> None:
        """One of them worked."""
        if attempts in self._failing:
            self._failing.remove(attempts)
            if not self._failing:
                self._on_change()


class _Attempts(Generic[T]):
    """One operation on its way to success."""

    def __init__(
        self,
        owner: StoreRetry,
        operation: Callable[[], asyncio.Future[T]],
        succeeded: Callable[[T], None],
        broken: Callable[[Exception], None],
        refused: Callable[[StoreError], None],
    ) -> None:
        self._owner = owner
        self._operation = operation
        self._succeeded = succeeded
        self._broken = broken
        self._refused = refused
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = None
        try:
            self._operation().add_done_callback(self._done)
        except Exception as defect:
            self._give_up(defect)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _done(self, future: asyncio.Future[T]) -> None:
        if future.cancelled():
            return  # the store was closed under it
        try:
            self._succeeded(future.result())
            self._owner.working(self)
        except StoreError as error:
            _log.error("%s; trying again in %g s", error, self._owner.delay_s)
            self._refused(error)
            if self._owner.failing(self):
                self._timer = asyncio.get_running_loop().call_later(self._owner.delay_s, self.start)
        except Exception as defect:
            self._give_up(defect)

    def _give_up(self, defect: Exception) -> None:
        self._owner.working(self)
        self._broken(defect)
