"""The generated part of the Wireshark dissector: names and numbers out of registry.toml.

python protocol/dissector_tables.py            # exit 1 when wireshark/pixwire.lua does not say what the registry says
python protocol/dissector_tables.py --write    # bring it up to date
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DISSECTOR = HERE / "wireshark" / "pixwire.lua"
BEGIN = "-- generated: names and numbers (protocol/dissector_tables.py --write)\n"
END = "-- /generated\n"
MAX_DEPTH = 8
INFO_KEYS = (
    *(
        "action",
        "job",
        "kind",
        "state",
        "event",
        "what",
        "step",
        "code",
        "name",
        "n",
        "artifact",
        "offset",
        "mechanism",
    ),
    *("priority", "tag"),
)
"""Keys of heads that are worth a word in the Info column."""
SECRET_KEYS = ("token",)


def _table(name: str, entries: Mapping[int, str]) -> list[str]:
    rows = [f'    [0x{number:02x}] = "{text}",' for number, text in sorted(entries.items())]
    return [f"local {name} = {{", *rows, "}"]


def _set(name: str, keys: tuple[str, ...]) -> str:
    return f"local {name} = {{ {', '.join(f'{key} = true' for key in keys)} }}"


def render(registry: Mapping[str, Any]) -> str:
    """The generated lines, without the markers around them."""
    protocol, messages = registry["protocol"], registry["message"]
    preface = bytes.fromhex(protocol["preface"])
    lines = [
        f"local MARKER, HEADER_SIZE = 0x{protocol['marker']:02x}, {protocol['header_size']}",
        f"local PREFACE_MAGIC, PREFACE_BYTE = 0x{protocol['magic']}, 0x{preface[0]:02x}",
        f"local PREFACE_SIZE = {len(preface)}",
        f'local PORT, ALPN = {protocol["port"]}, "{protocol["alpn"]}"',
        f"local MAX_DEPTH = {MAX_DEPTH}",
        *_table("TYPE_NAMES", {m["type"]: m["name"] for m in messages if not m.get("ack")}),
        *_table("ACK_NAMES", {m["type"]: m["name"] for m in messages if m.get("ack")}),
        *_table("ERROR_NAMES", {error["code"]: error["name"] for error in registry["error"]}),
        _set("INFO_KEYS", INFO_KEYS),
        _set("SECRET_KEYS", SECRET_KEYS),
    ]
    return "\n".join(lines) + "\n"


def updated(text: str, registry: Mapping[str, Any]) -> str:
    """The dissector with its generated part as the registry wants it."""
    before, rest = text.split(BEGIN)
    _, behind = rest.split(END)
    return before + BEGIN + render(registry) + END + behind


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the file instead of comparing")
    write = parser.parse_args(arguments).write
    old = DISSECTOR.read_text(encoding="utf-8")
    new = updated(old, tomllib.loads((HERE / "registry.toml").read_text(encoding="utf-8")))
    if write:
        DISSECTOR.write_text(new, encoding="utf-8")
    elif old != new:
        print(f"{DISSECTOR.name} is not up to date; run: python protocol/dissector_tables.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
