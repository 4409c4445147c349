"""What a sender must keep to although no receiver need notice: small books, one rule each. Pure.

A ledger sees every preface and frame of both sides in recorded order and complains. Its rules hold for an observer
between the two: what may be frames crossing each other is no complaint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from pixwire_protocol.limits import Limits
from pixwire_protocol.rates import Counts, Rates
from pixwire_protocol.registry import ErrorCode

from .annotate import Preface, SeenFrame, Side
from .violations import Level

_FAR: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that one side sent, and when."""

    side: Side
    item: SeenFrame | Preface
    t_ns: int

    @property
    def frame(self) -> SeenFrame | None:
        """The frame, None for a preface."""
        return self.item if isinstance(self.item, SeenFrame) else None


@dataclass(frozen=True, slots=True)
class Complaint:
    """A rule was broken by what was seen."""

    seen: Seen
    text: str
    requirements: tuple[str, ...]
    level: Level = "error"


class Ledger(Protocol):
    """One rule."""

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Something was sent."""

    def end(self) -> Iterator[Complaint]:
        """The capture is over."""


class _Plain:
    def end(self) -> Iterator[Complaint]:
        """Nothing is left to say."""
        yield from ()


class Shapes(_Plain):
    """CON-007, MSG-004, MSG-017, EXT-008: what a receiver ignores but a sender must not send."""

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        if isinstance(seen.item, Preface):
            if seen.item.problems:
                yield Complaint(seen, "the last two bytes of the preface are not zero", ("PXW-CON-007",))
            return
        for problem in seen.item.problems:
            if "comes twice" in problem.text:
                yield Complaint(seen, problem.text, ("PXW-MSG-017", "PXW-MSG-018"))
            elif "is not of the form" in problem.text:
                yield Complaint(seen, problem.text, ("PXW-MSG-004",))


class Greeting(_Plain):
    """HSK-002: nothing before WELCOME but HELLO; AUT-002: one AUTH before AUTH_OK. WELCOME that has not passed here has
    not been received."""

    def __init__(self) -> None:
        self._welcomed = False

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None:
            return
        if seen.side == "S":
            self._welcomed |= frame.name == "WELCOME"
        elif not self._welcomed and frame.name not in ("HELLO", "GOAWAY"):
            yield Complaint(seen, "sent before WELCOME came", ("PXW-HSK-002",))


class Endings(_Plain):
    """STR-011: nothing on a stream after one's own END or RESET. CON-010: nothing after one's own last GOAWAY."""

    def __init__(self) -> None:
        self._ended: dict[Side, set[int]] = {"C": set(), "S": set()}
        self._last: dict[Side, bool] = {"C": False, "S": False}

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None:
            return
        if self._last[seen.side]:
            yield Complaint(seen, "sent after a GOAWAY that ends the connection", ("PXW-CON-010",))
        ended = self._ended[seen.side]
        if frame.stream in ended and self._too_late(seen.side, frame):
            yield Complaint(seen, f"sent on stream {frame.stream} after its end there", ("PXW-STR-011",))
        if frame.stream and (frame.name in ("RESET", "ERROR") or (frame.end and _ends(seen.side, frame))):
            ended.add(frame.stream)
        code = (frame.head or {}).get("code")
        if frame.name == "GOAWAY" and code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING, None):
            self._last[seen.side] = True

    @staticmethod
    def _too_late(side: Side, frame: SeenFrame) -> bool:
        """A client's END is that of its request: CREDIT and RESET still follow it."""
        opens = frame.spec is not None and frame.spec.stream == "new"
        return not opens and not (side == "C" and frame.name in ("CREDIT", "RESET"))


def _ends(side: Side, frame: SeenFrame) -> bool:
    return side == "S" or frame.name == "DATA"


class Announcements(_Plain):
    """REQ-025: exactly `length` bytes of DATA after an announcement, unless ERROR or RESET ends the stream."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None or seen.side == "C" or not frame.stream:
            return
        left = self._left.get(frame.stream)
        head = frame.head or {}
        if frame.name == "DATA" and left is not None:
            left -= len(frame.tail)
            self._left[frame.stream] = left
            if left < 0:
                yield Complaint(seen, f"{-left:,} bytes more than announced", ("PXW-REQ-025", "PXW-REQ-027"))
                del self._left[frame.stream]
            elif frame.end and left:
                yield Complaint(seen, f"END, although {left:,} announced bytes are missing", ("PXW-REQ-025",))
        elif frame.name == "RESULT" and isinstance(head.get("length"), int) and "artifact" in head:
            if left:
                text = f"the next artifact, although {left:,} announced bytes are missing"
                yield Complaint(seen, text, ("PXW-REQ-025",))
            self._left[frame.stream] = head["length"]


class Wishes(_Plain):
    """REQ-011, REQ-045: progress, PREVIEW and timesteps only when wanted. JOB-006: `seq` rises on a stream."""

    def __init__(self) -> None:
        self._want: dict[int, frozenset[str]] = {}
        self._seq: dict[int, int] = {}

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None or not frame.stream:
            return
        head = frame.head or {}
        if seen.side == "C":
            want = head.get("want")
            if frame.name in ("SUBMIT", "WATCH"):
                self._want[frame.stream] = frozenset(map(str, want if isinstance(want, list) else ()))
            return
        kind = "preview" if frame.name == "PREVIEW" else head.get("event") if frame.name == "EVENT" else None
        if kind in ("preview", "progress") and kind not in self._want.get(frame.stream, frozenset()):
            yield Complaint(seen, f"{kind} was not wanted", ("PXW-REQ-011",))
        told = head.get("timesteps") if frame.name in ("RESULT", "EVENT") else None
        if told is not None and "timesteps" not in self._want.get(frame.stream, frozenset()):
            yield Complaint(seen, "timesteps were not wanted", ("PXW-REQ-045",))
        seq = head.get("seq")
        if frame.name in ("RESULT", "EVENT", "PREVIEW") and isinstance(seq, int):
            before = self._seq.get(frame.stream, -1)
            if seq <= before:
                yield Complaint(seen, f"seq {seq} does not follow {before}", ("PXW-JOB-006", "PXW-JOB-004"))
            self._seq[frame.stream] = seq


class Pings:
    """KAL-001: one PONG with the same bytes for each PING."""

    def __init__(self) -> None:
        self._open: dict[Side, list[tuple[Seen, bytes]]] = {"C": [], "S": []}
        self._spoke: dict[Side, Seen | None] = {"C": None, "S": None}

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None:
            return
        other: Side = "S" if seen.side == "C" else "C"
        self._spoke[seen.side] = seen
        if frame.name == "GOAWAY":
            self._open = {"C": [], "S": []}
        elif frame.name == "PING":
            self._open[seen.side].append((seen, frame.tail))
            self._spoke[other] = None
        elif frame.name == "PONG":
            asked = self._open[other]
            index = next((i for i, (_, payload) in enumerate(asked) if payload == frame.tail), None)
            if index is None:
                yield Complaint(seen, "this PONG answers no PING", ("PXW-KAL-001",), "warning")
                return
            for skipped, _ in asked[:index]:
                yield Complaint(skipped, "this PING was passed over: a later one was answered", ("PXW-KAL-001",))
            del asked[: index + 1]

    def end(self) -> Iterator[Complaint]:
        """PINGs whose receiver went on talking; what was under way when the capture ended cannot be told."""
        pairs: tuple[tuple[Side, Side], ...] = (("C", "S"), ("S", "C"))
        for side, other in pairs:
            for seen, _ in self._open[side] if self._spoke[other] is not None else ():
                yield Complaint(seen, "this PING has no answer in the capture", ("PXW-KAL-001",), "warning")


class Drain(_Plain):
    """DRN-001: no request after GOAWAY was surely received (a later PING was answered). DRN-003: refused: DRAINING."""

    def __init__(self) -> None:
        self._bound: int | None = None
        self._pings: set[bytes] = set()
        self._sure = False
        self._above: set[int] = set()

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None:
            return
        head = frame.head or {}
        if seen.side == "S":
            yield from self._see_server(seen, frame)
            if frame.name == "GOAWAY" and isinstance(head.get("last_stream"), int):
                self._bound = head["last_stream"]
                self._pings.clear()
            elif frame.name == "PING" and self._bound is not None:
                self._pings.add(frame.tail)
            return
        if frame.name == "PONG" and frame.tail in self._pings:
            self._sure = True
        elif frame.spec is not None and frame.spec.stream == "new":
            if self._sure:
                yield Complaint(seen, "a request after GOAWAY was received", ("PXW-DRN-001",))
            if frame.stream > (_FAR if self._bound is None else self._bound):
                self._above.add(frame.stream)

    def _see_server(self, seen: Seen, frame: SeenFrame) -> Iterator[Complaint]:
        if frame.stream not in self._above:
            return
        self._above.discard(frame.stream)
        refused = frame.name == "ERROR" and (frame.head or {}).get("code") == ErrorCode.DRAINING
        if not refused and frame.name != "RESET":
            text = f"an answer on stream {frame.stream}, above the last_stream of GOAWAY"
            yield Complaint(seen, text, ("PXW-DRN-002", "PXW-DRN-003"))


class Tempo(_Plain):
    """KAL-006, LIM-007 to LIM-010: what comes too often, by the times of the capture."""

    _RULES: Final = {
        "PINGs": ("PXW-KAL-006", "PXW-LIM-008"),
        "CREDIT": ("PXW-LIM-009",),
        "unknown": ("PXW-LIM-010",),
    }

    def __init__(self) -> None:
        self._rates: Rates | None = None
        self._counts = Counts()

    def see(self, seen: Seen) -> Iterator[Complaint]:
        """Looks at one item."""
        frame = seen.frame
        if frame is None:
            return
        now = seen.t_ns / 1e9
        if seen.side == "S":
            if frame.name == "WELCOME" and self._rates is None:
                self._rates = Rates(_declared(frame), now)
            return
        self._count(frame)
        verdict = None if self._rates is None or not seen.t_ns else self._rates.check(self._counts, now)
        if verdict is not None:
            ids = next((ids for word, ids in self._RULES.items() if word in verdict[1]), ("PXW-LIM-007",))
            yield Complaint(seen, verdict[1], ids, "warning")

    def _count(self, frame: SeenFrame) -> None:
        counts = self._counts
        if frame.name == "PING":
            counts.pings += 1
        elif frame.name == "CREDIT":
            counts.credits += 1
            n = (frame.head or {}).get("n")
            counts.credit_bytes += n if isinstance(n, int) else 0
        elif frame.spec is None:
            counts.unknown += 1


def _declared(frame: SeenFrame) -> Limits:
    limits = (frame.head or {}).get("limits")
    try:
        return Limits.from_map(limits if isinstance(limits, dict) else {})
    except ValueError:
        return Limits()


LEDGERS: Final[tuple[type[Ledger], ...]] = (
    Shapes, Greeting, Endings, Announcements, Wishes, Pings, Drain, Tempo,
)  # fmt: skip
