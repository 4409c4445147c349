"""The PINGs of one connection: whose answer is whose, and not too many of them. SPEC 12.1."""

import math
from collections import deque
from collections.abc import Iterator

from pixwire_protocol.connection import Connection
from pixwire_protocol.registry import ErrorCode

from ..errors import request_failed
from .calls import AnyCall, Phase

MOST_PINGS = 7
"""Pings of the user in ten times `min_ping_ms`; three more are left for the keepalive (SPEC 12)."""
KEEPALIVE_PAYLOAD = bytes(8)  # the answer to it interests nobody


class Pings:
    """Sends them and knows who waits for which."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked: dict[bytes, tuple[AnyCall, float]] = {}
        self._count = int.from_bytes(KEEPALIVE_PAYLOAD)
        self._times: deque[float] = deque()
        self._pace = 0.0

    def __bool__(self) -> bool:
        return bool(self._asked)

    def calls(self) -> Iterator[AnyCall]:
        """Those who wait for an answer."""
        return (call for call, _ in self._asked.values())

    def set_pace(self, seconds: float) -> None:
        """The server takes one in so many seconds, on average of ten."""
        self._pace = seconds

    def send(self, call: AnyCall, now: float) -> None:
        """Sends one for a call. Raises RateLimited when too many were sent."""
        self._register(now, MOST_PINGS)
        self._count += 1
        payload = self._count.to_bytes(8)
        self._asked[payload] = call, now
        self._connection.ping(payload)

    def keep_alive(self, now: float) -> None:
        """Sends one for nobody."""
        self._register(now)
        self._connection.ping(KEEPALIVE_PAYLOAD)

    def answered(self, payload: bytes, now: float) -> AnyCall | None:
        """A PONG came; returns the call that it finishes, if any."""
        call, asked = self._asked.pop(payload, (None, now))
        if call is not None:
            call.phase, call.value = Phase.DONE, now - asked
        return call

    def drop(self, call: AnyCall) -> None:
        """Nobody waits for this one any more."""
        self._asked = {payload: ping for payload, ping in self._asked.items() if ping[0] is not call}

    def clear(self) -> None:
        """Nobody waits for any."""
        self._asked.clear()

    def _register(self, now: float, most: int | None = None) -> None:
        """Notes a PING. Raises RateLimited when `most` were sent in the time in which the server takes ten."""
        span = 10 * self._pace
        while self._times and self._times[0] <= now - span:
            self._times.popleft()
        if most is not None and len(self._times) >= most:
            rest = math.ceil((self._times[0] + span - now) * 1000)
            text = f"the server takes few pings, {most} in {span:g} s were sent"
            raise request_failed(ErrorCode.RATE_LIMITED, "RATE_LIMITED", text, retry="after", retry_after_ms=rest)
        self._times.append(now)
