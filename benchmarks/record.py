"""The options that every benchmark has and the JSON that every benchmark writes.

parser = record.parser(__doc__, rounds=7)
options = record.parse(parser)                       # quick, rounds, json, plots, and what the parser got besides
with record.bar("transport", total) as done: ...     # on standard error
record.show("a title", rows)                         # a table on standard output
record.write(options, "transport", results=..., ratios=..., targets=[...])
"""

import argparse
import datetime
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import measure

QUICK_ROUNDS = 2
WIDTH = 200
"""Of a table that goes into a file."""


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """With --quick, --rounds, --json and --plots. `rounds` is what the recorded figures are made with."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quick", action="store_true", help="few and short rounds: shows that it works")
    found.add_argument("--rounds", type=_positive, help=f"how often each contestant runs (default: {rounds})")
    found.add_argument("--json", type=Path, metavar="FILE", help="where to write the record")
    found.add_argument("--plots", type=Path, metavar="DIR", help="where to draw it, PNG and SVG (needs matplotlib)")
    found.set_defaults(full_rounds=rounds)
    return found


def parse(
    options: argparse.ArgumentParser, arguments: Sequence[str] | None = None, quick_rounds: int = QUICK_ROUNDS
) -> argparse.Namespace:
    """The options; `rounds` is a number: as asked for, else `quick_rounds` with --quick, else the full number."""
    found = options.parse_args(arguments)
    found.rounds = found.rounds or (quick_rounds if found.quick else found.full_rounds)
    return found


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


# --- progress and tables


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; call what it gives for each thing done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def cell(value: object) -> str:
    """A figure as people read it: three digits, thousands set apart."""
    if isinstance(value, measure.Summary):
        low, high = number(value.low), number(value.high)
        return number(value.median) + (f" ({low}-{high})" if low != high else "")
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """A table of rows with the same columns; numbers to the right."""
    table = Table(title=title)
    for name, value in rows[0].items() if rows else ():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(cell, row.values()))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def show_targets(targets: Sequence[tuple[measure.Target, measure.Summary | None]]) -> None:
    """What was to be reached, and what was."""
    words = {True: "met", False: "MISSED", None: "not measured"}
    rows: list[dict[str, object]] = []
    for target, measured in targets:
        met = None if measured is None else target.met(measured)
        limit = f"{target.op} {number(target.limit)} {target.unit}"
        rows.append(
            {
                "target": target.name,
                "limit": limit,
                "measured": "-" if measured is None else cell(measured),
                "": words[met],
            }
        )
    show("targets", rows)


# --- the record


def write(
    options: argparse.Namespace,
    benchmark: str,
    *,
    results: Mapping[str, Mapping[str, measure.Summary]],
    ratios: Mapping[str, Mapping[str, measure.Summary]] | None = None,
    targets: Sequence[tuple[measure.Target, measure.Summary | None]] = (),
    **more: Any,
) -> None:
    """Write the record to --json, when it was given: {"benchmark", "machine", "command", "quick", "rounds", "results",
    "ratios", "targets"} and what else is said by name.

    `results` has a row of figures for each contestant; `ratios` the same, over what each table's name says.
    """
    if options.json is None:
        return
    data = {
        "benchmark": benchmark,
        "machine": measure.machine(),
        "recorded": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command(),
        "quick": options.quick,
        "rounds": options.rounds,
        "results": measure.plain(_rows(results)),
        "ratios": measure.plain(_rows(ratios or {})),
        "targets": [target.record(measured) for target, measured in targets],
        **more,
    }
    write_json(options.json, data)


def write_json(file: Path, data: Mapping[str, Any]) -> None:
    """The data in a file, summaries as plain maps; says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data, indent=2, default=_summary) + "\n")
    print(f"wrote {file}")


def command(arguments: Sequence[str] | None = None) -> str:
    """How this program was started, to be repeated from the root of the repository: no path of this machine in it."""
    words = list(sys.orig_argv[1:] if arguments is None else arguments)
    return shlex.join(["python", *(Path(word).name if word.startswith("/") else word for word in words)])


def _rows(table: Mapping[str, Mapping[str, measure.Summary]]) -> dict[str, dict[str, measure.Summary]]:
    return {name: dict(row) for name, row in table.items()}


def _summary(value: object) -> object:
    if isinstance(value, measure.Summary):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")


def duration(seconds: float) -> str:
    """Minutes and seconds, or seconds below a minute."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02} minutes"
