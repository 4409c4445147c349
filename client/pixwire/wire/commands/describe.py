"""`describe`: the registry, a page at a time."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from pixwire_protocol.errors import error_class
from pixwire_protocol.heads import MESSAGES, FieldSpec, MessageSpec
from pixwire_protocol.messages import CODECS
from pixwire_protocol.registry import ERRORS, FEATURES, LIMITS, ErrorCode
from pixwire_protocol.texts import FEATURE_TEXTS, FIELD_TEXTS, MESSAGE_TEXTS

from ..conform.requirements import requirements
from ..errors import InputError
from ..screen import Screen
from .pages import other_lines, other_names, other_page

_SENDERS: Final[Mapping[str, str]] = {"client": "C -> S", "server": "S -> C", "both": "both directions"}
_STREAMS: Final[Mapping[str, str]] = {
    "zero": "stream 0",
    "new": "opens a stream",
    "open": "on an open stream",
    "any": "on stream 0 or an open stream",
}
_ENDS: Final[Mapping[str, str]] = {
    "never": "no END",
    "required": "always END",
    "optional": "END on the last frame",
    "stream": "END, except on stream 0",
    "request": "END, unless attachments follow",
}
_TAILS: Final[Mapping[str, str]] = {
    "none": "no tail",
    "eight": "a tail of 8 bytes",
    "params": "a tail of one msgpack map",
    "data": "a tail of bytes, under credit",
    "image": "a tail of image bytes",
}


def describe(what: str | None, screen: Screen) -> int:
    """Prints the page of a name or number; without one the list of all. Messages, errors, limits, features and
    requirements first, then actions of ADMIN, parameters, maps and fields."""
    if what is None:
        screen.result(_index(), _index_text())
        return 0
    page = find(what)
    screen.result(page, page_text(page))
    return 0


def find(what: str) -> dict[str, Any]:
    """The page of a name or a number, as JSON. Raises InputError."""
    name = what.strip().upper()
    for spec in MESSAGES.values():
        if name in (spec.name, f"0X{spec.type:02X}" + ("+ACK" if spec.ack else "")):
            return message_page(spec)
    for code in ErrorCode:
        if name in (code.name, f"0X{code:04X}", str(int(code))):
            return _error_page(code)
    if name.lower() in LIMITS:
        return _limit_page(name.lower())
    if name.lower() in FEATURES:
        return {"kind": "feature", "name": name.lower(), "text": FEATURE_TEXTS.get(name.lower(), "")}
    wanted = name if name.startswith("PXW-") else f"PXW-{name}"
    if wanted in requirements():
        found = requirements()[wanted]
        return {"kind": "requirement", "name": found.id, "section": found.section, "text": found.text}
    if (page := other_page(name.lower())) is not None:
        return page
    known = [*MESSAGES, *ErrorCode.__members__, *(limit.upper() for limit in (*LIMITS, *other_names()))]
    close = get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "`pixwire wire describe` lists everything"
    raise InputError(f"nothing in the protocol is called {what!r}", hint)


def message_page(spec: MessageSpec) -> dict[str, Any]:
    """The page of a message."""
    return {
        "kind": "message",
        "name": spec.name,
        "type": spec.type,
        "ack": spec.ack,
        "sender": spec.sender,
        "stream": spec.stream,
        "end": spec.end,
        "head": spec.head,
        "tail": spec.tail,
        "fault": spec.fault,
        "text": MESSAGE_TEXTS.get(spec.name, ""),
        "fields": [_field(spec, item) for item in spec.fields],
    }


def _field(spec: MessageSpec, item: FieldSpec) -> dict[str, Any]:
    default = list(item.default) if isinstance(item.default, tuple) else item.default
    return {
        "name": item.name,
        "type": item.type,
        "required": item.required,
        "default": default,
        "allowed": CODECS[spec.name].fields[item.name].allowed,
        "text": FIELD_TEXTS.get((spec.name, item.name), ""),
    }


def _error_page(code: ErrorCode) -> dict[str, Any]:
    spec = ERRORS[code]
    return {
        "kind": "error",
        "name": code.name,
        "code": int(code),
        "class": error_class(code),
        "retry": spec.retry,
        "processed": spec.processed,
        "text": spec.description,
    }


def _limit_page(name: str) -> dict[str, Any]:
    spec = LIMITS[name]
    return {
        "kind": "limit",
        "name": name,
        "default": spec.default,
        "minimum": spec.minimum,
        "maximum": spec.maximum,
        "unit": spec.unit,
        "declared": spec.declared,
        "enforced": spec.enforced,
        "text": spec.description,
    }


def page_text(page: Mapping[str, Any]) -> str:
    """A page as lines."""
    match page["kind"]:
        case "message":
            return "\n".join(_message_lines(page))
        case "error":
            first = f"{page['name']}  0x{page['code']:04X} ({page['code']}), class {page['class']}"
            return f"{first}\n  {page['text']}\n  retry {page['retry']}, processed {page['processed']}"
        case "limit":
            bounds = f"default {page['default']:,}, {page['minimum']:,} to {page['maximum']:,} {page['unit']}"
            declared = {"both": "in HELLO and WELCOME", "welcome": "in WELCOME", "no": "nowhere"}[page["declared"]]
            return f"{page['name']}  {bounds}\n  {page['text']}\n  declared {declared}, enforced by {page['enforced']}"
        case "action" | "parameter" | "map" | "field" | "several":
            return "\n".join(other_lines(page))
        case "requirement":
            return f"{page['name']}  (SPEC {page['section']})\n  {page['text']}"
    return f"{page['name']}  feature\n  {page['text']}"


def _message_lines(page: Mapping[str, Any]) -> list[str]:
    ack = " with ACK" if page["ack"] else ""
    head = "a head" if page["head"] == "map" else "no head"
    shape = f"{_STREAMS[page['stream']]}, {_ENDS[page['end']]}, {head}, {_TAILS.get(page['tail'], page['tail'])}"
    fault = "BAD_HEAD, the connection ends" if page["fault"] == "connection" else "INVALID_ARGUMENT, the stream ends"
    out = [f"{page['name']}  0x{page['type']:02X}{ack}, {_SENDERS[page['sender']]}", f"  {page['text']}", f"  {shape}"]
    if not page["fields"]:
        return out
    out.append(f"  a wrong field: {fault}")
    wide = max(len(field["name"]) for field in page["fields"])
    for field in page["fields"]:
        default = (
            "required" if field["required"] else "" if field["default"] is None else f"default {field['default']!r}"
        )
        rest = "; ".join(filter(None, (default, field["allowed"])))
        out += [f"    {field['name']:<{wide}}  {field['type']}; {rest}", f"    {'':<{wide}}    {field['text']}"]
    return out


def _index() -> dict[str, Any]:
    return {
        "messages": list(MESSAGES),
        "errors": list(ErrorCode.__members__),
        "limits": list(LIMITS),
        "features": list(FEATURES),
        "others": other_names(),
    }


def _index_text() -> str:
    rows = [f"{name:<10} {' '.join(values)}" for name, values in _index().items()]
    return "\n".join([*rows, "describe NAME shows one; describe PXW-FLW-003 shows a requirement"])
