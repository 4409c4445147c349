"""When to ask whether the peer is alive, and when to give up (SPEC 12). Pure: the time is an argument, in seconds.

Any received byte is a sign of life. After a third of the idle time without one, PING; again after each further third
(never more often than min_ping_ms). The peer is dead when nothing came for idle_ms and a PING sent then stayed
unanswered for ping_timeout_ms more. Use any monotonic clock, always the same.

    keepalive = Keepalive(connection.peer_limits, now)
    on bytes:  keepalive.on_receive(now)
    timer:     at keepalive.next_deadline(now): verdict = keepalive.poll(now)
"""

from typing import Literal

from pixwire_protocol.limits import Limits

Verdict = Literal["ping", "dead"]


class Keepalive:
    """The clock of one connection.

    handshake_ms  when given, the connection is "dead" that long after the start unless on_ready() was called: peers
                  that dribble bytes do not get more time
    """

    __slots__ = ("_asked", "_handshake_end", "_heard", "_idle", "_ping_every", "_quiet_since", "_timeout")

    def __init__(self, limits: Limits, now: float, handshake_ms: int | None = None) -> None:
        self._handshake_end = None if handshake_ms is None else now + handshake_ms / 1000
        self.on_limits(limits, now)

    def on_limits(self, limits: Limits, now: float) -> None:
        """Use these limits from now on; counts as a sign of life."""
        self._idle = limits.idle_ms / 1000
        self._timeout = limits.ping_timeout_ms / 1000
        self._ping_every = max(limits.idle_ms / 3, limits.min_ping_ms) / 1000
        self.on_receive(now)

    def on_ready(self, now: float) -> None:
        """The handshake is done."""
        self._handshake_end = None
        self.on_receive(now)

    def on_receive(self, now: float) -> None:
        """Something was received."""
        self._heard = self._quiet_since = now
        """The latter counts from the last PING, too."""
        self._asked: float | None = None
        """When the last PING was sent, the one that decides."""

    def next_deadline(self, now: float) -> float:
        """When to call poll() next; may lie in the past. Earlier calls do no harm."""
        if self._handshake_end is not None:
            return self._handshake_end
        if self._asked is not None:
            return self._asked + self._timeout
        return min(self._quiet_since + self._ping_every, self._heard + self._idle)

    def poll(self, now: float) -> Verdict | None:
        """What is to be done now: send a PING, give the connection up, or nothing."""
        if self._handshake_end is not None:
            return "dead" if now >= self._handshake_end else None
        if self._asked is not None:
            return "dead" if now >= self._asked + self._timeout else None
        if now >= self._heard + self._idle:
            # However late this call comes (a suspended machine): nobody is dead who was not asked.
            self._asked = now
            return "ping"
        if now >= self._quiet_since + self._ping_every:
            self._quiet_since = now
            return "ping"
        return None
