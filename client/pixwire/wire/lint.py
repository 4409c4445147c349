"""A capture against the specification, both sides (SPEC 3 to 13). Pure.

Two judges, a client and a server made of the protocol's own receiving half (judge.py), hear what the other side sent;
violations.py says which requirement that is about. What a receiver need not notice, but a sender must keep to, is
checked by the ledgers (ledgers.py).

The order of a capture is that of an observer in between. Nothing is reported that could be frames crossing each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from .annotate import Annotator, Broken, Incomplete, Item, Preface, SeenFrame, Side, Unread
from .capture import GAP, Capture, Chunk, Connection, Mark
from .judge import Fault, Judge, judges
from .ledgers import LEDGERS, Complaint, Ledger, Seen
from .violations import Level, classify

_OTHER: Final[dict[Side, Side]] = {"C": "S", "S": "C"}
_NAMES: Final[dict[Side, str]] = {"C": "the client", "S": "the server"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is against the specification. frame: its number in its direction, 0 for the preface or bytes."""

    conn: int
    side: Side
    frame: int
    offset: int
    level: Level
    text: str
    requirements: tuple[str, ...]

    @property
    def where(self) -> str:
        """`frame 17 (C, offset 812)`, with the connection when it is not the first."""
        conn = "" if self.conn == 1 else f"connection {self.conn}, "
        what = f"frame {self.frame}" if self.frame else "bytes"
        return f"{conn}{what} ({self.side}, offset {self.offset})"

    def to_map(self) -> dict[str, Any]:
        """For --json."""
        return {
            "conn": self.conn,
            "from": self.side,
            "frame": self.frame,
            "offset": self.offset,
            "level": self.level,
            "text": self.text,
            "requirements": list(self.requirements),
        }


def lint(capture: Capture) -> list[Finding]:
    """Everything that is wrong, in the order in which it was seen."""
    return [finding for connection in capture.connections() for finding in lint_connection(connection)]


def lint_connection(connection: Connection) -> list[Finding]:
    """The same for one connection."""
    return list(_Linter(connection).run())


class _Linter:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        client, server = judges(_first(connection, "C", "HELLO"), _first(connection, "S", "WELCOME"))
        self._judges: dict[Side, Judge] = {"C": client, "S": server}
        self._ledgers: list[Ledger] = [ledger() for ledger in LEDGERS]
        self._annotators: dict[Side, Annotator] = {side: Annotator(side, preface=True) for side in _OTHER}
        self._stopped: dict[Side, bool] = {"C": False, "S": False}
        self._unanswered: dict[Side, tuple[Item, tuple[str, ...]]] = {}
        """By who did it: a connection error that the other side has not answered with GOAWAY."""
        self._went_on: dict[Side, Item] = {}

    def run(self) -> Iterator[Finding]:
        """Feeds the capture through."""
        for record in self._connection.records:
            if isinstance(record, Chunk):
                for item in self._annotators[record.side].feed(record.data):
                    yield from self._judge(item, record.side, record.t_ns)
            else:
                yield from self._on_mark(record)
        for side, annotator in self._annotators.items():
            for item in annotator.end():
                yield from self._cut_off(item, side)
        for ledger in self._ledgers:
            for complaint in ledger.end():
                yield self._complain(complaint)
        for side, item in self._went_on.items():
            wrong = self._unanswered.get(_OTHER[side])
            if wrong is not None:
                text = (
                    f"{_NAMES[side]} went on after a connection error ({_NAMES[_OTHER[side]]}, byte {wrong[0].offset})"
                )
                yield self._finding(item, side, "warning", text, ("PXW-CON-010", *wrong[1]))

    def _cut_off(self, item: Item, side: Side) -> Iterator[Finding]:
        """The end of the capture inside a frame, whose beginning may be wrong already."""
        judge = self._judges[_OTHER[side]]
        if self._stopped[side] or judge.over or not isinstance(item, Incomplete):
            return
        faults = [finding for fault in judge.hear(item.data) for finding in self._fault(fault, item, side)]
        yield from faults or [self._finding(item, side, "warning", item.reason, ("PXW-CON-015",))]

    def _on_mark(self, mark: Mark) -> Iterator[Finding]:
        if mark.event == GAP:
            for side in _OTHER:
                self._stopped[side] = True
        yield from ()

    def _judge(self, item: Item, side: Side, t_ns: int) -> Iterator[Finding]:
        if self._stopped[side] or isinstance(item, Unread):
            return
        judge = self._judges[_OTHER[side]]
        if judge.over:
            self._stopped[side] = True
        else:
            for fault in judge.hear(item.data):
                yield from self._fault(fault, item, side)
            if isinstance(item, Broken) and not judge.over:
                yield self._finding(item, side, "error", item.reason, ("PXW-FRM-001", "PXW-FRM-002"))
        if self._stopped[side] and isinstance(item, Broken):
            return
        if isinstance(item, SeenFrame | Preface):
            yield from self._note(item, side, t_ns)
        self._stopped[side] |= judge.machine.failure is not None

    def _note(self, item: SeenFrame | Preface, side: Side, t_ns: int) -> Iterator[Finding]:
        """Enters what was sent into all books."""
        if isinstance(item, SeenFrame) and _OTHER[side] in self._unanswered:
            if item.name == "GOAWAY" or (item.name == "ERROR" and not item.stream):
                del self._unanswered[_OTHER[side]]
            self._went_on.setdefault(side, item)
        for ledger in self._ledgers:
            for complaint in ledger.see(Seen(side, item, t_ns)):
                yield self._complain(complaint)
        if isinstance(item, SeenFrame):
            self._judges[side].said(item)

    def _fault(self, fault: Fault, item: Item, side: Side) -> Iterator[Finding]:
        level, ids = classify(fault, item, side)
        if level != "none":
            text = fault.message or f"{_NAMES[side]} sent something that is refused"
            yield self._finding(item, side, level, text, ids)
        if fault.stream is None and level == "error":
            self._unanswered[side] = (item, ids[1:2])

    def _complain(self, complaint: Complaint) -> Finding:
        seen = complaint.seen
        return self._finding(seen.item, seen.side, complaint.level, complaint.text, complaint.requirements)

    def _finding(self, item: Item, side: Side, level: Level, text: str, ids: tuple[str, ...]) -> Finding:
        number = item.number if isinstance(item, SeenFrame) else 0
        name = f"{item.name}: " if isinstance(item, SeenFrame) and not text.startswith(item.name) else ""
        return Finding(self._connection.id, side, number, item.offset, level, name + text, ids)


def _first(connection: Connection, side: Side, name: str) -> SeenFrame | None:
    """The first frame of this name, which sets the limits."""
    annotator = Annotator(side, preface=True)
    for record in connection.records:
        if isinstance(record, Chunk) and record.side == side:
            for item in annotator.feed(record.data):
                if isinstance(item, SeenFrame):
                    return item if item.name == name else None
    return None
