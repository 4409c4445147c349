"""What the connections of one door share: its settings, its jobs, its tokens, and the list of who is there."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

from pixwire_protocol.parser import SCRATCH_SIZE
from pixwire_server.doors.auth import Guard, Identity
from pixwire_server.doors.peers import Headcount, Peer, Refusal, peer_of
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tally import Tally
from pixwire_server.doors.tokens import Tokens

log = logging.getLogger(__name__)


class Member(Protocol):
    """A connection as the door sees it."""

    def begin_drain(self, grace_s: float) -> None:
        """Announce the end; open streams go on."""
        ...

    def close_when_idle(self) -> None:
        """Close when nothing is owed any more."""
        ...

    def recheck(self) -> None:
        """The tokens have changed: end the connection if its own is gone."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Reception:
    """Lets connections in and knows them until they are gone.

    `on_first` is called when one comes and there was none, `on_empty` when the last one has left.
    """

    def __init__(
        self,
        jobs: JobsPort,
        settings: DoorSettings,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        on_first: Callable[[], None],
        on_empty: Callable[[], None],
    ) -> None:
        self.jobs = jobs
        self.settings = settings
        self.limits = settings.limits
        self.tokens = tokens
        self.tls = tls
        """For connections that begin from now on."""
        self.members: set[Member] = set()
        self.scratch = memoryview(bytearray(SCRATCH_SIZE))
        """Where all connections receive what is small: a loop reads one socket at a time, and an idle connection has
        no use for 64 KiB of its own.
        """
        self.tally = Tally()
        self._headcount = Headcount(settings.max_connections, settings.max_connections_per_address)
        self._on_first, self._on_empty = on_first, on_empty

    def arrive(self, member: Member, transport: asyncio.BaseTransport) -> "Visit":
        """A connection has been accepted."""
        peer = peer_of(transport.get_extra_info("peername"), spare_loopback=self.settings.spare_loopback)
        log.debug("%s connected", peer.name)
        self.tally.accepted += 1
        if not self.members:
            self._on_first()
        self.members.add(member)
        return Visit(self, member, peer, self._headcount.enter(peer))

    @property
    def asks_nobody(self) -> bool:
        """Whether there is no authentication at all, neither by token nor by certificate."""
        return self.tokens is None and (self.tls is None or self.tls.verify_mode is ssl.CERT_NONE)

    def guard(self, certificate: Identity | None, *, local: bool = False) -> Guard:
        """Who keeps a new connection's identity; `local`: it came through a listener for this machine only."""
        return Guard(self.tokens, certificate, admins=self.settings.admins, local=local and self.asks_nobody)

    def leave(self, visit: "Visit") -> None:
        """A connection is gone."""
        log.debug("%s disconnected", visit.peer.name)
        self._headcount.leave(visit.peer, visit.refusal)
        self.members.discard(visit.member)
        if not self.members:
            self._on_empty()


class Visit:
    """One connection from accept to close, whoever speaks for it."""

    __slots__ = ("_reception", "arrived", "member", "peer", "refusal")

    def __init__(self, reception: Reception, member: Member, peer: Peer, refusal: Refusal | None) -> None:
        self._reception = reception
        self.member = member
        self.peer = peer
        self.refusal = refusal
        """Why it may not stay; None: it may."""
        self.arrived = asyncio.get_running_loop().time()

    def hand_over(self, member: Member) -> None:
        """Let `member` speak for this connection from now on."""
        self._reception.members.add(member)
        self._reception.members.discard(self.member)
        self.member = member

    def leave(self) -> None:
        """The connection is gone. Call once."""
        self._reception.leave(self)
