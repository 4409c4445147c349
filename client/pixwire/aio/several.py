"""Several connections behind the face of one `Link`: to several servers, or many to one. Which of them takes a call is
decided in `core.balance`; this carries it out.
"""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, TypeVar

from ..core.balance import Journey
from ..core.calls import Call
from ..core.fleets import Face, no_server
from ..core.plan import Plan
from ..errors import ConnectionLost, PixwireError
from ..events import Heard
from .link import Link, Listener
from .scratch import scratch_of

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Trip:
    """A call, and what is needed to ask it once more elsewhere."""

    journey: Journey[Any]
    future: "asyncio.Future[Any]"
    listener: Listener | None
    timeout: float | None
    since: float
    index: int = 0


class Several(Face):
    """A client's ways to its servers."""

    def __init__(self, plans: Sequence[Plan], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(plans)
        self._loop = loop
        self._turn = count()
        self._trips: dict[Call[Any], _Trip] = {}
        self._links = [self._link(index, plan) for index, plan in enumerate(plans)]

    def _link(self, index: int, plan: Plan) -> Link:
        hear = partial(self._heard, index, plan.on_connection)
        mine = replace(plan, on_connection=hear)
        return Link(mine.new_session(scratch_of(self._loop)), mine, self._loop)

    @property
    def _every(self) -> Sequence[Link]:
        return self._links

    # --- for the client

    def open(self) -> None:
        """Makes the first connections; `ready` tells how that went."""
        for link in self._links:
            link.open()

    async def ready(self) -> None:
        """Waits until there is one connection. Raises ConnectError, AccessDenied when there is none to be had."""
        opening = {link.opened for link in self._links}
        while opening:
            done, opening = await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)
            if any(future.exception() is None for future in done):
                return
        problems = [(link, link.opened.exception()) for link in self._links]
        raise no_server(
            self.url,
            [link.problem(error) if isinstance(error, ConnectionLost) else error for link, error in problems],
        )

    def start(
        self, call: Call[T], timeout: float | None, listener: Listener | None = None, since: float | None = None
    ) -> "asyncio.Future[T]":
        """Begins a call, as `Link.start` does."""
        future: asyncio.Future[T] = self._loop.create_future()
        journey = Journey(call, self._fleet.home_of(call), next(self._turn), self._plans[0].policy.mend)
        started = self._loop.time() if since is None else since
        trip = self._trips[call] = _Trip(journey, future, self._listener(call, listener), timeout, started)
        try:
            self._go(trip, journey.begin(self._seats(self._loop.time())))
        except BaseException:  # a mistake of the caller's
            self._trips.pop(call, None)
            raise
        return future

    def release(self, call: Call[Any]) -> None:
        """Forgets a call; if it is still under way its stream is reset."""
        trip = self._trips.pop(call, None)
        if trip is not None and trip.journey.attempt is not None:
            self._fleet.ended(trip.index, trip.journey.attempt, None, self._loop.time())
            self._links[trip.index].release(trip.journey.attempt)

    async def perform(
        self, call: Call[T], timeout: float | None, listener: Listener | None = None, since: float | None = None
    ) -> T:
        """Begins a call and waits for its outcome, as `Link.perform` does."""
        future = self.start(call, timeout, listener, since)
        try:
            return await future
        finally:
            self.release(call)

    async def close(self) -> None:
        """Ends everything; calls under way get ConnectionLost. Waits a moment for the last bytes to leave."""
        for link in self._links:
            link.leave()
        await self.ended()

    async def ended(self) -> None:
        """After `close` or `abort`: waits until the connections are closed and no task is left."""
        for link in self._links:
            await link.ended()

    def abort(self) -> None:
        """Ends everything at once."""
        for link in self._links:
            link.abort()

    # --- a call on its way

    def _go(self, trip: _Trip, index: int | None) -> None:
        """Asks there, and elsewhere when that is refused at once."""
        error: BaseException | None = None
        while index is not None:
            attempt = trip.journey.attempt
            assert attempt is not None  # noqa: S101 - the journey has sat down there
            trip.index = index
            try:
                inner = self._links[index].start(attempt, trip.timeout, trip.listener, trip.since)
            except PixwireError as refusal:
                error = refusal
                self._fleet.ended(index, attempt, error, self._loop.time())
                index = trip.journey.go_on(error, self._seats(self._loop.time()))
            else:
                self._fleet.began(index, attempt)
                inner.add_done_callback(partial(self._done, trip, attempt))
                return
        self._fail(trip, error)

    def _done(self, trip: _Trip, attempt: Call[Any], inner: "asyncio.Future[Any]") -> None:
        error = None if inner.cancelled() else inner.exception()
        if self._trips.get(trip.journey.call) is not trip or trip.journey.attempt is not attempt:
            return  # released
        self._fleet.ended(trip.index, attempt, error, self._loop.time())
        if error is not None:
            index = trip.journey.go_on(error, self._seats(self._loop.time()))
            if index is None:
                self._fail(trip, error)
            else:
                self._go(trip, index)
            return
        trip.journey.settle()
        self._trips.pop(trip.journey.call, None)
        if not trip.future.done():
            trip.future.set_result(inner.result())

    def _fail(self, trip: _Trip, error: BaseException | None) -> None:
        trip.journey.settle()
        self._trips.pop(trip.journey.call, None)
        if not trip.future.done() and error is not None:
            trip.future.set_exception(trip.journey.verdict(error))

    def _listener(self, call: Call[Any], listener: Listener | None) -> Listener | None:
        if listener is None:
            return None

        def hear(event: Heard) -> bool:
            wanted = listener(event)
            if not wanted:
                self.release(call)
            return wanted

        return hear


AnyLink = Link | Several
