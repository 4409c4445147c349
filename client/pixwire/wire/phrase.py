"""The language of the repl, such as `status job=j-1` or `submit job=j kind=txt2img tail.prompt="a star"`. Pure.

A line is a message and words: `field=value` for its head, `tail.name=value` for a map in the tail, `tail=...` for
bytes, and `stream=`, `end=`, `flags=` for the header. Values are JSON where they can be, else text; types are the
registry's.
"""

import json
import shlex
from collections.abc import Iterable
from typing import Any, Final

from pixwire_protocol.heads import MESSAGES, MessageSpec
from pixwire_protocol.messages import CODECS
from pixwire_protocol.params import PARAMS

from .build import Streams, frame_from, frame_of, hex_bytes
from .errors import InputError

HEADER_WORDS: Final = ("stream", "end", "flags")
COMMANDS: Final = {
    "help": "help [NAME]       what can be said; what a message, error or limit is",
    "hex": "hex C1 00 ..      send bytes as they are",
    "json": 'json {...}        send a frame as `pixwire wire send` takes it: {"type": ..}',
    "wait": "wait              until every stream has ended and every PING was answered",
    "quit": "quit              (or Ctrl-D)",
}


def parse_line(line: str, streams: Streams) -> bytes:
    """The bytes of one line. Raises InputError that says what is wrong with it."""
    word, _, rest = line.strip().partition(" ")
    match word.lower():
        case "hex":
            return hex_bytes(rest)
        case "json":
            return frame_of(rest, streams)
    spec = MESSAGES.get(word.upper().replace("-", "_"))
    if spec is None:
        raise InputError(f"{word!r} is neither a message nor a command", "help lists both")
    return frame_from(_order(spec, _words(rest)), streams)


def _words(text: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{error}: a quote is not closed?") from None
    pairs = []
    for word in words:
        name, sep, value = word.partition("=")
        if not sep:
            raise InputError(f"{word!r} is no field=value", "put values with blanks into quotes")
        pairs.append((name, value))
    return pairs


def _order(spec: MessageSpec, words: Iterable[tuple[str, str]]) -> dict[str, Any]:
    order: dict[str, Any] = {"type": spec.name}
    head: dict[str, Any] = {}
    tail: dict[str, Any] = {}
    for name, text in words:
        if name in HEADER_WORDS:
            order[name] = _json(text)
        elif name == "tail":
            order["tail"] = text
        elif name.startswith("tail."):
            tail[name.removeprefix("tail.")] = _json(text)
        else:
            head[name] = _value(spec, name, text)
    if tail:
        order["tail"] = tail
    elif spec.tail == "eight" and "tail" not in order:
        order["tail"] = "hex:0000000000000000"
    if spec.head == "map":
        order["head"] = head
    elif head:
        raise InputError(f"{spec.name} has no head, so no field {next(iter(head))!r}")
    return order


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _value(spec: MessageSpec, name: str, text: str) -> Any:
    """A value of the field's type; keys that the registry does not know are taken as they come."""
    field = CODECS[spec.name].fields.get(name)
    if field is None:
        return _json(text)
    value: Any = text if field.kind is str else _json(text)
    if field.kind is list and isinstance(value, str):
        value = [word for word in value.split(",") if word]
    if type(value) is not field.kind or not field.check(value):
        raise InputError(f"{spec.name}: {name} must be {field.allowed}, not {text!r:.60}", "json {...} sends it anyway")
    return value


def candidates(line: str) -> list[str]:
    """What may stand at the end of the line: messages and commands, then fields, then values of a few types."""
    words = line.split(" ")
    last = words[-1]
    if len(words) == 1:
        return [name for name in (*(m.lower() for m in MESSAGES), *COMMANDS) if name.startswith(last.lower())]
    if words[0].lower() == "help":
        return [name for name in MESSAGES if name.startswith(last.upper())]
    spec = MESSAGES.get(words[0].upper())
    if spec is None:
        return []
    name, sep, value = last.partition("=")
    if sep:
        return [f"{name}={choice}" for choice in _choices(spec, name) if choice.startswith(value)]
    given = {word.partition("=")[0] for word in words[1:-1]}
    names = [item.name for item in spec.fields] + list(HEADER_WORDS)
    names += [f"tail.{param}" for param in PARAMS] if spec.tail == "params" else []
    names += ["tail"] if spec.tail not in ("none", "params") else []
    return [f"{name}=" for name in names if name.startswith(last) and name not in given]


def _choices(spec: MessageSpec, name: str) -> list[str]:
    if name == "end":
        return ["true", "false"]
    item = next((item for item in spec.fields if item.name == name), None)
    if item is None:
        return []
    if item.type == "bool":
        return ["true", "false"]
    return list(getattr(item, "choices", None) or ())
