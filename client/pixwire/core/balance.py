"""Which of several connections takes a call, and whether another one may take it afterwards. Pure: no socket, no clock.

A `Seat` is what is known of one connection at the moment of a choice. Connections to one server (several for bulk, or
two of its addresses) share a `server_id`, which names a job store (SPEC 6.3).

    choice          connected, not silent, not full, in this order; then the fewest calls under way; then in turn
    a known job     only connections to its server
    an unknown one  one server after the other, until one knows it
    going on        the table in `where_next`: never is a job made twice
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from pixwire_protocol import messages

from ..errors import (
    CapacityError,
    ConnectError,
    ConnectionLost,
    JobLost,
    JobNotFound,
    PixwireError,
    RequestFailed,
    job_not_found,
)
from .calls import Call, ServerName

T = TypeVar("T")

MOST_MOVES = 32
"""How often one call may go to another connection: a bound for connections that come and go all the time."""
REMEMBERED_JOBS = 100_000


@dataclass(frozen=True, slots=True)
class Seat:
    """One connection: whose (`server` None: it was never ready), and how it is.

    over: it will never work again. silent: its server owes an answer to PING. full: its server wants no new jobs now.
    outstanding: calls under way on it.
    """

    index: int
    server: str | None = None
    connected: bool = True
    over: bool = False
    silent: bool = False
    full: bool = False
    outstanding: int = 0


class Where(Enum):
    """Where a call may go on after an error."""

    NOWHERE = auto()
    SAME_SERVER = auto()
    OTHER_SERVER = auto()
    ANYWHERE = auto()


def choose(seats: Sequence[Seat], turn: int = 0, *, home: str | None = None, but: Collection[int] = ()) -> Seat | None:
    """The seat for the next call: at the server `home` if it is given, and none of `but`; `turn` settles ties."""
    fit = [seat for seat in seats if not seat.over and seat.index not in but and home in (None, seat.server)]
    return min(fit, key=lambda seat: _rank(seat, turn, len(seats)), default=None)


def _rank(seat: Seat, turn: int, count: int) -> tuple[Any, ...]:
    return not seat.connected, seat.silent, seat.full, seat.outstanding, (seat.index - turn) % count


def is_lookup(request: messages.Request | None) -> bool:
    """Whether it asks for a job that exists."""
    return isinstance(request, messages.Status | messages.Cancel | messages.Watch | messages.Fetch)


def where_next(asked: messages.Request | None, attempt: Call[Any], error: BaseException) -> Where:
    """Where a call that asked this may go on after an attempt that ended with this error.

    A SUBMIT goes to another server only when this one has surely not taken the job; where it may have, only the same
    server can tell, by the job's id.
    """
    lost = isinstance(error, ConnectionLost | ConnectError)
    if isinstance(asked, messages.Submit):
        if attempt.status is not None:
            return Where.NOWHERE
        if attempt.doubtful or (isinstance(error, ConnectionLost) and error.processed != "no"):
            return Where.SAME_SERVER if lost else Where.NOWHERE
        if isinstance(error, RequestFailed) and error.processed == "no" and error.details.get("field") == "model":
            return Where.OTHER_SERVER  # which may have that model
    if isinstance(error, JobNotFound) and not isinstance(error, JobLost) and is_lookup(asked):
        return Where.OTHER_SERVER
    if isinstance(error, CapacityError) and error.processed == "no":
        return Where.OTHER_SERVER
    if lost and getattr(error, "processed", "no") == "no":
        return Where.ANYWHERE
    return Where.SAME_SERVER if lost and asked is not None and attempt.status is None else Where.NOWHERE


@dataclass(slots=True, eq=False)
class Journey(Generic[T]):
    """One call on its way among the seats. `call` is what was asked and is never sent itself: every seat gets a fresh
    one, `attempt`.

    home: the server that has the job, if that is known. turn: settles ties. mends: calls wait while there is no
    connection.
    """

    call: Call[T]
    home: str | None
    turn: int
    mends: bool
    attempt: Call[T] | None = None
    seat: Seat | None = None
    _said_no: set[int] = field(default_factory=set)
    _answers: list[PixwireError] = field(default_factory=list)
    _moves: int = 0
    _doubtful: bool = False
    """Whether a server may have taken it: what a later attempt hears there (full, unsent) proves nothing."""

    def begin(self, seats: Sequence[Seat]) -> int:
        """The seat to ask first: its index."""
        if self.home is not None and all(seat.server != self.home for seat in seats):
            self.home = None  # that server is not among these, or was never reached; the others may know its jobs
        found = choose(seats, self.turn, home=self.home)
        if found is None and self.home is not None:  # that server is lost for good, and it alone is the right one
            found = next(seat for seat in seats if seat.server == self.home)
        return self._sit(found or seats[self.turn % len(seats)])

    def go_on(self, error: BaseException, seats: Sequence[Seat]) -> int | None:
        """The attempt ended with this error. Returns the seat to ask next, None when that is the end: see `verdict`."""
        if not isinstance(error, PixwireError) or self.attempt is None or self.seat is None:
            return None
        self._answers.append(error)
        self._moves += 1
        lost = isinstance(error, ConnectionLost) and error.processed != "no"
        self._doubtful = self.attempt.doubtful = self._doubtful or self.attempt.doubtful or lost
        if self._moves > MOST_MOVES:
            return None
        here = seats[self.seat.index].server or self.seat.server
        match where_next(self.call.request, self.attempt, error):
            case Where.ANYWHERE:
                found = self._anywhere(seats)
            case Where.SAME_SERVER if here is not None:
                found = choose(seats, self.turn, home=here, but=(self.seat.index,))
                found = found if found is not None and found.connected else None
            case Where.OTHER_SERVER if self.home is None:
                same = {seat.index for seat in seats if here is not None and seat.server == here}
                self._said_no |= same | {self.seat.index}
                found = choose(seats, self.turn, but=self._said_no)
            case _:
                found = None
        return None if found is None else self._sit(found)

    def verdict(self, error: BaseException) -> BaseException:
        """What the caller hears, after `go_on` ended with this error."""
        if isinstance(error, JobNotFound) and not isinstance(error, JobLost) and len(self._answers) > 1:
            return job_not_found(f"none of the servers knows job {self.call.job}")
        if isinstance(error, CapacityError):  # all that were asked are full: the first one to have room again counts
            full = [answer for answer in self._answers if isinstance(answer, CapacityError)]
            return min(full, key=lambda answer: answer.retry_after_ms or 0, default=error)
        return error

    def settle(self) -> None:
        """After the end: what the attempt heard is what the call heard."""
        if self.attempt is not None:
            self.call.known_at = self.attempt.known_at or self.call.known_at
            self.call.status, self.call.duplicate = self.attempt.status, self.attempt.duplicate

    def _anywhere(self, seats: Sequence[Seat]) -> Seat | None:
        """Nothing was done there: any seat will do that has not said no. Without a connection only a call that waits
        for one goes on.
        """
        found = choose(seats, self.turn, home=self.home, but=self._said_no)
        return found if found is not None and (found.connected or self.mends) else None

    def _sit(self, seat: Seat) -> int:
        attempt = self.call.anew()
        attempt.roams = self.home is None
        attempt.doubtful = self._doubtful
        known_at = attempt.known_at
        if known_at is not None and seat.server != known_at.server_id:
            attempt.known_at = None  # another server owes us no knowledge of the job
        self.attempt, self.seat = attempt, seat
        return seat.index


class Fleet:
    """What is remembered about the seats from call to call. All methods take one step that Ctrl-C or another thread
    cannot halve in a way that matters: the numbers steer, they do not decide what is right.
    """

    def __init__(self, count: int) -> None:
        self._under_way: list[dict[Call[Any], None]] = [{} for _ in range(count)]
        self._full_until = [0.0] * count
        self._homes: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        """Where a job was submitted that may or may not have been taken: nobody else may get it."""

    def outstanding(self, index: int) -> int:
        """How many calls are under way on a seat."""
        return len(self._under_way[index])

    def is_full(self, index: int, now: float) -> bool:
        """Whether its server wants no new jobs now."""
        return now < self._full_until[index]

    def home_of(self, call: Call[Any]) -> str | None:
        """The server that has the call's job, as far as is known; for a SUBMIT also the one that may have it: the same
        id given again must not make the job a second time elsewhere.
        """
        if call.home is None and isinstance(call.request, messages.Submit):
            return self._homes.get(call.request.job) or self._asked.get(call.request.job)
        if call.home is not None or not is_lookup(call.request):
            return call.home
        if call.known_at is not None:
            return call.known_at.server_id
        return self._homes.get(call.job or "")

    def began(self, index: int, attempt: Call[Any]) -> None:
        """A call is under way on a seat."""
        self._under_way[index][attempt] = None

    def ended(self, index: int, attempt: Call[Any], error: BaseException | None, now: float) -> None:
        """It is not any more."""
        self._under_way[index].pop(attempt, None)
        if isinstance(error, CapacityError) and error.retry_after_ms is not None and attempt.request is not None:
            self._full_until[index] = now + error.retry_after_ms / 1000
        if attempt.job is None:
            return
        if attempt.known_at is not None:
            _remember(self._homes, attempt.job, attempt.known_at)
        elif isinstance(attempt.request, messages.Submit) and attempt.server is not None:
            may_be_taken = attempt.doubtful or getattr(error, "processed", "maybe") != "no"
            if may_be_taken:
                _remember(self._asked, attempt.job, attempt.server)

    def forget_calls(self) -> None:
        """In a process that was forked: the calls belong to the other one."""
        for calls in self._under_way:
            calls.clear()


def _remember(jobs: dict[str, str], job: str, server: ServerName) -> None:
    jobs[job] = server.server_id
    if len(jobs) > REMEMBERED_JOBS:
        with suppress(RuntimeError):  # another thread remembers something, too: then the next one makes room
            jobs.pop(next(iter(jobs)), None)
