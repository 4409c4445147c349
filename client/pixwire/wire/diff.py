"""Two captures compared (`diff`, `replay`): stream by stream, frame by frame. Pure.

What may differ without meaning is left out, and all of it is declared here: frames that depend on timing alone, how
DATA is cut into frames, and fields whose values are the server's own (VOLATILE).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from pixwire_protocol.registry import HEADER_SIZE

from .annotate import Broken, Incomplete, Preface, SeenFrame, Side, Unread, annotate
from .capture import Capture, Connection
from .shown import hidden, jsonable

VOLATILE: Final[Mapping[str, tuple[str, ...]]] = {
    "*": ("message", "retry_after_ms", "reconnect_after_ms", "grace_ms", "expires_ms"),
    "HELLO": ("agent",),
    "WELCOME": ("server_id", "epoch", "agent"),
    "RESULT": ("seq", "etag", "timings", "engine", "queue_position", "retain_ms", "age_ms", "seed", "next"),
    "EVENT": ("seq", "etag", "timings", "engine", "queue_position", "retain_ms", "seed"),
}
"""Fields that are not compared, per message ("*": all), at any depth of the head."""
TIMING: Final = frozenset(["PING", "PONG", "CREDIT", "PREVIEW"])
"""Messages that come or not, and how often, by timing alone; EVENT "progress" and skipped types too."""


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """ignore, keep: field names to add to, or to take out of, the volatile ones. timing: compare everything."""

    ignore: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()
    timing: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. a, b: what the first and the second capture have there (None: nothing)."""

    conn: int
    side: Side
    stream: int
    index: int
    what: str
    a: Any
    b: Any

    def to_map(self) -> dict[str, Any]:
        """For --json."""
        return {
            "conn": self.conn,
            "from": self.side,
            "stream": self.stream,
            "index": self.index,
            "what": self.what,
            "a": self.a,
            "b": self.b,
        }


_Shape = tuple[str, bool]


@dataclass(slots=True)
class _Part:
    """What is compared as one: a frame, or all DATA between two other frames."""

    name: str
    end: bool
    values: dict[str, Any]

    @property
    def shape(self) -> _Shape:
        return self.name, self.end


def diff(
    a: Capture, b: Capture, options: DiffOptions | None = None, sides: Iterable[Side] = ("C", "S")
) -> list[Difference]:
    """All differences. Connections are paired in the order in which they began."""
    chosen = options or DiffOptions()
    firsts, seconds = a.connections(), b.connections()
    found: list[Difference] = []
    for number in range(max(len(firsts), len(seconds))):
        one = firsts[number] if number < len(firsts) else None
        two = seconds[number] if number < len(seconds) else None
        if one is None or two is None:
            present = "a" if two is None else "b"
            found.append(Difference(number + 1, "C", 0, 0, f"this connection is only in {present}", None, None))
            continue
        for side in sides:
            found += _diff_side(one, two, number + 1, side, chosen)
    return found


def _diff_side(one: Connection, two: Connection, conn: int, side: Side, options: DiffOptions) -> Iterator[Difference]:
    left, right = _streams(one.sent(side), side, options), _streams(two.sent(side), side, options)
    for stream in sorted({*left, *right}):
        yield from _diff_stream(left.get(stream, []), right.get(stream, []), conn, side, stream)


def _diff_stream(a: list[_Part], b: list[_Part], conn: int, side: Side, stream: int) -> Iterator[Difference]:
    matcher = SequenceMatcher(None, [part.shape for part in a], [part.shape for part in b], autojunk=False)
    for kind, start_a, end_a, start_b, end_b in matcher.get_opcodes():
        if kind == "equal":
            for index_a, index_b in zip(range(start_a, end_a), range(start_b, end_b), strict=True):
                for what, left, right in _values(a[index_a].values, b[index_b].values, ""):
                    yield Difference(conn, side, stream, index_a, f"{a[index_a].name} {what}", left, right)
            continue
        for index in range(start_a, end_a):
            yield Difference(conn, side, stream, index, f"{a[index].name} is only in a", _brief(a[index]), None)
        for index in range(start_b, end_b):
            yield Difference(conn, side, stream, index, f"{b[index].name} is only in b", None, _brief(b[index]))


def _brief(part: _Part) -> dict[str, Any]:
    return {"end": part.end, **part.values}


def _streams(data: bytes, side: Side, options: DiffOptions) -> dict[int, list[_Part]]:
    """Stream id -> what was said on it, in order."""
    found: dict[int, list[_Part]] = {}
    pending: dict[int, list[bytes]] = {}
    for item in annotate(data, side):
        if isinstance(item, Preface):
            found.setdefault(0, []).append(_Part("PREFACE", False, {"versions": list(item.versions)}))
        elif not isinstance(item, SeenFrame):
            found.setdefault(0, []).append(_Part("unreadable bytes", False, _unreadable(item)))
        elif item.name == "DATA":
            pending.setdefault(item.stream, []).append(item.tail)
            if item.end:
                found.setdefault(item.stream, []).append(_data(pending.pop(item.stream), end=True))
        elif options.timing or not _by_timing(item):
            parts = found.setdefault(item.stream, [])
            if item.stream in pending:
                parts.append(_data(pending.pop(item.stream), end=False))
            parts.append(_Part(item.name, item.end, _compared(item, options)))
    for stream, chunks in pending.items():
        found.setdefault(stream, []).append(_data(chunks, end=False))
    return found


def _unreadable(item: Broken | Unread | Incomplete) -> dict[str, Any]:
    """Where sense was lost, and on what. Of a frame that the capture cut off: its header; where it is cut is timing."""
    if isinstance(item, Incomplete):
        return {"offset": item.offset, "begins": item.data[:HEADER_SIZE].hex()}
    return {"offset": item.offset, "bytes": len(item.data), "sha256": hashlib.sha256(item.data).hexdigest()}


def _by_timing(frame: SeenFrame) -> bool:
    progress = frame.name == "EVENT" and (frame.head or {}).get("event") == "progress"
    return progress or frame.name in TIMING or frame.skipped


def _data(chunks: list[bytes], *, end: bool) -> _Part:
    data = b"".join(chunks)
    return _Part("DATA", end, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})


def _compared(frame: SeenFrame, options: DiffOptions) -> dict[str, Any]:
    skip = ({*VOLATILE["*"], *VOLATILE.get(frame.name, ())} | options.ignore) - options.keep
    head = hidden(frame.name, frame.head, show_secrets=False)
    values: dict[str, Any] = {"flags": frame.flags}
    if head is not None:
        values["head"] = jsonable(_without(head, skip))
    elif frame.head_len:
        values["head"] = frame.head_bytes.hex()
    if frame.tail_map is not None:
        values["tail"] = jsonable(_without(frame.tail_map, options.ignore))
    elif frame.tail:
        values["tail"] = {"bytes": len(frame.tail), "sha256": hashlib.sha256(frame.tail).hexdigest()}
    return values


def _without(value: Any, skip: Iterable[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, skip) for key, item in value.items() if key not in skip}
    return [_without(item, skip) for item in value] if isinstance(value, list) else value


def _values(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The places where two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from _values(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _values(left, right, f"{path}[{index}]")
    elif a != b or type(a) is not type(b):
        yield path, a, b
