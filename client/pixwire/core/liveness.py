"""Whether the server of one connection is alive: when to look, when to ask, when to give up. Pure. SPEC 12.

The rules are the protocol's (`Keepalive`); beside them a session with several servers asks one that is silent earlier.
"""

from math import inf
from typing import Literal

from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits

PONG_SECONDS = 1.0  # for which an answer to a PING may be out before the server counts as silent


class Liveness:
    """The clock of one connection. Times are seconds of the shell's clock.

    Args:
        now: when the connection is begun.
        timeout: seconds until the server must be ready.
        probe: seconds of silence after which to ask; None: as SPEC 12 has it.
    """

    def __init__(self, now: float, timeout: float, probe: float | None) -> None:
        self._keepalive = Keepalive(Limits(), now, round(timeout * 1000))
        self._probe = probe
        self._is_ready = False
        self._heard = self._told = now
        self._asked: float | None = None
        self.alarm = inf
        """`next_deadline` is not earlier than this, though perhaps later: it moves with every byte that comes."""
        self.next_deadline(now)

    def heard(self, now: float) -> None:
        """Bytes came. The keepalive is told when it is asked next."""
        self._heard = now
        if self._asked is not None:  # the server has given its sign, and the next one is due by another rule
            self._asked = None
            self.next_deadline(now)

    def on_ready(self, limits: Limits, now: float) -> None:
        """The handshake is done, and these limits hold."""
        self._is_ready = True
        if self._probe is not None:
            self._probe = max(self._probe, 2 * limits.min_ping_ms / 1000)
        self._keepalive.on_limits(limits, now)
        self._keepalive.on_ready(now)
        self.next_deadline(now)

    def next_deadline(self, now: float) -> float:
        """When `poll` wants to be called."""
        self._tell()
        due = self._keepalive.next_deadline(now)
        probe_at = self._probe_at
        self.alarm = due if probe_at is None or due < probe_at else probe_at
        return self.alarm

    def poll(self, now: float) -> Literal["ping", "dead"] | None:
        """What is due: to ask the server by PING, to give it up, or nothing."""
        self._tell()
        verdict = self._keepalive.poll(now)
        if verdict is None and self._probe_at is not None and now >= self._probe_at:
            verdict = "ping"
        if verdict == "ping" and self._asked is None:
            self._asked = now
        self.next_deadline(now)
        return verdict

    def owes_pong(self, now: float) -> bool:
        """Whether the server was asked for a sign of life more than PONG_SECONDS ago, and gave none."""
        return self._asked is not None and now > self._asked + PONG_SECONDS

    @property
    def _probe_at(self) -> float | None:
        if self._probe is None or not self._is_ready or self._asked is not None:
            return None
        return self._heard + self._probe

    def _tell(self) -> None:
        """The keepalive: that bytes came since it was asked last, and when the last ones did."""
        if self._heard > self._told:
            self._told = self._heard
            self._keepalive.on_receive(self._heard)
