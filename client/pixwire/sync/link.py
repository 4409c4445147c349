"""A client's way to its server, from many threads, and from processes that were forked off. SPEC 7.

A process that was forked has none of the other one's threads and must not touch its connections. So the child puts
its copies away and makes a connection of its own when it first needs one.
"""

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic as now
from typing import Any, Protocol, TypeVar, cast

from ..core.calls import Call
from ..core.plan import Plan
from ..errors import ConnectError, ConnectionLost
from ..events import Heard
from .mailbox import Box, Mailbox
from .worker import Worker

T = TypeVar("T")
ITS_OWN = "on_connection may not wait for its own client: leave that to another thread"


class Link:
    """Makes the connections of one client and performs its calls. All methods may be called from any thread."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._worker: Worker | None = None
        self.session = plan.new_session()
        """What is known of the server. After a fork it is what was known before, until the first call."""
        self._opening = threading.Lock()
        self._was_closed = False
        mind_forks(self)

    @property
    def url(self) -> str:
        """The server's."""
        return self._plan.endpoint.url

    @property
    def homes(self) -> tuple[str | None, ...]:
        """The servers behind this: one, whichever it is."""
        return (None,)

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

    def launch(self, bell: "SimpleQueue[Mailbox[Any]]") -> Worker:
        """Begins to make the connections of this process, without waiting; the bell rings when `opened` is done."""
        worker = Worker(self._plan, bell)
        self._worker, self.session = worker, worker.session
        worker.start()
        return worker

    @property
    def is_launched(self) -> bool:
        """Whether this process has connections, or makes them."""
        return self._worker is not None

    def land(self) -> None:
        """Ends them at once; they can be launched again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.abort()
            worker.join()

    def problem(self, worker: Worker, error: ConnectionLost) -> ConnectError:
        """Why the first connection did not come about."""
        hint = self._plan.hint(connected=worker.was_connected, received=worker.bytes_received)
        return ConnectError(self.url, error.reason + hint, reached=worker.reached)

    def _open(self) -> None:
        worker = Worker(self._plan)
        try:
            worker.start()
            worker.opened.wait()
            self._worker, self.session = worker, worker.session
        except ConnectionLost as error:
            raise self.problem(worker, error) from error
        finally:
            if self._worker is not worker:  # Ctrl-C, too, leaves nothing behind
                worker.abort()
                worker.join()

    def start(self, call: Call[T], timeout: float | None, box: Mailbox[T], since: float | None = None) -> None:
        """Begins a call; `release` it when nobody waits for what comes into the box any more."""
        worker = self._connections()
        if worker.is_current:
            raise RuntimeError(ITS_OWN)
        worker.begin(call, box, timeout, now() if since is None else since)

    def begin(self, call: Call[T], timeout: float | None, box: Box, since: float) -> None:
        """Begins a call on connections that were launched; any thread may, also theirs."""
        if self._worker is None:
            box.fail(ConnectionLost("the client was closed", processed="no", job=call.job))
        else:
            self._worker.begin(call, box, timeout, since)

    def drop(self, call: Call[T]) -> None:
        """Forgets a call that was begun; any thread may."""
        if self._worker is not None:
            self._worker.release(call)

    def recall(self) -> None:
        """Another server is there for calls that wait here for a connection."""
        if self._worker is not None:
            self._worker.recall()

    @property
    def is_current(self) -> bool:
        """Whether the thread of the connections asks."""
        return self._worker is not None and self._worker.is_current

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
        self.leave()
        self.join()

    def leave(self) -> None:
        """Ends everything, without waiting."""
        self._was_closed = True
        if self._worker is not None:
            self._worker.close()

    def join(self) -> None:
        """After `leave`: waits until all is closed."""
        if self._worker is not None:
            self._worker.join()

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


class _Forkable(Protocol):
    def after_fork(self) -> None: ...


_links: "weakref.WeakSet[_Forkable]" = weakref.WeakSet()


def mind_forks(link: _Forkable) -> None:
    """Its `after_fork` is called in a child, before anything else happens there."""
    _links.add(link)


def _after_fork() -> None:
    for link in tuple(_links):
        link.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
