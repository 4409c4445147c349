"""Several connections behind the face of one `Link`: to several servers, or many to one. Which of them takes a call is
decided in `core.balance`; this carries it out.

A call goes on from one server to the next in the threads of the connections; its caller waits at one mailbox.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from queue import SimpleQueue
from time import monotonic as now
from typing import Any, TypeVar

from ..core.balance import Journey
from ..core.calls import Call
from ..core.fleets import Face, no_server
from ..core.plan import ConnectionListener, Plan
from ..errors import ConnectionLost
from ..events import Heard
from .link import ITS_OWN, Link, mind_forks
from .mailbox import Mailbox, heard
from .worker import Worker

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Trip:
    """A call on its way: the box that a worker sees. One worker at a time has it."""

    several: "Several"
    journey: Journey[Any]
    box: Mailbox[Any]
    timeout: float | None
    since: float
    process: int
    index: int = 0
    released: bool = False

    def push(self, event: Heard) -> None:
        """Something happened."""
        self.box.push(event)

    def succeed(self, value: Any) -> None:
        """That is the outcome."""
        self.several.over(self, None)
        self.several.forget(self)
        self.box.succeed(value)

    def fail(self, error: BaseException) -> None:
        """This attempt has failed."""
        if os.getpid() != self.process:  # in a child that was just forked nothing goes on
            self.box.fail(error)
        else:
            self.several.failed(self, error)


class Several(Face):
    """A client's ways to its servers. All methods may be called from any thread."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        super().__init__(plans)
        self._turn = count()
        self._trips: dict[Call[Any], _Trip] = {}
        self._opening = threading.Lock()
        self._telling = threading.Lock()
        self._was_closed = False
        self._links = [self._link(index, plan) for index, plan in enumerate(plans)]
        mind_forks(self)

    def _link(self, index: int, plan: Plan) -> Link:
        return Link(replace(plan, on_connection=partial(self._on_connection, index, plan.on_connection)))

    # --- for the client

    def open(self) -> None:
        """Makes connections until there is one. Raises ConnectError, AccessDenied when there is none to be had."""
        if self._was_closed or all(link.is_launched for link in self._links):
            return
        with self._opening:
            if not all(link.is_launched for link in self._links):
                self._open()

    def _open(self) -> None:
        bell: SimpleQueue[Mailbox[Any]] = SimpleQueue()
        is_open = False
        try:
            workers = [link.launch(bell) for link in self._links]
            while not (is_open := any(_is_open(worker) for worker in workers)):
                if all(worker.opened.done for worker in workers):
                    raise no_server(self.url, [_problem(*pair) for pair in zip(self._links, workers, strict=True)])
                heard(bell)
        finally:
            if not is_open:  # Ctrl-C, too, leaves nothing behind
                for link in self._links:
                    link.land()

    def start(self, call: Call[T], timeout: float | None, box: Mailbox[T], since: float | None = None) -> None:
        """Begins a call, as `Link.start` does."""
        self.open()
        if any(link.is_current for link in self._links):
            raise RuntimeError(ITS_OWN)
        journey = Journey(call, self._fleet.home_of(call), next(self._turn), self._plans[0].policy.mend)
        started = now() if since is None else since
        trip = self._trips[call] = _Trip(self, journey, box, timeout, started, os.getpid())
        self._sit(trip, journey.begin(self._seats(now())))

    def release(self, call: Call[T], box: Mailbox[T]) -> None:
        """Forgets a call; if it is still under way its stream is reset."""
        trip = self._trips.pop(call, None)
        if trip is None or trip.process != os.getpid():
            return
        trip.released = True  # before it is asked where the call is: a worker that moves it on looks after that
        attempt = trip.journey.attempt
        if attempt is not None:
            self._fleet.ended(trip.index, attempt, None, now())
            if not box.done:
                self._links[trip.index].drop(attempt)

    def perform(
        self,
        call: Call[T],
        timeout: float | None,
        listener: Callable[[Heard], object] | None = None,
        since: float | None = None,
    ) -> T:
        """Begins a call and waits for its outcome, as `Link.perform` does."""
        box: Mailbox[T] = Mailbox(listening=listener is not None)
        try:
            self.start(call, timeout, box, since)
            return box.wait(listener)
        finally:
            self.release(call, box)

    def close(self) -> None:
        """Ends everything; calls under way get ConnectionLost. Waits a moment for the last bytes to leave."""
        self._was_closed = True
        for link in self._links:
            link.leave()
        for link in self._links:
            link.join()

    def after_fork(self) -> None:
        """In the child, before anything else happens there."""
        self._opening = threading.Lock()
        self._telling = threading.Lock()
        self._is_lost = False
        self._trips.clear()
        self._fleet.forget_calls()

    @property
    def closed(self) -> bool:
        """Whether it is over for good."""
        return self._was_closed or super().closed

    @property
    def _every(self) -> Sequence[Link]:
        return self._links

    # --- a call on its way, in the threads of the connections

    def _sit(self, trip: _Trip, index: int) -> None:
        attempt = trip.journey.attempt
        assert attempt is not None  # noqa: S101 - the journey has sat down there
        trip.index = index
        self._fleet.began(index, attempt)
        self._links[index].begin(attempt, trip.timeout, trip, trip.since)
        if trip.released:
            self._fleet.ended(index, attempt, None, now())
            self._links[index].drop(attempt)

    def over(self, trip: _Trip, error: BaseException | None) -> None:
        """An attempt has ended with this error, or well."""
        attempt = trip.journey.attempt
        if attempt is not None:
            self._fleet.ended(trip.index, attempt, error, now())
        trip.journey.settle()

    def forget(self, trip: _Trip) -> None:
        """The call has its outcome."""
        self._trips.pop(trip.journey.call, None)

    def failed(self, trip: _Trip, error: BaseException) -> None:
        """An attempt has failed: it goes on elsewhere, or the caller hears of it."""
        self.over(trip, error)
        index = None if trip.released else trip.journey.go_on(error, self._seats(now()))
        if index is None:
            self.forget(trip)
            trip.box.fail(trip.journey.verdict(error))
        else:
            self._sit(trip, index)

    # --- connections come and go

    def _on_connection(self, index: int, tell: ConnectionListener | None, reason: str | None) -> None:
        with self._telling:  # the connections have a thread each, and the user is to hear one thing after the other
            self._heard(index, tell, reason)


AnyLink = Link | Several


def _is_open(worker: Worker) -> bool:
    return worker.opened.done and worker.opened.error is None


def _problem(link: Link, worker: Worker) -> BaseException | None:
    error = worker.opened.error
    return link.problem(worker, error) if isinstance(error, ConnectionLost) else error
