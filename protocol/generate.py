"""Turns registry.toml into the modules registry.py, heads.py and texts.py of pixwire_protocol.

    python protocol/generate.py            exits 1 when a module differs from the registry
    python protocol/generate.py --write    writes the modules

The package itself never reads TOML: importing it must be cheap and must not depend on a data file.
"""

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "registry.toml"
PACKAGE = HERE / "pixwire_protocol"

Table = Mapping[str, Any]

REGISTRY = '''\
"""Generated from registry.toml by generate.py (change those, never this file): the numbers of the wire (SPEC 16)."""
# ruff: noqa: E501

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One error code (SPEC 10): its class and what a sender says about retrying unless it knows better."""

    name: str
    error_class: str
    retry: str
    processed: str
    description: str


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One limit (SPEC 11): default, the range in which it may be declared or set, who declares and who enforces it."""

    name: str
    default: int
    minimum: int
    maximum: int
    unit: str
    declared: str
    enforced: str
    description: str


{constants}


class FrameType(IntEnum):
    """Type byte of a frame (SPEC 8, 16). WELCOME, AUTH_OK and PONG are HELLO, AUTH and PING with ACK."""

{frame_types}


class Flag(IntEnum):
    """Bits of the flags byte (SPEC 4). ACK and END are the same bit, on different frame types."""

{flags}


class ErrorCode(IntEnum):
    """Codes of ERROR, RESET and GOAWAY (SPEC 10, 16)."""

{error_codes}


# fmt: off
ERRORS: Final[Mapping[int, ErrorSpec]] = {{
{errors}
}}

# What an unknown code means: the class of its range.
ERROR_CLASSES: Final[tuple[tuple[int, int, str], ...]] = (
{error_classes}
)

LIMITS: Final[Mapping[str, LimitSpec]] = {{
{limits}
}}

FEATURES: Final[tuple[str, ...]] = {features}
MECHANISMS: Final[tuple[str, ...]] = {mechanisms}
# fmt: on
'''

HEADS = '''\
"""Generated from registry.toml by generate.py (change those, never this file): the shape of every message (SPEC 8)."""
# ruff: noqa: E501

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a head (SPEC 8). minimum and maximum: value of an int, bytes of a str, entries of a list.

    pattern, choices: the form, the only values; of a list: of its entries. distinct: no entry of a list twice.
    secret: never to be shown.
    """

    name: str
    type: str
    required: bool = False
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    item_minimum: int | None = None
    item_maximum: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    distinct: bool = False
    secret: bool = False


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One message (SPEC 8): who may send it, where, and what it consists of (words: see registry.toml)."""

    name: str
    type: int
    ack: bool
    sender: str
    stream: str
    end: str
    head: str
    tail: str
    fault: str
    body: bool
    fields: tuple[FieldSpec, ...]


# fmt: off
MESSAGES: Final[Mapping[str, MessageSpec]] = {{
{messages}
}}

# Fields of the maps inside list fields: a field of type list[attachment] has maps of ITEMS["attachment"].
ITEMS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {{
{items}
}}

# Names of the fields in the maps of RESULT and EVENT.
BODIES: Final[Mapping[str, tuple[str, ...]]] = {{
{bodies}
}}
# fmt: on
'''

TEXTS = '''\
"""Generated from registry.toml by generate.py (change those, never this file): what everything is for, in words.

For programs that explain the protocol; nothing of this package imports it.
"""
# ruff: noqa: E501

from collections.abc import Mapping
from typing import Final

# fmt: off
MESSAGE_TEXTS: Final[Mapping[str, str]] = {{
{messages}
}}

# (message, field) -> text.
FIELD_TEXTS: Final[Mapping[tuple[str, str], str]] = {{
{fields}
}}

# Maps inside RESULT, EVENT and list fields.
BODY_TEXTS: Final[Mapping[str, str]] = {{
{bodies}
}}

# (map, field) -> (type, when it is there, text).
BODY_FIELD_TEXTS: Final[Mapping[tuple[str, str], tuple[str, str, str]]] = {{
{body_fields}
}}

FEATURE_TEXTS: Final[Mapping[str, str]] = {{
{features}
}}

MECHANISM_TEXTS: Final[Mapping[str, str]] = {{
{mechanisms}
}}
# fmt: on
'''

FIELD_KEYS = (
    ("min", "minimum"),
    ("max", "maximum"),
    ("item_min", "item_minimum"),
    ("item_max", "item_maximum"),
    ("pattern", "pattern"),
    ("choices", "choices"),
    ("distinct", "distinct"),
    ("secret", "secret"),
)
MESSAGE_KEYS = ("sender", "stream", "end", "head", "tail", "fault")
LIMIT_KEYS = ("name", "default", "minimum", "maximum", "unit", "declared", "enforced")


def hexadecimal(value: int, digits: int) -> str:
    return f"0x{value:0{digits}X}"


def literal(value: Any) -> str:
    """A Python literal as the formatter would write it."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def literals(values: Iterable[Any]) -> str:
    return ", ".join(map(literal, values))


def constants(protocol: Table) -> str:
    rows = (
        ("MAJOR", "int", repr(protocol["major"])),
        ("MAGIC", "bytes", f"bytes.fromhex({literal(protocol['magic'])})"),
        ("PREFACE", "bytes", f"bytes.fromhex({literal(protocol['preface'])})"),
        ("MARKER", "int", hexadecimal(protocol["marker"], 2)),
        ("HEADER_FORMAT", "str", literal(protocol["header"])),
        ("HEADER_SIZE", "int", repr(protocol["header_size"])),
        ("PORT", "int", repr(protocol["port"])),
        ("ALPN", "str", literal(protocol["alpn"])),
        ("SCHEMES", "tuple[str, ...]", literal(protocol["schemes"])),
        ("JOB_ID", "str", literal(protocol["job_id"])),
        ("HEAD_KEY", "str", literal(protocol["head_key"])),
        ("ATTACHMENT_NAME", "str", literal(protocol["attachment_name"])),
        ("SHA256", "str", literal(protocol["sha256"])),
        ("TRACEPARENT", "str", literal(protocol["traceparent"])),
        ("MAX_STREAM", "int", hexadecimal(protocol["max_stream"], 8)),
        ("MAX_CREDIT", "int", hexadecimal(protocol["max_credit"], 8)),
    )
    return "\n".join(f"{name}: Final[{kind}] = {value}" for name, kind, value in rows)


def error_class(classes: Iterable[Table], code: int) -> str:
    for entry in classes:
        if entry["first"] <= code <= entry["last"]:
            return str(entry["name"])
    raise ValueError(
        f"error code {code:#06x} lies in no class of protocol.error_classes; add the class or move the code"
    )


def error(entry: Table, classes: Iterable[Table]) -> str:
    values = (entry["name"], error_class(classes, entry["code"]), entry["retry"], entry["processed"])
    return f"    ErrorCode.{entry['name']}: ErrorSpec({literals(values)},\n        {literal(entry['description'])}),"


def limit(entry: Table) -> str:
    values = literals(entry[key] for key in LIMIT_KEYS)
    return f"    {literal(entry['name'])}: LimitSpec({values},\n        {literal(entry['description'])}),"


def field(entry: Table) -> str:
    """One FieldSpec."""
    parts = [literal(entry["name"]), literal(entry["type"])]
    if entry.get("required"):
        parts.append("required=True")
    if "default" in entry and entry["type"] != "limits":
        parts.append(f"default={literal(entry['default'])}")
    parts += [f"{target}={literal(entry[source])}" for source, target in FIELD_KEYS if source in entry]
    return f"        FieldSpec({', '.join(parts)}),"


def message(entry: Table) -> str:
    values = f"{literal(entry['name'])}, {hexadecimal(entry['type'], 2)}, {entry['ack']!r}"
    words = f"{literals(entry[key] for key in MESSAGE_KEYS)}, {entry.get('body', False)!r}"
    fields = "\n".join(map(field, entry["fields"]))
    opening = f"    {literal(entry['name'])}: MessageSpec({values}, {words}, ("
    return f"{opening}\n{fields}\n    )),".replace("(\n\n    )", "()")


def item(entry: Table) -> str:
    """The fields of one map inside a list."""
    fields = "\n".join(map(field, entry["fields"]))
    return f"    {literal(entry['name'])}: (\n{fields}\n    ),"


def text(*key_and_values: Any) -> str:
    """A line `key: values,`; a key or a value of several parts is a list."""
    key, *values = key_and_values
    return f"    {literal(key)}: {literal(values[0] if len(values) == 1 else values)},"


def body(entry: Table) -> str:
    """One body's field names, a few per line."""
    names = [literal(row["name"]) for row in entry["fields"]]
    rows = [", ".join(names[start : start + 8]) for start in range(0, len(names), 8)]
    lines = "".join(f"        {row},\n" for row in rows)
    return f"    {literal(entry['name'])}: (\n{lines}    ),"


def render(registry: Table) -> dict[str, str]:
    """The generated modules for this registry: file name -> text."""
    classes = registry["protocol"]["error_classes"]
    rows = [
        f"    ({hexadecimal(row['first'], 4)}, {hexadecimal(row['last'], 4)}, {literal(row['name'])}),"
        for row in classes
    ]
    requests = [entry for entry in registry["message"] if not entry["ack"]]
    return {
        "registry.py": REGISTRY.format(
            constants=constants(registry["protocol"]),
            frame_types="\n".join(f"    {entry['name']} = {hexadecimal(entry['type'], 2)}" for entry in requests),
            flags="\n".join(f"    {entry['name']} = {hexadecimal(1 << entry['bit'], 2)}" for entry in registry["flag"]),
            error_codes="\n".join(f"    {row['name']} = {hexadecimal(row['code'], 4)}" for row in registry["error"]),
            errors="\n".join(error(entry, classes) for entry in registry["error"]),
            error_classes="\n".join(rows),
            limits="\n".join(limit(entry) for entry in registry["limit"]),
            features=literal([row["name"] for row in registry["feature"] if not row["name"].endswith("*")]),
            mechanisms=literal([row["name"] for row in registry["mechanism"]]),
        ),
        "heads.py": HEADS.format(
            messages="\n".join(message(entry) for entry in registry["message"]),
            items="\n".join(item(entry) for entry in registry["item"]),
            bodies="\n".join(body(entry) for entry in registry["body"]),
        ),
        "texts.py": texts(registry),
    }


def texts(registry: Table) -> str:
    """The module of descriptions."""
    maps = [*registry["item"], *registry["body"]]
    described = {
        name: "\n".join(text(row["name"], row["description"]) for row in rows)
        for name, rows in (
            ("messages", registry["message"]),
            ("bodies", maps),
            ("features", registry["feature"]),
            ("mechanisms", registry["mechanism"]),
        )
    }
    fields = [
        text([entry["name"], row["name"]], row["description"])
        for entry in registry["message"]
        for row in entry["fields"]
    ]
    body_fields = [
        text([entry["name"], row["name"]], row["type"], row.get("present", "always"), row["description"])
        for entry in maps
        for row in entry["fields"]
    ]
    return TEXTS.format(fields="\n".join(fields), body_fields="\n".join(body_fields), **described)


def current(name: str) -> str:
    """The module as it is now; empty when there is none."""
    path = PACKAGE / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: list[str]) -> int:
    """Compares the modules with the registry, or with --write writes them; returns the exit status."""
    modules = render(tomllib.loads(SOURCE.read_text(encoding="utf-8")))
    if "--write" in arguments:
        for name, source in modules.items():
            (PACKAGE / name).write_text(source, encoding="utf-8")
        return 0
    stale = [name for name, source in modules.items() if current(name) != source]
    for name in stale:
        print(f"{name} does not match {SOURCE.name}: run python protocol/generate.py --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
