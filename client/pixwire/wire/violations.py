"""From what a judge says to the requirements that were broken: one table, looked through from the top.

The first id of a row is what the sender broke, those after it say what the receiver owes it. A test feeds every vector
of `protocol/vectors` through the table.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pixwire_protocol.registry import ErrorCode

from .annotate import Item, SeenFrame, Side
from .judge import Fault

Level = Literal["error", "warning", "none"]
"""error: against a MUST. warning: against a SHOULD, or it cannot be told for sure. none: nobody did wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault with this code whose message matches; `side`: of this sender only."""

    code: ErrorCode
    pattern: str
    requirements: tuple[str, ...]
    side: Side | None = None
    level: Level = "error"


def _ids(text: str) -> tuple[str, ...]:
    return tuple(f"PXW-{name}" for name in text.split())


def _row(code: ErrorCode, pattern: str, ids: str, side: Side | None = None, level: Level = "error") -> Row:
    return Row(code, pattern, _ids(ids), side, level)


_P: Final = ErrorCode.PROTOCOL_ERROR
_B: Final = ErrorCode.BAD_HEAD

ROWS: Final[tuple[Row, ...]] = (
    # --- preface and framing
    _row(_P, "wrong preface", "CON-001 CON-004", "C"),
    _row(_P, "wrong preface", "CON-002 CON-005", "S"),
    _row(ErrorCode.VERSION_UNSUPPORTED, "the client speaks", "CON-003", level="none"),
    _row(ErrorCode.VERSION_UNSUPPORTED, "the server speaks", "CON-002 CON-006", "S"),
    _row(_P, "a frame begins with", "FRM-001 FRM-002"),
    _row(_P, "head_len .* exceeds length", "FRM-007"),
    _row(ErrorCode.FRAME_TOO_LARGE, "exceeds max_frame 4096", "FRM-003 FRM-004 FRM-005 FRM-006 AUT-008"),
    _row(ErrorCode.FRAME_TOO_LARGE, "", "FRM-003 FRM-004 FRM-005"),
    _row(ErrorCode.STREAM_ID, "top bit set", "STR-001 FRM-008", "C"),
    _row(ErrorCode.STREAM_ID, "top bit set", "FRM-009 FRM-008", "S"),
    _row(_P, "with a head of", "FRM-013"),
    _row(_P, "P[IO]NG with a tail of", "FRM-015"),
    _row(_P, "with a tail of", "FRM-014"),
    _row(_P, "ERROR with(out)? END is not allowed", "STR-014 FRM-019 FRM-018"),
    _row(_P, r"is not allowed on stream \d+ \(SPEC 4\)", "FRM-012"),
    # --- handshake and authentication
    _row(_P, "HELLO is not allowed in state (READY|DRAINING)", "HSK-007"),
    _row(_P, "WELCOME is not allowed in state (READY|DRAINING|AUTHENTICATING)", "HSK-007 AUT-003"),
    _row(_P, "not allowed in state PREFACED", "HSK-001 HSK-005", "C"),
    _row(_P, "frame type .* in state PREFACED", "HSK-001 HSK-005", "C"),
    _row(_P, "in state PREFACED", "HSK-003 HSK-006", "S"),
    _row(_P, "in state AUTHENTICATING", "AUT-003", "S"),
    _row(ErrorCode.AUTH_REQUIRED, "", "AUT-002 AUT-001", "C"),
    _row(_P, "AUTH, although WELCOME named no mechanism", "AUT-004 AUT-005", "C"),
    _row(_P, "AUTH before the last one was answered", "AUT-021 AUT-002", "C"),
    _row(_P, "AUTH_OK answers no AUTH", "AUT-009", "S"),
    _row(_P, "a feature that was not offered", "HSK-009 HSK-010", "S"),
    # --- streams
    _row(_P, "DATA on stream .* no bytes of attachments are missing", "STR-008 UPL-004 REQ-028", "C"),
    _row(_P, "bytes for the attachments .* are missing", "UPL-004 UPL-001", "C"),
    _row(_P, "END on stream .* attachments missing", "UPL-003 UPL-002", "C"),
    _row(_P, "SUBMIT with attachments and END", "UPL-005", "C"),
    _row(_P, "SUBMIT without attachments and without END", "STR-006 STR-007 FRM-019", "C"),
    _row(_P, r"is not allowed on stream \d+ in state", "STR-012 STR-013 UPL-006", "S"),
    _row(_P, "DATA without bytes and without END", "FLW-012 FLW-013"),
    _row(_P, "last_stream of GOAWAY rose", "DRN-004 DRN-010"),
    _row(ErrorCode.STREAM_ID, "cannot be opened", "STR-002 STR-001 STR-003", "C"),
    _row(ErrorCode.STREAM_ID, "was never opened", "STR-005"),
    _row(ErrorCode.TOO_MANY_STREAMS, "", "STR-019 STR-020", "C"),
    _row(ErrorCode.DRAINING, "", "DRN-001 DRN-003", "C", "none"),
    # --- flow control
    _row(ErrorCode.FLOW_CONTROL, "on the stream", "FLW-001 FLW-003"),
    _row(ErrorCode.FLOW_CONTROL, "on the connection", "FLW-002 FLW-003"),
    _row(ErrorCode.FLOW_CONTROL, "makes a window", "FLW-006"),
    _row(ErrorCode.FLOW_CONTROL, "CREDIT of", "FLW-005"),
    _row(ErrorCode.EXCESSIVE_LOAD, "DATA frames under", "LIM-003"),
    # --- extensions
    _row(ErrorCode.UNKNOWN_CRITICAL, "", "EXT-001 EXT-003", "C", "warning"),
    _row(ErrorCode.UNKNOWN_CRITICAL, "", "EXT-002 EXT-003", "S", "warning"),
    _row(_P, "is unknown .* on stream 0", "EXT-007"),
    _row(ErrorCode.UNKNOWN_FRAME, "", "EXT-005 EXT-008 STR-005", "C", "warning"),
    _row(ErrorCode.UNKNOWN_FRAME, "", "EXT-006 EXT-008", "S", "warning"),
    # --- msgpack and fields
    _row(_B, "nested more than", "MSG-012"),
    _row(_B, "more than .* values", "MSG-014"),
    _row(_B, "ExtraData|Unpack.*extra", "MSG-002 MSG-001"),
    _row(_B, "map keys must be strings|is not allowed for map key|strict_map_key", "MSG-003"),
    _row(_B, "extension type|ext_len", "MSG-005 MSG-006"),
    _row(_B, "UnicodeDecodeError|utf-8", "MSG-007"),
    _row(_B, "must be finite", "MSG-008"),
    _row(_B, "array_len|map_len", "MSG-013"),
    _row(_B, "str_len", "MSG-015"),
    _row(_B, "bin_len", "MSG-016"),
    _row(_B, "StackError", "MSG-012"),
    _row(_B, "msgpack: must be a map", "MSG-001"),
    _row(_B, "without a head", "MSG-001"),
    _row(_B, "not one valid msgpack map", "MSG-002 MSG-001 MSG-013 MSG-015 MSG-016"),
    _row(_B, "(max_frame|window|max_streams|_ms|max_upload|stream_rate|limits) must be", "HSK-014 MSG-021"),
    _row(_B, r"an integer.*\(float\)", "MSG-010 MSG-021"),
    _row(_B, r"an integer.*\(bool\)", "MSG-011 MSG-021"),
    _row(_B, "", "MSG-021"),
    _row(ErrorCode.INVALID_ARGUMENT, r"an integer.*\(float\)", "MSG-010 MSG-021", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, r"an integer.*\(bool\)", "MSG-011 MSG-021", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, r": job (must|is)", "MSG-021 REQ-009", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, r"^LIST: (what|states)", "MSG-021 REQ-036", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, r"^SUBMIT: trace(parent|state)", "MSG-021 REQ-030", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, r"^SUBMIT: attachments", "MSG-021 UPL-013", level="warning"),
    _row(ErrorCode.INVALID_ARGUMENT, "", "MSG-021", level="warning"),
    _row(_P, "is not what a (client|server) may send", "FRM-018 FRM-019 FRM-016"),
    _row(_P, "is not allowed in state", "CON-010"),
)

_COMPILED: Final = tuple((row, re.compile(row.pattern)) for row in ROWS)


def _wrong_flags(frame: SeenFrame, side: Side) -> tuple[str, ...]:
    """A known type with flags that are in no rule: the frame itself tells which rule."""
    spec = frame.spec
    if frame.flags & ~1:
        return _ids("FRM-017 FRM-018")
    sender: Mapping[str, Side] = {"client": "C", "server": "S"}
    if spec is not None and sender.get(spec.sender, side) != side:
        greets = " HSK-005 HSK-006" if spec.name in ("HELLO", "WELCOME") else ""
        return _ids("FRM-016 FRM-019" + greets)
    if spec is not None and spec.stream == "new":
        return _ids("STR-006 STR-007 FRM-019")
    return _ids("FRM-019 FRM-017 FRM-018")


def _critical(frame: SeenFrame) -> tuple[str, ...]:
    if not frame.stream:
        return _ids("EXT-003")
    return _ids("EXT-001" if frame.spec is not None and frame.spec.sender == "client" else "EXT-001 EXT-002")


_SPECIAL: Final[Mapping[str, Callable[[SeenFrame, Side], tuple[str, ...]]]] = {
    "is not what a (client|server) may send": _wrong_flags,
    "crit names fields": lambda frame, side: _critical(frame),
}


def classify(fault: Fault, item: Item, side: Side) -> tuple[Level, tuple[str, ...]]:
    """How bad a fault of `side` is, and which requirements it is about. Never empty for errors."""
    if isinstance(item, SeenFrame):
        for pattern, find in _SPECIAL.items():
            if re.search(pattern, fault.message):
                return ("warning" if "crit" in pattern else "error"), find(item, side)
    for row, compiled in _COMPILED:
        if row.code == fault.code and row.side in (None, side) and compiled.search(fault.message):
            return row.level, row.requirements
    return "error", _ids("CON-010")
