"""When `send` has seen enough: what the frames that were sent still owe us. Pure.

`end` (the default) waits until every stream that was opened has ended and every PING was answered. If the bytes opened
nothing, a PING of the tool's own is the question "have you read all of it?"; if they made no sense at all, only the end
of the connection can answer. `quiet` goes on asking until nothing came between question and answer.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from pixwire_protocol.messages import Ping, encode

from .annotate import Annotator, Item, SeenFrame

Mode = Literal["end", "quiet", "eof", "none"]
_MOST_BARRIERS: Final = 8  # servers count PINGs
_MARK: Final = b"wire"


@dataclass(slots=True)
class Waits:
    """Feed it what is sent and received; `done` says whether there is more to wait for."""

    mode: Mode = "end"
    complete: bool = False
    """Whether everything was sent."""
    open: set[int] = field(default_factory=set)
    pings: list[bytes] = field(default_factory=list)
    over: bool = False
    _annotator: Annotator = field(default_factory=lambda: Annotator("C", preface=None))
    _sent: int = 0
    _opened: bool = False
    _barriers: int = 0
    _barrier: bytes | None = None
    _heard: bool = False
    _quiet: bool = False

    def sent(self, data: bytes) -> list[Item]:
        """These bytes went out; what they are."""
        items = self._annotator.feed(data)
        for item in items:
            if isinstance(item, SeenFrame):
                self._on_sent(item)
        return items

    def received(self, item: Item) -> bool:
        """This came in. False for the answer to a question of the tool's own."""
        if isinstance(item, SeenFrame):
            if item.name == "PONG" and item.tail == self._barrier:
                self._barrier = None
                self._quiet = not self._heard
                return False
            self._on_received(item)
        self._heard = True
        return True

    @property
    def garbled(self) -> bool:
        """Whether what was sent stopped making sense, or ends in the middle of a frame."""
        return self._annotator.lost or self._annotator.pending

    @property
    def settled(self) -> bool:
        """Whether everything that was sent has its answer."""
        return not self.open and not self.pings

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        if self.over or (self.complete and self.mode == "none"):
            return True
        if not self.complete or self.mode == "eof" or self.garbled:
            return False
        if self.mode == "end":
            return self.settled and (self._opened or self._barriers > 0) and self._barrier is None
        return self.settled and self._quiet

    def question(self) -> bytes | None:
        """A PING to send now, when only its answer can tell that the server has read everything."""
        if self.done or not self.complete or not self.settled or self.garbled or self._barrier is not None:
            return None
        if self.mode in ("eof", "none") or self._barriers >= _MOST_BARRIERS:
            return None
        self._barriers += 1
        self._heard = False
        self._barrier = _MARK + self._barriers.to_bytes(4)
        return b"".join(map(bytes, encode(Ping(self._barrier))))

    def _on_sent(self, frame: SeenFrame) -> None:
        if frame.spec is not None and frame.spec.stream == "new":
            self.open.add(frame.stream)
            self._opened = True
        elif frame.name == "RESET":
            self.open.discard(frame.stream)
        elif frame.name == "PING":
            self.pings.append(frame.tail)
            self._opened = True

    def _on_received(self, frame: SeenFrame) -> None:
        if frame.end or frame.name in ("RESET", "ERROR"):
            self.open.discard(frame.stream)
        elif frame.name == "PONG" and frame.tail in self.pings:
            self.pings.remove(frame.tail)
