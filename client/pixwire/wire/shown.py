"""Annotated frames as JSON (the documented schema, docs/wire.md) and as lines of text. Pure.

Secrets (the token of AUTH) are left out unless asked for; control characters of the peer never reach a terminal.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.errors import error_name

from ..cli.exits import printable
from .annotate import Broken, Incomplete, Item, Preface, SeenFrame, Side, Unread
from .media import guess

FIRST: Final = 16  # bytes of a tail that are shown
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {"AUTH": ("token",), "AUTH_OK": ("token",)}
"""Keys of heads that are not shown, per message. AUTH_OK has none, unless it is an AUTH with ACK set by mistake."""
ARROWS: Final[Mapping[Side | None, str]] = {"C": "C >", "S": "S <", None: "   "}
_WIDTH: Final = 9  # digits of an offset


def jsonable(value: Any) -> Any:
    """A msgpack value as JSON: bin becomes {"$hex": ...}, a float that JSON lacks its name."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$hex": bytes(value).hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def hidden(name: str, head: dict[str, Any] | None, *, show_secrets: bool) -> dict[str, Any] | None:
    """The head without its secrets; their length is all that is told."""
    if head is None or show_secrets or name not in SECRETS:
        return head
    secret = SECRETS[name]
    return {key: _hide(value) if key in secret else value for key, value in head.items()}


def _hide(value: Any) -> str:
    size = f", {len(value)} characters" if isinstance(value, str) else ""
    return f"(hidden{size})"


def to_map(item: Item, side: Side | None = None, *, show_secrets: bool = False) -> dict[str, Any]:
    """An item as a JSON object; `item` names what it is."""
    from_side = {} if side is None else {"from": side}
    match item:
        case Preface():
            low, high = item.versions
            return {
                "item": "preface",
                **from_side,
                "offset": item.offset,
                "min": low,
                "max": high,
                "problems": _problems(item),
            }
        case SeenFrame():
            return {"item": "frame", **from_side, **_frame_map(item, show_secrets)}
        case Broken():
            return {
                "item": "broken",
                **from_side,
                "offset": item.offset,
                "at": item.at,
                "reason": item.reason,
                "bytes": len(item.data),
                "first": item.data[:FIRST].hex(),
                "resume": item.resume,
            }
        case Unread():
            return {"item": "unread", **from_side, "offset": item.offset, "bytes": len(item.data)}
        case Incomplete():
            return {
                "item": "incomplete",
                **from_side,
                "offset": item.offset,
                "bytes": len(item.data),
                "missing": item.missing,
                "reason": item.reason,
                "first": item.data[:FIRST].hex(),
            }


def _frame_map(frame: SeenFrame, show_secrets: bool) -> dict[str, Any]:
    tail = frame.tail
    shown: dict[str, Any] = {
        "offset": frame.offset,
        "n": frame.number,
        "name": frame.name,
        "type": frame.type,
        "flags": frame.flags,
        "flag_names": list(frame.flag_names),
        "stream": frame.stream,
        "length": frame.length,
        "head_len": frame.head_len,
        "head": jsonable(hidden(frame.name, frame.head, show_secrets=show_secrets)),
        "tail_len": len(tail),
        "problems": _problems(frame),
    }
    if tail:
        shown["tail_first"] = tail[:FIRST].hex()
        shown["tail_guess"] = guess(tail)
    if frame.tail_map is not None:
        shown["tail_map"] = jsonable(frame.tail_map)
    return shown


def _problems(item: Preface | SeenFrame) -> list[dict[str, Any]]:
    return [{"offset": found.offset, "part": found.part, "text": found.text} for found in item.problems]


# ---------------------------------------------------------------------- text


def lines(item: Item, side: Side | None = None, *, show_secrets: bool = False) -> list[str]:
    """An item as lines: the first says what it is, those that follow are indented."""
    start = f"{item.offset:>{_WIDTH},} {ARROWS[side]} "
    indent = " " * len(start)
    match item:
        case Preface():
            low, high = item.versions
            versions = f"version {low}" if low == high else f"versions {low} to {high}"
            return [f"{start}PREFACE {versions}", *_problem_lines(item, indent)]
        case SeenFrame():
            details = [indent + line for line in _details(item, show_secrets)]
            return [start + frame_title(item), *details, *_problem_lines(item, indent)]
        case Broken():
            found = [f"{start}BROKEN at byte {item.at:,}: {printable(item.reason)}"]
            found.append(f"{indent}{len(item.data):,} bytes from here: {hexes(item.data)}")
            if item.resume is not None:
                found.append(f"{indent}something like a frame header begins again at byte {item.resume:,}")
            return found
        case Unread():
            return [f"{start}unread: {len(item.data):,} bytes behind the break"]
        case Incomplete():
            return [f"{start}INCOMPLETE: {item.reason}", f"{indent}{len(item.data):,} bytes: {hexes(item.data)}"]


def frame_title(frame: SeenFrame) -> str:
    """The header on one line: `SUBMIT stream=1 END  head 62 tail 34`."""
    parts = [frame.name]
    if frame.stream or frame.spec is None or frame.spec.stream != "zero":
        parts.append(f"stream={frame.stream}")
    parts += [name for name in frame.flag_names if name != "ACK"]
    parts += ["(skipped by receivers)"] if frame.skipped else []
    sizes = [f"{word} {size:,}" for word, size in (("head", frame.head_len), ("tail", len(frame.tail))) if size]
    return " ".join(parts) + (f"  ({', '.join(sizes)} bytes)" if sizes else "")


def _details(frame: SeenFrame, show_secrets: bool) -> list[str]:
    found = []
    if frame.head is not None:
        head = hidden(frame.name, frame.head, show_secrets=show_secrets)
        found.append(f"head {one_line(head)}{_code_name(frame)}")
    elif frame.head_len:
        found.append(f"head {hexes(frame.head_bytes)}")
    if frame.tail_map is not None:
        found.append(f"tail {one_line(frame.tail_map)}")
    elif frame.tail:
        kind = guess(frame.tail)
        found.append(f"tail {hexes(frame.tail)}{f' ({kind})' if kind else ''}")
    return found


def _code_name(frame: SeenFrame) -> str:
    """Codes without their name get it."""
    code = (frame.head or {}).get("code")
    if not isinstance(code, int) or isinstance(code, bool) or (frame.head or {}).get("name"):
        return ""
    return f"  [{error_name(code)}]"


def _problem_lines(item: Preface | SeenFrame, indent: str) -> list[str]:
    return [f"{indent}! byte {found.offset:,}, {found.part}: {printable(found.text)}" for found in item.problems]


def one_line(value: Any) -> str:
    """JSON on one line, safe for a terminal."""
    return printable(json.dumps(jsonable(value), ensure_ascii=False))


def hexes(data: bytes, first: int = FIRST) -> str:
    """The first bytes in hex."""
    return data[:first].hex(" ") + (" ..." if len(data) > first else "")
