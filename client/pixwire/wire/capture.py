"""`.pxwcap`: recorded connections as JSON lines (format in docs/wire.md). Pure: text <-> records.

    {"pxwcap": 1, "created": "2026-01-02T03:04:05Z", "peer": "pixwire://host"}
    {"t_ns": 0, "conn": 1, "event": "open"}
    {"t_ns": 41000, "conn": 1, "from": "C", "data": "iVBYVwEBAAA="}

A capture holds connections; a connection is chunks of bytes of the client ("C") and the server ("S") and events, in the
order in which they were seen.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .annotate import Side
from .errors import InputError

VERSION: Final = 1
OPEN, EOF, RESET, GAP, NOTE = "open", "eof", "reset", "gap", "note"
"""Events: the connection began; a side sends no more; it was cut; bytes are missing here; something worth a word."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that one side sent. t_ns: nanoseconds since the capture began."""

    t_ns: int
    conn: int
    side: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Something else that happened; `side` where it concerns one."""

    t_ns: int
    conn: int
    event: str
    side: Side | None = None
    detail: str | None = None


Record = Chunk | Mark


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a capture."""

    id: int
    records: tuple[Record, ...]

    def sent(self, side: Side) -> bytes:
        """All that one side sent."""
        return b"".join(record.data for record in self.records if isinstance(record, Chunk) and record.side == side)


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole capture. info: the first line's other keys."""

    records: tuple[Record, ...]
    info: Mapping[str, Any] = field(default_factory=dict)

    def connections(self) -> list[Connection]:
        """In the order in which they began."""
        found: dict[int, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.conn, []).append(record)
        return [Connection(conn, tuple(records)) for conn, records in found.items()]


class CaptureError(InputError):
    """A capture that cannot be read to its end. line and byte say where; `readable` is what came before."""

    def __init__(self, reason: str, line: int, byte: int, readable: Capture) -> None:
        super().__init__(f"broken capture: line {line}, byte {byte:,}: {reason}", line=line, byte=byte)
        self.line = line
        self.byte = byte
        self.readable = readable


def header_line(info: Mapping[str, Any]) -> str:
    """The first line of a capture."""
    return json.dumps({"pxwcap": VERSION, **info}) + "\n"


def record_line(record: Record) -> str:
    """The line of a record."""
    line: dict[str, Any] = {"t_ns": record.t_ns, "conn": record.conn}
    if isinstance(record, Chunk):
        line |= {"from": record.side, "data": base64.b64encode(record.data).decode()}
    else:
        line["event"] = record.event
        line |= {key: value for key, value in (("from", record.side), ("detail", record.detail)) if value is not None}
    return json.dumps(line) + "\n"


def dump(capture: Capture) -> str:
    """The whole file."""
    return header_line(capture.info) + "".join(map(record_line, capture.records))


def is_capture(data: bytes) -> bool:
    """Whether it begins like one, broken or not."""
    return data.lstrip()[:1] == b"{" and b'"pxwcap"' in data[:200]


def parse(data: bytes) -> Capture:
    """Reads a capture. Raises CaptureError, and nothing else, for what is none."""
    if not data.strip():
        raise CaptureError("the file is empty", 1, 0, Capture(()))
    info: dict[str, Any] | None = None
    records: list[Record] = []
    for number, position, line in _lines(data):
        try:
            values = _object(line)
            if info is None:
                info = _header(values)
            else:
                records.append(_record(values))
        except _BadLineError as error:
            raise CaptureError(error.reason, number, position + error.column, _capture(records, info)) from None
    return _capture(records, info)


def merge(chunks: Iterable[tuple[Side, bytes]], conn: int = 1) -> Capture:
    """A capture of one connection from what each side said, in order, without times."""
    return Capture(tuple(Chunk(0, conn, side, data) for side, data in chunks))


def _capture(records: list[Record], info: dict[str, Any] | None) -> Capture:
    return Capture(tuple(records), {key: value for key, value in (info or {}).items() if key != "pxwcap"})


class _BadLineError(Exception):
    def __init__(self, reason: str, column: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


def _lines(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, position, line
        position += len(line) + 1


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise _BadLineError(f"not JSON: {error.msg}", error.pos) from None
    except UnicodeDecodeError as error:
        raise _BadLineError("not UTF-8", error.start) from None
    except RecursionError:
        raise _BadLineError("nested too deep") from None
    except ValueError:  # Python reads integers of some thousand digits only
        raise _BadLineError("not JSON: a number with too many digits") from None
    if not isinstance(values, dict):
        raise _BadLineError(f"a line is a JSON object, not {json.dumps(values):.40}")
    return values


def _header(values: dict[str, Any]) -> dict[str, Any]:
    version = values.get("pxwcap")
    if version is None:
        raise _BadLineError('the first line must say {"pxwcap": 1}')
    if type(version) is not int or version != VERSION:
        raise _BadLineError(f"version {version!r:.20} of the format is not known here, only {VERSION}")
    return values


def _record(values: dict[str, Any]) -> Record:
    t_ns = _number(values, "t_ns")
    conn = _number(values, "conn")
    side = values.get("from")
    if side not in ("C", "S", None):
        raise _BadLineError(f'"from" must be "C" or "S", not {side!r:.40}')
    if "data" not in values:
        event, detail = values.get("event"), values.get("detail")
        if not isinstance(event, str):
            raise _BadLineError('a line has "data" (base64, and "from"), or an "event"')
        return Mark(t_ns, conn, event, side, detail if isinstance(detail, str) else None)
    if side is None:
        raise _BadLineError('"from" is missing beside "data"')
    try:
        data = base64.b64decode(values["data"], validate=True)
    except (ValueError, TypeError) as error:
        raise _BadLineError(f'"data" is not base64: {error}') from None
    return Chunk(t_ns, conn, side, data)


def _number(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if type(value) is not int or value < 0:
        raise _BadLineError(f'"{name}" must be an integer of 0 or more, not {value!r:.40}')
    return value
