"""Where the thread of the connections leaves what one call has to say, and the caller's thread waits for it.

There is no lock in it: Ctrl-C may interrupt the caller between any two steps of the interpreter, and a lock that an
interrupted thread held would stop the other thread, and with it every call. What is used is atomic or made for that:
a deque, a dictionary's `pop`, and `queue.SimpleQueue`, whose waiting can be interrupted.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic as now
from typing import Any, Generic, Protocol, TypeVar, cast

from ..events import DownloadProgress, Heard, Preview, Progress, StateChange, UploadProgress

T = TypeVar("T")
LOSSY = (UploadProgress, DownloadProgress, Progress, Preview)


INTERRUPT_SECONDS = 0.2
"""How soon a signal is noticed that did not interrupt the waiting: because another thread received it, or it came just
before the waiting began. Python handles it in the main thread, between two steps of the interpreter."""


class Box(Protocol):
    """What the thread of the connections needs of it."""

    def push(self, event: Heard) -> None:
        """Something happened."""

    def succeed(self, value: Any) -> None:
        """That is the outcome, and nothing comes after it."""

    def fail(self, error: BaseException) -> None:
        """The call has failed, and nothing comes after it."""


class Mailbox(Generic[T]):
    """The events of a call, as many as are worth keeping, and then its outcome. One thread writes, others read.

    State changes are all kept; of the other kinds only the latest unread one, so a slow reader is never behind.
    """

    def __init__(self, *, listening: bool = False, bell: "SimpleQueue[Mailbox[Any]] | None" = None) -> None:
        """`bell`: shared by several boxes when one waits for whichever rings first (then it `take`s)."""
        self._listening = listening
        self._states: deque[StateChange] = deque()
        self._latest: dict[type, Heard] = {}
        self._bell: SimpleQueue[Mailbox[Any]] = SimpleQueue() if bell is None else bell
        self._is_shared = bell is not None
        self._error: BaseException | None = None
        self._value: T | None = None
        self._is_shut = False
        self.done = False
        """Whether the outcome is known."""

    # --- for the thread of the connections

    def push(self, event: Heard) -> None:
        """Something happened."""
        if not self._listening or self.done or self._is_shut:
            return
        if isinstance(event, StateChange):
            self._states.append(event)
        else:
            self._latest[type(event)] = event
        self._ring()

    def succeed(self, value: T) -> None:
        """That is the outcome, and nothing comes after it."""
        if not self.done:
            self._value, self.done = value, True
            self._ring()

    def fail(self, error: BaseException) -> None:
        """The call has failed, and nothing comes after it."""
        if not self.done:
            self._error, self.done = error, True
            self._ring()

    def shut(self) -> None:
        """Nobody wants to hear more: whoever waits hears that there is no more."""
        self._is_shut = True
        self._ring()

    def _ring(self) -> None:
        # What there is to tell lies ready: who takes a ring that is there already sees it, too.
        if self._is_shared or self._bell.empty():
            self._bell.put(self)

    # --- for those who wait

    def next(self) -> Heard | None:
        """Waits for the next event; None: there are no more, and `outcome` tells how it ended."""
        try:
            while True:
                over = self.done or self._is_shut  # before looking: what was pushed before the end is told before it
                event = self._take()
                if event is not None or over:
                    break
                heard(self._bell)
        except BaseException:
            self._bell.put(self)  # Ctrl-C may have come just after the bell
            raise
        if over or self._states or self._latest:
            self._ring()  # for another reader, if there is one
        return event

    def take(self) -> list[Heard]:
        """After the bell: what there is, without waiting."""
        found = []
        while (event := self._take()) is not None:
            found.append(event)
        return found

    def wait(self, listener: Callable[[Heard], object] | None = None) -> T:
        """Waits for the outcome; the listener gets the events meanwhile, in this thread."""
        if not self._listening:
            self._wait_for_outcome()
        else:
            while (event := self.next()) is not None:
                if listener is not None:
                    listener(event)
        return self.outcome

    def _wait_for_outcome(self) -> None:
        try:
            while not (self.done or self._is_shut):
                heard(self._bell)
        except BaseException:
            self._bell.put(self)  # Ctrl-C may have come just after the bell
            raise
        self._ring()  # for another reader, if there is one

    @property
    def outcome(self) -> T:
        """The value, when it is done. Raises its error."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    @property
    def error(self) -> BaseException | None:
        """Why it failed, when it is done and did."""
        return self._error

    def _take(self) -> Heard | None:
        """The earliest unread event."""
        try:
            first = self._states[0].seq if self._states else None
            chosen: type | None = None
            for kind in LOSSY:
                event = self._latest.get(kind)
                if event is not None and (first is None or _seq(event) < first):
                    first, chosen = _seq(event), kind
            if chosen is not None:
                return self._latest.pop(chosen)
            return None if first is None else self._states.popleft()
        except (IndexError, KeyError):  # another reader was faster
            return self._take()


def heard(bell: "SimpleQueue[Mailbox[Any]]", timeout: float | None = None) -> "Mailbox[Any] | None":
    """Waits for a bell. Returns the box that rang, None when `timeout` (seconds) passed."""
    if threading.current_thread() is not threading.main_thread():
        with suppress(Empty):
            return bell.get(timeout=timeout)
        return None
    end = None if timeout is None else now() + timeout
    while True:
        left = INTERRUPT_SECONDS if end is None else end - now()
        try:
            return bell.get(timeout=max(0.0, min(left, INTERRUPT_SECONDS)))
        except Empty:
            if end is not None and now() >= end:
                return None


def _seq(event: Heard) -> int:
    return 0 if isinstance(event, UploadProgress | DownloadProgress) else event.seq
