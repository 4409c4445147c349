"""Markdown as SPEC.md has it: tables, diagrams, numbers."""

from collections.abc import Iterable, Sequence


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: object) -> str:
    return f"`{text}`"


def power(value: int) -> str:
    """A limit as one reads it: 2^63-1, 262,144."""
    for bits in (31, 53, 63):
        if value == 2**bits - 1:
            return f"2^{bits}-1"
    return f"{value:,}"


def diagram(lines: Iterable[str]) -> str:
    """A state diagram for Mermaid."""
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"
