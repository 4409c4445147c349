"""Who is connected: names for the log, and how many may come, in all and from one address (SPEC 11)."""

import ipaddress
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

log = logging.getLogger(__name__)

TOLD: Final = 64
"""Connections that are refused and still open, so that they can be told why; beyond, they are closed without a word."""
_EVERYBODY: Final = "everybody"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection. `block` is whose connections are counted together; None: they are not counted."""

    name: str
    block: str | None = None


def peer_of(peername: object, *, spare_loopback: bool = True) -> Peer:
    """The peer with this `peername` of its socket.

    An IPv6 network of 64 bits is one address: whoever has one has all of it. Unix sockets, and with `spare_loopback`
    this machine itself, are not counted.
    """
    if not isinstance(peername, tuple):
        return Peer("a local program")
    host, port = str(peername[0]), peername[1]
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if spare_loopback and address.is_loopback:
        return Peer(name)
    if address.version == 4:
        return Peer(name, str(address))
    return Peer(name, str(ipaddress.ip_network((address, 64), strict=False)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection may not stay; `tell`: it is kept until it has heard so."""

    why: str
    tell: bool


@dataclass(slots=True)
class Headcount:
    """Counts connections. Refused ones take no seat, so they keep nobody else out."""

    max_connections: int
    max_per_address: int
    seated: int = 0
    told: int = 0
    _by_block: Counter[str] = field(default_factory=Counter)
    _refused: Counter[str] = field(default_factory=Counter)

    def enter(self, peer: Peer) -> Refusal | None:
        """A connection has come: None when it may stay. Call `leave` with the same answer at its end."""
        block = peer.block
        if block is not None and self._by_block[block] >= self.max_per_address:
            return self._refuse(
                peer,
                block,
                f"{self.max_per_address} connections from {block} are open (max_connections_per_address)",
            )
        if self.seated >= self.max_connections:
            return self._refuse(peer, _EVERYBODY, f"{self.max_connections} connections are open (max_connections)")
        self.seated += 1
        self._refused.pop(_EVERYBODY, None)
        if block is not None:
            self._by_block[block] += 1
            self._refused.pop(block, None)
        return None

    def leave(self, peer: Peer, refusal: Refusal | None) -> None:
        """A connection has gone."""
        if refusal is not None:
            self.told -= refusal.tell
            return
        self.seated -= 1
        if peer.block is not None:
            self._by_block[peer.block] -= 1
            if not self._by_block[peer.block]:
                del self._by_block[peer.block]

    def _refuse(self, peer: Peer, whose: str, why: str) -> Refusal:
        self._refused[whose] += 1
        count = self._refused[whose]
        if count == 10 ** (len(str(count)) - 1):  # 1, 10, 100, ...: a flood does not fill the log
            log.warning("%s refused: %s; %d refused since the last one that was not", peer.name, why, count)
        tell = self.told < TOLD
        self.told += tell
        return Refusal(why, tell)
