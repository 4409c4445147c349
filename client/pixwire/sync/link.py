"""A client's way to its server, from many threads, and from processes that were forked off. SPEC 7.

A process that was forked has none of the other one's threads and must not touch its connections. So the child puts
its copies away and makes a connection of its own when it first needs one.
"""

import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic as now
from typing import TypeVar, cast

from ..core.calls import Call
from ..core.plan import Plan
from ..errors import ConnectError, ConnectionLost
from ..events import Heard
from .mailbox import Mailbox
from .worker import Worker

T = TypeVar("T")


class Link:
    """Makes the connections of one client and performs its calls. All methods may be called from any thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._worker: Worker | None = None
        self.session = plan.new_session()
        """What is known of the server. After a fork it is what was known before, until the first call."""
        self._opening = threading.Lock()
        self._was_closed = False
        _links.add(self)

    @property
    def url(self) -> str:
        """The server's."""
        return self._plan.endpoint.url

    @property
    def connected(self) -> bool:
        """Whether a call would be sent at once."""
        return self._worker is not None and self.session.connected

    @property
    def closed(self) -> bool:
        """Whether it is over for good."""
        return self._was_closed or (self._worker is not None and self._worker.session.over is not None)

    @property
    def bytes_received(self) -> int:
        """Over all connections of this process."""
        return 0 if self._worker is None else self._worker.bytes_received

    def open(self) -> None:
        """Makes the first connection. Raises ConnectError, AccessDenied."""
        self._connections()

    def _connections(self) -> Worker:
        """The connections of this process, made when there are none: at the start, and after a fork.

        Raises ConnectError, AccessDenied; ConnectionLost for a client that was closed before the fork.
        """
        worker = self._worker
        if worker is not None:
            return worker
        with self._opening:
            if self._worker is None:
                if self._was_closed:
                    raise ConnectionLost("the client was closed", processed="no")
                self._open()
        return cast("Worker", self._worker)

    def _open(self) -> None:
        worker = Worker(self._plan)
        try:
            worker.start()
            worker.opened.wait()
            self._worker, self.session = worker, worker.session
        except ConnectionLost as error:
            hint = self._plan.hint(connected=worker.was_connected, received=worker.bytes_received)
            raise ConnectError(self.url, error.reason + hint, reached=worker.reached) from error
        finally:
            if self._worker is not worker:  # Ctrl-C, too, leaves nothing behind
                worker.abort()
                worker.join()

    def start(self, call: Call[T], timeout: float | None, box: Mailbox[T], since: float | None = None) -> None:
        """Begins a call; `release` it when nobody waits for what comes into the box any more."""
        worker = self._connections()
        if worker.is_current:
            raise RuntimeError("on_connection may not wait for its own client: leave that to another thread")
        worker.begin(call, box, timeout, now() if since is None else since)

    def release(self, call: Call[T], box: Mailbox[T]) -> None:
        """Forgets a call; if it is still under way its stream is reset."""
        if not box.done and self._worker is not None:
            self._worker.release(call)

    def perform(
        self,
        call: Call[T],
        timeout: float | None,
        listener: Callable[[Heard], object] | None = None,
        since: float | None = None,
    ) -> T:
        """Begins a call and waits for its outcome; its time counts from `since`, if not from now. The listener is
        called in this thread. Whatever ends the waiting early (Ctrl-C, an error of the listener) resets its stream and
        harms nothing else.
        """
        box: Mailbox[T] = Mailbox(listening=listener is not None)
        try:
            self.start(call, timeout, box, since)
            return box.wait(listener)
        finally:
            self.release(call, box)

    def close(self) -> None:
        """Ends everything; calls under way get ConnectionLost. Waits a moment for the last bytes to leave."""
        self._was_closed = True
        worker = self._worker
        if worker is not None:
            worker.close()
            worker.join()

    def abandoned(self) -> bool:
        """Nobody will use this any more: it ends, if somebody forgot to end it. Returns whether that was so."""
        worker = self._worker
        if worker is None or worker.session.over is not None:
            return False
        worker.abort()
        return True

    def after_fork(self) -> None:
        """In the child, before anything else happens there."""
        worker, self._worker, self._opening = self._worker, None, threading.Lock()
        self._was_closed = self._was_closed or (worker is not None and worker.session.over is not None)
        if worker is not None:
            worker.forget()


_links: "weakref.WeakSet[Link]" = weakref.WeakSet()


def _after_fork() -> None:
    for link in tuple(_links):
        link.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
