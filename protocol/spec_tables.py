"""Writes the tables and diagrams of SPEC.md that repeat registry.toml or the transition tables.

    python protocol/spec_tables.py            exits 1 when SPEC.md differs from the sources
    python protocol/spec_tables.py --write    writes them into SPEC.md

SPEC.md marks each with `<!-- generated:NAME -->` and `<!-- /generated -->`; `tables()` has one entry for every name.
"""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the package beside this file, installed or not

from pixwire_protocol.admin import ACTIONS  # noqa: E402
from pixwire_protocol.params import ADAPTER, ADAPTERS, ATTACHMENTS, KINDS, PARAMS, ParamSpec  # noqa: E402
from spec_levels import ITEM, actions, conformance  # noqa: E402
from spec_markdown import code, grid, power  # noqa: E402
from spec_states import connection_states, job_states, stream_states, upload_states  # noqa: E402

REGISTRY = HERE / "registry.toml"
SPEC = HERE.parent / "SPEC.md"
BLOCK = re.compile(r"<!-- generated:(?P<name>[\w.-]+) -->\n(?P<body>.*?)<!-- /generated -->\n", re.DOTALL)

Table = Mapping[str, Any]

SENDERS = {"client": "C -> S", "server": "S -> C", "both": "both"}
PLACES = {"zero": "0", "new": "new", "open": "open", "any": "any"}
ENDS = {
    "never": "no",
    "required": "always",
    "optional": "on the last frame",
    "stream": "always, except on stream 0",
    "request": "always, unless attachments follow",
}
TAILS = {
    "none": "none",
    "eight": "8 bytes",
    "params": "one msgpack map",
    "image": "image bytes",
    "data": "bytes of an artifact or of attachments, under credit",
    "raw": "raw bytes",
}
FAULTS = {"connection": "connection error BAD_HEAD", "stream": "stream error INVALID_ARGUMENT"}
UNITS = {"str": " bytes", "int": ""}
PATTERNS = {
    "job_id": "1 to 64 of `A-Z a-z 0-9 . _ -`",
    "attachment_name": "`[a-z][a-z0-9_]{0,31}`",
    "sha256": "64 of `0-9 a-f`",
    "traceparent": "55 bytes, form: REQ-030",
    "tag": "1 to 64 bytes, no control characters",
}


def hexadecimal(value: int, digits: int) -> str:
    return f"0x{value:0{digits}X}"


# ------------------------------------------------------------------ frames


def frame_types(registry: Table) -> str:
    rows = []
    for entry in registry["message"]:
        flag = "ACK" if entry["ack"] else ENDS[entry["end"]]
        rows.append(
            [
                hexadecimal(entry["type"], 2),
                f"[{entry['name']}](#{anchor(entry['name'])})",
                SENDERS[entry["sender"]],
                PLACES[entry["stream"]],
                flag,
                "map" if entry["head"] == "map" else "none",
                TAILS[entry["tail"]],
            ]
        )
    return grid(["type", "name", "direction", "stream", "bit 0", "head", "tail"], rows)


def anchor(name: str) -> str:
    """Where section 8 describes the message: the heading's GitHub anchor."""
    sections = [
        "hello", "welcome", "auth-and-auth_ok", "ping-and-pong", "error", "goaway", "reset", "submit", "status",
        "cancel", "watch", "list", "fetch", "data", "credit", "result", "event", "preview", "admin",
    ]  # fmt: skip
    shared = {
        "PING": "ping-and-pong",
        "PONG": "ping-and-pong",
        "AUTH": "auth-and-auth_ok",
        "AUTH_OK": "auth-and-auth_ok",
    }
    wanted = shared.get(name, name.lower())
    return f"8{sections.index(wanted) + 1}-{wanted}"


def flags(registry: Table) -> str:
    rows = [
        [str(entry["bit"]), entry["name"], ", ".join(entry["on"]), entry["description"]] for entry in registry["flag"]
    ]
    return grid(["bit", "name", "on", "meaning"], rows)


def ranges(registry: Table) -> str:
    rows = [
        [f"{hexadecimal(row['first'], 2)} to {hexadecimal(row['last'], 2)}", row["use"], row["unknown"]]
        for row in registry["protocol"]["ranges"]
    ]
    return grid(["types", "use", "what a receiver does with one it does not know"], rows)


def message(entry: Table) -> str:
    """The facts about one message, what it is for, and its fields."""
    facts = [
        ["type", hexadecimal(entry["type"], 2) + (" with ACK" if entry["ack"] else "")],
        ["direction", SENDERS[entry["sender"]]],
        ["stream", PLACES[entry["stream"]]],
        ["END", ENDS[entry["end"]]],
        ["head", "one map" if entry["head"] == "map" else "none"],
        ["tail", TAILS[entry["tail"]]],
    ]
    if entry["fields"]:
        facts.append(["fault", FAULTS[entry["fault"]]])
    elif entry["head"] == "map":
        facts.append(["fault", "of `crit`: connection error BAD_HEAD; of the rest: REQ-037"])
    text = f"{entry['description']}\n\n" + grid(["", ""], facts)
    if entry["fields"]:
        text += "\n" + grid(["field", "type", "", "default", "limit", "meaning"], map(field_row, entry["fields"]))
    return text


def field_row(entry: Table) -> list[str]:
    required = entry.get("required", False)
    return [
        code(entry["name"]),
        entry["type"],
        "required" if required else "",
        "" if required else default(entry),
        bounds(entry),
        entry["description"],
    ]


def default(entry: Table) -> str:
    if "default" not in entry:
        return ""
    value = entry["default"]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'`"{value}"`'
    return code(value)


def bounds(entry: Table) -> str:
    """What a value must fit into: characters, a range, a length, a number of entries, a choice."""
    if "pattern" in entry:
        many = f"up to {entry['max']} entries, each " if entry["type"] == "list[str]" else ""
        return many + PATTERNS[entry["pattern"]] + (", none twice" * entry.get("distinct", False))
    if "choices" in entry:
        return ", ".join(map(code, entry["choices"]))
    kind, low, high = entry["type"], entry.get("min"), entry.get("max")
    if high is None:
        return ""
    text = f"{power(low)} to {power(high)}" if low is not None else f"up to {power(high)}"
    text += UNITS.get(kind, " entries")
    if "item_max" in entry:
        text += f" of {entry['item_max']} bytes"
    return text


def item(entry: Table) -> str:
    """The fields of the maps in a list."""
    return f"{entry['description']}\n\n" + grid(
        ["key", "type", "", "default", "limit", "meaning"], map(field_row, entry["fields"])
    )


def body(entry: Table) -> str:
    rows = []
    for part in entry["fields"]:
        present = part["present"] if part["present"] in ("always", "sometimes") else f"in {part['present']}"
        rows.append([code(part["name"]), part["type"], present, part["description"]])
    return f"{entry['description']}\n\n" + grid(["field", "type", "present", "meaning"], rows)


# ------------------------------------------------------------------ errors, limits, features


def errors(registry: Table) -> str:
    columns = ("name", "retry", "processed", "description")
    rows = [
        [hexadecimal(entry["code"], 4), str(entry["code"]), *(entry[column] for column in columns)]
        for entry in registry["error"]
    ]
    return grid(["code", "decimal", "name", "retry", "processed", "meaning"], rows)


def error_classes(registry: Table) -> str:
    rows = [
        [f"{hexadecimal(row['first'], 4)} to {hexadecimal(row['last'], 4)}", row["name"]]
        for row in registry["protocol"]["error_classes"]
    ]
    return grid(["codes", "class"], rows)


def limits(registry: Table) -> str:
    rows = []
    for entry in registry["limit"]:
        low, high = power(entry["minimum"]), power(entry["maximum"])
        span = "fixed" if low == high else f"{low} to {high}"
        declared = "" if entry["declared"] == "no" else entry["declared"]
        row = [code(entry["name"]), power(entry["default"]), span, entry["unit"], declared, entry["enforced"]]
        rows.append([*row, entry["description"]])
    return grid(["limit", "default", "range", "unit", "declared", "enforced by", "meaning"], rows)


def features(registry: Table) -> str:
    return grid(["feature", "meaning"], ([code(row["name"]), row["description"]] for row in registry["feature"]))


def mechanisms(registry: Table) -> str:
    return grid(["mechanism", "meaning"], ([code(row["name"]), row["description"]] for row in registry["mechanism"]))


def reserved(registry: Table) -> str:
    rows = ([hexadecimal(row["type"], 2), row["name"], row["description"]] for row in registry["reserved"])
    return grid(["type", "name", "meaning"], rows)


# ------------------------------------------------------------------ from the package's own tables


def params() -> str:
    """The parameters of all kinds."""
    return grid(["parameter", "type", "", "allowed", "meaning"], map(param_row, PARAMS.values()))


def adapter() -> str:
    """The keys of one entry of the parameter adapters."""
    return grid(["key of an adapter", "type", "", "allowed", "meaning"], map(param_row, ADAPTER.values()))


def param_row(spec: ParamSpec) -> list[str]:
    if spec.choices:
        allowed = ", ".join(map(code, spec.choices))
    elif spec.type == ADAPTERS:
        allowed = f"up to {number(spec.maximum)}, no name twice"
    else:
        unit = " characters" if spec.type == "str" else ""
        start = "above " if spec.above else ""
        allowed = f"{start}{number(spec.minimum)} to {number(spec.maximum)}{unit}" + (", not blank" * spec.required)
    return [code(spec.name), spec.type, "required" if spec.required else "", allowed, spec.description]


def admin_actions() -> str:
    """What ADMIN can do."""
    rows = []
    for spec in ACTIONS.values():
        named = [", ".join(map(code, names)) for names in (spec.required, spec.optional)]
        rows.append([code(spec.name), spec.description, *named, spec.answer])
    return grid(["action", "does", "needs", "takes", "answer"], rows)


def kinds() -> str:
    """The kinds of job with their attachments, and what the attachments are for."""
    rows = []
    for spec in KINDS.values():
        named = [", ".join(map(code, names)) for names in (spec.required, spec.optional, spec.without)]
        rows.append([code(spec.name), spec.description, *named])
    head = ["kind", "makes", "attachments required", "attachments optional", "parameters it does not take"]
    meanings = ([code(name), text] for name, text in ATTACHMENTS.items())
    return grid(head, rows) + "\n" + grid(["attachment", "meaning"], meanings)


def number(value: float | None) -> str:
    return "" if value is None else power(int(value))


# ------------------------------------------------------------------ all of them


def tables(registry: Table, spec: str) -> dict[str, str]:
    """Every generated block: name -> Markdown. `spec` is the document, whose requirements one table sorts."""
    simple: tuple[Callable[[Table], str], ...] = (
        frame_types, flags, ranges, errors, error_classes, limits, features, mechanisms, reserved,
    )  # fmt: skip
    blocks = {make.__name__.replace("_", "-"): make(registry) for make in simple}
    blocks |= {f"message-{entry['name']}": message(entry) for entry in registry["message"]}
    blocks |= {f"body-{entry['name']}": body(entry) for entry in registry["body"]}
    blocks |= {f"item-{entry['name']}": item(entry) for entry in registry["item"]}
    blocks |= {"connection-states": connection_states(), "stream-states": stream_states()}
    blocks |= {"upload-states": upload_states(), "job-states": job_states()}
    blocks["actions"] = grid(["code", "where", "retry", "processed", "what a client program does"], actions(registry))
    blocks["conformance"] = grid(["level", "ids for a server", "ids for a client"], conformance(spec))
    return blocks | {"params": params(), "adapter": adapter(), "kinds": kinds(), "admin-actions": admin_actions()}


def fill(spec: str, blocks: Mapping[str, str]) -> str:
    """The document with every generated block filled in. KeyError when it names a block that nothing makes."""
    return BLOCK.sub(
        lambda found: f"<!-- generated:{found['name']} -->\n{blocks[found['name']]}<!-- /generated -->\n", spec
    )


def counts(spec: str) -> str:
    """How much there is: requirements and vectors."""
    files = sorted((HERE / "vectors").glob("*.json"))
    cases = {path.stem: len(json.loads(path.read_text(encoding="utf-8"))) for path in files}
    each = ", ".join(f"{name} {number}" for name, number in cases.items())
    return f"{len(ITEM.findall(spec))} requirements; {sum(cases.values())} vectors: {each}"


def main(arguments: list[str]) -> int:
    """Writes SPEC.md with --write, else compares it; returns the exit status."""
    spec = SPEC.read_text(encoding="utf-8")
    blocks = tables(tomllib.loads(REGISTRY.read_text(encoding="utf-8")), spec)
    unused = set(blocks) - {found["name"] for found in BLOCK.finditer(spec)}
    if unused:
        print(f"SPEC.md has no place for: {', '.join(sorted(unused))}", file=sys.stderr)
        return 1
    filled = fill(spec, blocks)
    if "--write" in arguments:
        SPEC.write_text(filled, encoding="utf-8")
    elif filled != spec:
        print("SPEC.md does not match its sources: run python protocol/spec_tables.py --write", file=sys.stderr)
        return 1
    print(counts(filled))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
