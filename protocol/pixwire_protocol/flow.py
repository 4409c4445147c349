"""Credit for DATA bytes (SPEC 7): one window per stream and one per connection, in each direction.

Only DATA tails cost credit, so a consumer that stops reading one stream never blocks anything else. A receiver gives
credit back in batches of at least half the window: often enough that a sender in motion never stops, seldom enough
that CREDIT frames cost nothing. Both classes are pure arithmetic and know no frames.
"""

from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.registry import MAX_CREDIT, ErrorCode


class SendWindow:
    """How many bytes the peer will still take."""

    __slots__ = ("available",)

    def __init__(self, size: int) -> None:
        self.available = size

    def grant(self, n: int) -> None:
        """CREDIT n arrived. Raises RemoteProtocolError(FLOW_CONTROL) for n outside 1..2^31-1 or too much in all."""
        if not 0 < n <= MAX_CREDIT:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"CREDIT of {n} is outside 1..{MAX_CREDIT}")
        if self.available + n > MAX_CREDIT:
            total = self.available + n
            raise RemoteProtocolError(
                ErrorCode.FLOW_CONTROL, f"CREDIT of {n} makes a window of {total}, over {MAX_CREDIT}"
            )
        self.available += n


class ReceiveWindow:
    """How many bytes the peer may still send, and how many it sent that were not consumed.

    available + unreturned + outstanding = size, always.
    """

    __slots__ = ("available", "outstanding", "size", "threshold", "unreturned")

    def __init__(self, size: int) -> None:
        self.size = size
        self.available = size
        self.outstanding = 0
        self.unreturned = 0
        self.threshold = max(1, size // 2)

    def receive(self, n: int, where: str) -> None:
        """n bytes are coming. Raises RemoteProtocolError(FLOW_CONTROL) when the peer has no credit for them."""
        if n > self.available:
            problem = f"DATA of {n} bytes exceeds the credit of {self.available} bytes on {where}"
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, problem)
        self.available -= n
        self.outstanding += n

    def consume(self, n: int) -> int:
        """n received bytes were used up. Returns the credit to give back now, 0 while it is too little to bother."""
        if not 0 <= n <= self.outstanding:
            raise LocalProtocolError(f"{n} bytes cannot be consumed: {self.outstanding} are outstanding")
        self.outstanding -= n
        self.unreturned += n
        if self.unreturned < self.threshold:
            return 0
        credit, self.unreturned = self.unreturned, 0
        self.available += credit
        return credit
