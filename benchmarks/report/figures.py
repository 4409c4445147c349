"""From the shapes that records have to tables: maps of summaries, lists of rows, plain figures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.record import number
from benchmarks.report.model import Cell, Table

UNITS = (
    ("mb_per_s", "MB/s"), ("gib_per_s", "GiB/s"), ("mib_per_s", "MiB/s"), ("gb_per_s", "GB/s"), ("per_s", "per second"),
    ("_us", "µs"), ("_ms", "ms"), ("_ns", "ns"), ("_s", "s"), ("_mib", "MiB"), ("_kib", "KiB"), ("_bytes", "bytes"),
    ("_pct", "%"),
)  # fmt: skip
"""Ends of names and the units they stand for, the longer ones first."""
SUMMARY = {"median", "low", "high"}
MOST_COLUMNS = 10
MOST_ROWS = 80
Leaf = tuple[tuple[str, ...], object]


def heading(name: str) -> str:
    """What a figure's name says: `p50_us` is "p50, µs"."""
    for end, unit in UNITS:
        if name == end.strip("_"):
            return unit
        if name.endswith(end):
            stem = name.removesuffix(end).strip("_").replace("_", " ")
            return unit if not stem else f"{stem}, {unit}" if unit != "per second" else f"{stem} {unit}"
    return name.replace("_", " ")


def is_summary(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == SUMMARY


def is_leaf(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool) or is_summary(value)


def cell(value: Any) -> Cell:
    """A figure with three digits; a summary with its range, unless nothing moved."""
    if value is None:
        return Cell("-")
    if is_summary(value):
        low, high = number(value["low"]), number(value["high"])
        return Cell(number(value["median"]), "" if low == high else f"{low}-{high}", figure=True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", figure=True)
    if isinstance(value, float):
        return Cell(number(value), figure=True)
    return Cell(str(value), figure=_looks_like_figure(str(value)))


def _looks_like_figure(text: str) -> bool:
    """A number, alone or with a unit or a range: "61 µs", "7.8x", "1.54 (1.18-2.51)"."""
    return re.fullmatch(r"[-+]?[\d,.]+x?( [^\d ]+| \(.*\))?", text) is not None


# --- tables


def table(title: str, value: object) -> Table | None:
    """The table of a part of a record, or None for what is none (empty, too deep, or too long to be read)."""
    rows: list[tuple[str, list[Leaf]]] = []
    if isinstance(value, Mapping):
        if not value or is_summary(value):
            return None
        if all(is_leaf(part) for part in value.values()):
            rows = [(name, [(("",), part)]) for name, part in value.items()]
        else:
            rows = [(name, list(leaves(part))) for name, part in value.items()]
        return _grid(title, rows)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(part, Mapping) for part in value):
            return _grid(title, [("", list(leaves(part))) for part in value])
        if value and all(is_leaf(part) for part in value):
            return Table(title, ("",), [[cell(part)] for part in value])
    return None


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """All figures and words of nested maps, two deep; lists and what is deeper are not for a table."""
    if is_leaf(value):
        yield path or ("",), value
    elif isinstance(value, Mapping) and len(path) < 2:
        for name, part in value.items():
            yield from leaves(part, (*path, str(name)))


def _grid(title: str, rows: Sequence[tuple[str, Sequence[Leaf]]]) -> Table | None:
    """Rows of leaves as one table; turned on its side when it is wider than it is long."""
    names = list(dict.fromkeys(path for _, row in rows for path, _ in row))
    if not names:
        return None
    columns = [": ".join(heading(part) for part in path if part) or "" for path in names]
    body = [[Cell(name)] + [cell(found.get(path)) for path in names] for name, row in rows for found in [dict(row)]]
    head = ["", *columns]
    if not any(name for name, _ in rows):
        head, body = head[1:], [row[1:] for row in body]
    elif len(head) > MOST_COLUMNS and len(body) < len(head) - 1:
        body = [[Cell(column), *(row[at] for row in body)] for at, column in enumerate(head) if at]
        head = ["", *(name for name, _ in rows)]
    more = len(body) - MOST_ROWS
    return Table(title if more <= 0 else f"{title} ({more} more rows in the record)".strip(), head, body[:MOST_ROWS])


def ratios(title: str, value: Mapping[str, Mapping[str, object]]) -> list[Table]:
    """`{"over echo": {contestant: summary}}`: contestants as rows, what they are compared with as columns.

    When there are many comparisons of few contestants, one table of (comparison, contestant, ratio).
    """
    contestants = list(dict.fromkeys(name for row in value.values() for name in row))
    if not contestants:
        return []
    if len(value) < MOST_COLUMNS:
        rows = [[Cell(name), *(cell(row.get(name)) for row in value.values())] for name in contestants]
        return [Table(title, ["", *map(heading, value)], rows)]
    flat = [[Cell(heading(over)), Cell(name), cell(part)] for over, row in value.items() for name, part in row.items()]
    return [Table(title, ["", "", "ratio"], flat)]
