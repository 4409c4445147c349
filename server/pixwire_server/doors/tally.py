"""What a PXW door has done since it was opened: plain numbers, so that counting costs next to nothing. Whoever keeps
statistics reads them.
"""

from collections import defaultdict
from typing import Final

OK: Final = "ok"
RESET: Final = "reset"
"""The client wanted no more of it."""
LOST: Final = "lost"
"""The connection ended before its answer did."""


class Tally:
    """Counts of one door, over all its connections. They only grow."""

    __slots__ = ("accepted", "answered", "ended", "received", "sent", "unanswered")

    def __init__(self) -> None:
        self.accepted = 0
        """Connections, those that were refused included."""
        self.received = 0
        """Bytes of PXW, without TLS; as `sent`."""
        self.sent = 0
        self.answered: defaultdict[type, int] = defaultdict(int)
        """Requests whose answer is complete, by the class of their message."""
        self.unanswered: defaultdict[tuple[type, str], int] = defaultdict(int)
        """The other requests: by class, and the name of the error they ended with, RESET or LOST."""
        self.ended: defaultdict[str, int] = defaultdict(int)
        """Connections that were ended for what the client did, by the name of the error."""

    def requests(self) -> dict[tuple[str, str], int]:
        """All requests that are over: (frame type, outcome) -> how many."""
        counts = {(_name(kind), OK): count for kind, count in self.answered.items()}
        return counts | {(_name(kind), outcome): count for (kind, outcome), count in self.unanswered.items()}


def _name(kind: type) -> str:
    return kind.__name__.upper()
