"""What several connections look like together: their seats, their one face, why none of them came about. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from ..errors import AccessDenied, ConnectError, PixwireError
from .balance import Fleet, Seat
from .plan import ConnectionListener, Plan
from .session import ClientSession


class OneLink(Protocol):
    """What is needed to know of the connection to one server."""

    @property
    def session(self) -> ClientSession:
        """What is known of the server."""

    @property
    def connected(self) -> bool:
        """Whether a call would be sent at once."""

    @property
    def closed(self) -> bool:
        """Whether it is over for good."""

    @property
    def url(self) -> str:
        """The server's."""

    @property
    def bytes_received(self) -> int:
        """Over all connections."""

    def recall(self) -> None:
        """Another server is there for calls that wait here for a connection."""

    def abandoned(self) -> bool:
        """Nobody will use this any more. Returns whether somebody forgot to end it."""


class Face(ABC):
    """Several connections as if they were one: what both shells have in common. The links are theirs."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._plans = plans
        self._fleet = Fleet(len(plans))
        self._is_lost = False

    @property
    @abstractmethod
    def _every(self) -> Sequence[OneLink]:
        """The links."""

    @property
    def session(self) -> ClientSession:
        """What is known of a server: one that is connected, or was."""
        return best_session([link.session for link in self._every])

    @property
    def homes(self) -> tuple[str | None, ...]:
        """The servers that were reached, each once."""
        return homes([link.session for link in self._every])

    @property
    def connected(self) -> bool:
        """Whether a call would be sent at once."""
        return any(link.connected for link in self._every)

    @property
    def closed(self) -> bool:
        """Whether it is over for good."""
        return all(link.closed for link in self._every)

    @property
    def url(self) -> str:
        """The servers', joined by commas."""
        return ",".join(dict.fromkeys(link.url for link in self._every))

    @property
    def bytes_received(self) -> int:
        """Over all connections of this process."""
        return sum(link.bytes_received for link in self._every)

    def abandoned(self) -> bool:
        """As that of a link. May be called in any thread."""
        return sum(link.abandoned() for link in self._every) > 0  # not `any`: all of them

    def _seats(self, now: float) -> list[Seat]:
        return [seat_of(index, link.session, self._fleet, now) for index, link in enumerate(self._every)]

    def _heard(self, index: int, tell: ConnectionListener | None, reason: str | None) -> None:
        """A connection is there (None), or lost. What waits for one goes to a server that has one. The user hears when
        the last one is lost, and when there is one again: the others are no loss, and stand in the log.
        """
        if self.connected:
            for link in self._every:
                link.recall()
        if (reason is None) == self._is_lost and (reason is None or not self.connected):
            self._is_lost = not self._is_lost
            if tell is not None:
                tell(None if reason is None else f"{self._every[index].url}: {reason}")


def seat_of(index: int, session: ClientSession, fleet: Fleet, now: float) -> Seat:
    """What a choice has to know of one connection."""
    return Seat(
        index,
        None if session.welcome is None else session.welcome.server_id,
        session.connected,
        session.over is not None,
        session.silent(now),
        fleet.is_full(index, now),
        fleet.outstanding(index),
    )


def best_session(sessions: Sequence[ClientSession]) -> ClientSession:
    """The one that speaks for all: connected, or else that was, or else the first."""
    return min(sessions, key=lambda session: (not session.connected, session.welcome is None))


def homes(sessions: Sequence[ClientSession]) -> tuple[str | None, ...]:
    """The servers that were ever reached, each once."""
    names = [session.welcome.server_id for session in sessions if session.welcome is not None and session.over is None]
    return tuple(dict.fromkeys(names))


def no_server(url: str, problems: Sequence[BaseException | None]) -> PixwireError:
    """Why there is no connection to any server: a server that wants to know who we are comes before one that is not
    there.
    """
    denied = next((problem for problem in problems if isinstance(problem, AccessDenied)), None)
    if denied is not None:
        return denied
    found = [problem for problem in problems if isinstance(problem, ConnectError)]
    reasons = dict.fromkeys(f"{problem.url}: {problem.reason}" for problem in found)
    return ConnectError(url, "; ".join(reasons), reached=any(problem.reached for problem in found))
