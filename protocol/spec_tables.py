"""Writes the tables and diagrams of SPEC.md that repeat registry.toml or the transition tables.

    python protocol/spec_tables.py            exits 1 when SPEC.md differs from the sources
    python protocol/spec_tables.py --write    writes them into SPEC.md

SPEC.md marks each with `<!-- generated:NAME -->` and `<!-- /generated -->`; `tables()` has one entry for every name.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the package beside this file, installed or not

from pixwire_protocol.params import PARAMS  # noqa: E402
from pixwire_protocol.states import CONNECTION, STREAMS, Input, State  # noqa: E402
from pixwire_protocol.status import JOB_TRANSITIONS, JobState  # noqa: E402

REGISTRY = HERE / "registry.toml"
SPEC = HERE.parent / "SPEC.md"
BLOCK = re.compile(r"<!-- generated:(?P<name>[\w.-]+) -->\n(?P<body>.*?)<!-- /generated -->\n", re.DOTALL)

Table = Mapping[str, Any]

SENDERS = {"client": "C -> S", "server": "S -> C", "both": "both"}
PLACES = {"zero": "0", "new": "new", "open": "open", "any": "any"}
ENDS = {"never": "no", "required": "always", "optional": "on the last frame", "stream": "always, except on stream 0"}
TAILS = {
    "none": "none",
    "eight": "8 bytes",
    "params": "one msgpack map",
    "image": "image bytes",
    "data": "artifact bytes, under credit",
    "raw": "raw bytes",
}
FAULTS = {"connection": "connection error BAD_HEAD", "stream": "stream error INVALID_ARGUMENT"}
UNITS = {"str": " bytes", "list[str]": " entries", "int": ""}


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def hexadecimal(value: int, digits: int) -> str:
    return f"0x{value:0{digits}X}"


def power(value: int) -> str:
    """A limit as one reads it: 2^63-1, 262,144."""
    for bits in (31, 63):
        if value == 2**bits - 1:
            return f"2^{bits}-1"
    return f"{value:,}"


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
        "hello", "welcome", "ping-and-pong", "error", "goaway", "reset", "submit", "status", "cancel", "watch",
        "fetch", "data", "credit", "result", "event", "preview",
    ]  # fmt: skip
    wanted = "ping-and-pong" if name in ("PING", "PONG") else name.lower()
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
    """What a value must fit into: characters, a range, a length, a number of entries."""
    if entry.get("pattern") == "job_id":
        return "1 to 64 of `A-Z a-z 0-9 . _ -`"
    kind, low, high = entry["type"], entry.get("min"), entry.get("max")
    if high is None:
        return ""
    text = f"{power(low)} to {power(high)}" if low is not None else f"up to {power(high)}"
    text += UNITS[kind]
    if "item_max" in entry:
        text += f" of {entry['item_max']} bytes"
    return text


def body(entry: Table) -> str:
    rows = []
    for item in entry["fields"]:
        present = item["present"] if item["present"] in ("always", "sometimes") else f"in {item['present']}"
        rows.append([code(item["name"]), item["type"], present, item["description"]])
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


def reserved(registry: Table) -> str:
    rows = ([hexadecimal(row["type"], 2), row["name"], row["description"]] for row in registry["reserved"])
    return grid(["type", "name", "meaning"], rows)


# ------------------------------------------------------------------ from the package's own tables


def params() -> str:
    """The parameters of txt2img."""
    rows = []
    for spec in PARAMS.values():
        if spec.choices:
            allowed = ", ".join(map(code, spec.choices))
        else:
            unit = " characters" if spec.type == "str" else ""
            allowed = f"{number(spec.minimum)} to {number(spec.maximum)}{unit}" + (", not blank" * spec.required)
        rows.append([code(spec.name), spec.type, "required" if spec.required else "", allowed, spec.description])
    return grid(["parameter", "type", "", "allowed", "meaning"], rows)


def number(value: float | None) -> str:
    return "" if value is None else power(int(value))


def job_states() -> str:
    """The life of a job: a diagram, and the same as a table."""
    arrows = ["    [*] --> queued"]
    arrows += [f"    {state} --> {after}" for state, row in JOB_TRANSITIONS.items() for after in inorder(row)]
    arrows += [f"    {state} --> [*]" for state in JobState if state.terminal]
    rows = [[code(state), ", ".join(map(code, inorder(row))) or "(terminal)"] for state, row in JOB_TRANSITIONS.items()]
    return diagram(arrows) + "\n" + grid(["state", "may be followed by"], rows)


# What the inputs of the transition tables are called in the document.
INPUTS = {
    "RECV_ERROR": "ERROR on stream 0 received",
    "RECV_REQUEST": "request received",
    "RECV_STREAM": "other stream frame received",
    "RECV_EXTENSION": "unknown type received",
    "RECV_EOF": "end of byte stream",
    "SEND_REQUEST": "request sent",
    "SEND_REPLY": "stream frame sent",
    "FAIL": "connection error detected",
}
KINDS = {
    "UNARY": "plain: STATUS, CANCEL, SUBMIT without `watch` and `deliver`",
    "WATCH": "watched: WATCH, SUBMIT with `watch` or `deliver`",
    "TRANSFER": "fetched: FETCH",
}


def spoken(name: str) -> str:
    """An input in words: RECV_PING -> PING received."""
    verb, _, rest = name.partition("_")
    return INPUTS.get(name) or f"{rest} {'received' if verb == 'RECV' else 'sent'}"


def connection_states() -> str:
    """Per role: the changes of state as a diagram, and what is legal where as a table."""
    return "\n".join(f"{role.value.capitalize()}:\n\n{one_role(table)}" for role, table in CONNECTION.items())


def one_role(table: Mapping[State, Mapping[Input, State]]) -> str:
    labels: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, after in row.items():
            if after is not state:
                labels.setdefault((state.name, after.name), []).append(spoken(event.name))
    arrows = ["    [*] --> START"]
    arrows += [f"    {before} --> {after}: {', '.join(words)}" for (before, after), words in labels.items()]
    states = [state for state, row in table.items() if row]
    used = [event for event in Input if any(event in row for row in table.values())]
    rows = [
        [spoken(event.name), *(table[state][event].name if event in table[state] else "" for state in states)]
        for event in used
    ]
    return diagram(arrows) + "\n" + grid(["", *(state.name for state in states)], rows)


def stream_states() -> str:
    """Per kind of request: what the server may send in which state of the stream."""
    parts = []
    for kind, table in STREAMS.items():
        rows = []
        for state, row in table.items():
            for event, after in row.items():
                rows.append([state.name, event.name.replace("_END", " with END"), after.name])
        parts.append(f"{KINDS[kind.name]}\n\n" + grid(["state", "the server sends", "then"], rows))
    return "\n".join(parts)


def inorder(states: Iterable[JobState]) -> list[JobState]:
    """Sets have no order; the enumeration has."""
    return sorted(states, key=list(JobState).index)


def diagram(lines: Iterable[str]) -> str:
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


# ------------------------------------------------------------------ all of them


def tables(registry: Table) -> dict[str, str]:
    """Every generated block: name -> Markdown."""
    simple: tuple[Callable[[Table], str], ...] = (
        frame_types, flags, ranges, errors, error_classes, limits, features, reserved,
    )  # fmt: skip
    blocks = {make.__name__.replace("_", "-"): make(registry) for make in simple}
    blocks |= {f"message-{entry['name']}": message(entry) for entry in registry["message"]}
    blocks |= {f"body-{entry['name']}": body(entry) for entry in registry["body"]}
    states = {"connection-states": connection_states(), "stream-states": stream_states(), "job-states": job_states()}
    return blocks | states | {"params": params()}


def fill(spec: str, blocks: Mapping[str, str]) -> str:
    """The document with every generated block filled in. KeyError when it names a block that nothing makes."""
    return BLOCK.sub(
        lambda found: f"<!-- generated:{found['name']} -->\n{blocks[found['name']]}<!-- /generated -->\n", spec
    )


def main(arguments: list[str]) -> int:
    """Writes SPEC.md with --write, else compares it; returns the exit status."""
    blocks = tables(tomllib.loads(REGISTRY.read_text(encoding="utf-8")))
    spec = SPEC.read_text(encoding="utf-8")
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
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
