"""The requirements of SPEC.md as data: id -> section and sentence, from `requirements.json`, which this module makes.

    python -m pixwire.wire.conform.requirements SPEC.md        writes the file anew

An installed package has no SPEC.md beside it, so the sentences travel as data; a test compares them with the document.
"""

import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("requirements.json")
ID = re.compile(r"PXW-[A-Z]{3}-\d{3}")
_HEADING = re.compile(r"^#{2,4} (?P<number>[\dA-D]+(?:\.\d+)*)\.? (?P<title>.+)$")
_ITEM = re.compile(r"^- \*\*\[(?P<id>PXW-[A-Z]{3}-\d{3})\]\*\* (?P<text>.*)$")
_VERSION = re.compile(r"^\| Document \| version (?P<version>[\d.]+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One MUST of SPEC.md: its id, the number of the section it stands in, and its sentence."""

    id: str
    section: str
    text: str


def extract(spec: str) -> dict[str, Any]:
    """The content of `requirements.json` for the text of SPEC.md."""
    document, section = "", ""
    sections: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    item: dict[str, str] | None = None
    fenced = False
    for line in spec.splitlines():
        fenced ^= line.startswith("```")
        if version := _VERSION.match(line):
            document = version["version"]
        heading = None if fenced else _HEADING.match(line)
        if heading:
            section = heading["number"]
            sections[section] = heading["title"]
        start = _ITEM.match(line)
        if start:
            item = found[start["id"]] = {"section": section, "text": start["text"]}
        elif item is not None and line.startswith("  "):
            item["text"] += " " + line.strip()
        else:
            item = None
    return {"document": document, "sections": sections, "requirements": dict(sorted(found.items()))}


def as_text(content: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return content


@cache
def requirements() -> dict[str, Requirement]:
    """All requirements by id."""
    items: dict[str, dict[str, str]] = _content()["requirements"]
    return {name: Requirement(name, item["section"], item["text"]) for name, item in items.items()}


@cache
def sections() -> dict[str, str]:
    """Titles of the sections by number."""
    titles: dict[str, str] = _content()["sections"]
    return titles


def document_version() -> str:
    """The version of SPEC.md that the requirements come from."""
    return str(_content()["document"])


def section_key(section: str) -> tuple[tuple[int, str], ...]:
    """Sorts "10" behind "9.2", and appendices last."""
    return tuple((int(part), "") if part.isdigit() else (99, part) for part in section.split("."))


if __name__ == "__main__":
    DATA.write_text(as_text(extract(Path(sys.argv[1]).read_text(encoding="utf-8"))), encoding="utf-8")
