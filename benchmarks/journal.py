"""What "accepted means on disk" costs: the journal against a bare SQLite loop on the same disk in the same run.

    python -m benchmarks.journal                  # a table
    python -m benchmarks.journal --quick          # some seconds, for a look
    python -m benchmarks.journal --json FILE      # and a record with machine and versions

Contestants, each with 1, 16 and 64 submitters that submit again as soon as they are acknowledged, in turn, round after
round:

    bare      one commit (WAL, synchronous=FULL) for each record, one after the other, of a record as large: the floor
    journal   `Journal.create` as the server calls it: checked for its key, indexed, group-committed by the writer's
              thread, acknowledged in the event loop

"acks" are records acknowledged per second, "commits" transactions per second; the latency is from a submit to its
acknowledgement. Both begin with an empty file.
"""

import asyncio
import itertools
import json
import sqlite3
import tempfile
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import measure
from pixwire_protocol.params import GenerateParams, fingerprint
from pixwire_server.jobs import model
from pixwire_server.store import JobRow, Journal

SUBMITTERS = (1, 16, 64)
QUICK_ROUNDS, QUICK_RECORDS = 2, 500
KIND = "txt2img"
PARAMS = GenerateParams(
    "a red circle on a blue background", model="builtin", width=64, height=64, steps=12, guidance_scale=5.0, seed=1
)


def a_row(position: int) -> JobRow:
    """The row of a job as a server keeps it."""
    name = f"{position:032x}"
    mark = fingerprint(KIND, PARAMS.pack())
    return model.to_row(model.Job(position, "anonymous", name, KIND, mark, PARAMS, submitted_ms=1_700_000_000_000))


def figures(times: list[float], whole: float, commits: int) -> dict[str, float]:
    return {
        "p50_us": measure.percentile(times, 0.5) * 1e6,
        "p99_us": measure.percentile(times, 0.99) * 1e6,
        "acks_per_s": len(times) / whole,
        "commits_per_s": commits / whole,
    }


def bare(folder: Path, submitters: int, records: int) -> dict[str, float]:
    """A loop that commits the record of whoever waits longest."""
    record = json.dumps(a_row(1)._asdict()).encode()
    db = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, record BLOB)")
    times: list[float] = []
    begin = time.perf_counter()
    since = deque([begin] * submitters)
    for _ in range(records):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO jobs (record) VALUES (?)", (record,))
        db.execute("COMMIT")
        now = time.perf_counter()
        times.append(now - since.popleft())
        since.append(now)
    whole = time.perf_counter() - begin
    db.close()
    return figures(times, whole, records)


async def journalled(folder: Path, submitters: int, records: int) -> dict[str, float]:
    """Tasks that await the acknowledgement of one row after the other."""
    rows = [a_row(position) for position in range(1, records + 1)]
    journal = await asyncio.to_thread(Journal, folder, asyncio.get_running_loop())
    times: list[float] = []
    numbers = itertools.count()

    async def submitter() -> None:
        while (number := next(numbers)) < records:
            start = time.perf_counter()
            assert await journal.create(rows[number]) is None
            times.append(time.perf_counter() - start)

    begin = time.perf_counter()
    await asyncio.gather(*(submitter() for _ in range(submitters)))
    whole = time.perf_counter() - begin
    commits = journal.commits
    journal.refuse()
    await asyncio.to_thread(journal.close)
    return figures(times, whole, commits)


async def measure_all(where: Path | None, rounds: int, records: int) -> dict[str, list[dict[str, float]]]:
    async def run(name: str, submitters: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=where) as folder:
            if name == "bare":
                return await asyncio.to_thread(bare, Path(folder), submitters, records)
            return await journalled(Path(folder), submitters, records)

    contestants = {
        f"{name} x{submitters}": (lambda name=name, submitters=submitters: run(name, submitters))
        for submitters in SUBMITTERS
        for name in ("bare", "journal")
    }
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=(rounds + 1) * len(contestants))
        await measure.in_turn(1, contestants, lambda: bar.advance(task))  # warm up, thrown away
        return await measure.in_turn(rounds, contestants, lambda: bar.advance(task))


def over_bare(results: dict[str, list[dict[str, float]]], key: str) -> dict[str, measure.Summary]:
    """`key` of each contestant over that of the bare loop with as many submitters, round by round."""
    found: dict[str, measure.Summary] = {}
    for submitters in SUBMITTERS:
        group = {name: rounds for name, rounds in results.items() if name.endswith(f" x{submitters}")}
        found |= measure.ratios(group, key, f"bare x{submitters}")
    return found


def show(results: dict[str, list[dict[str, float]]]) -> None:
    table = Table(title="commits on this disk, median (lowest-highest) of the rounds")
    for column in ("x submitters", "ack p50, us", "ack p99, us", "acks/s", "commits/s", "acks/s over bare"):
        table.add_column(column, justify="left" if column.startswith("x") else "right")
    ratios = over_bare(results, "acks_per_s")
    for name, row in measure.summarise(results).items():
        cells = (f"{row[key]:,.0f}" for key in ("p50_us", "p99_us", "acks_per_s", "commits_per_s"))
        table.add_row(name, *cells, f"{ratios[name]:.2f}")
    Console().print(table)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="how often each contestant runs")] = 7,
    records: Annotated[int, typer.Option(min=64, help="records of one run")] = 4000,
    quick: Annotated[bool, typer.Option(help=f"{QUICK_ROUNDS} rounds of {QUICK_RECORDS} records")] = False,
    folder: Annotated[Path | None, typer.Option(help="where to put the files: the disk that is measured")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the record")] = None,
) -> None:
    """The journal's commits against a bare SQLite loop, in one run.

    Example: python -m benchmarks.journal --json benchmarks/results/journal.json
    """
    if quick:
        rounds, records = QUICK_ROUNDS, QUICK_RECORDS
    results = uvloop.run(measure_all(folder, rounds, records))
    show(results)
    if json_file:
        record = {
            "benchmark": "journal",
            "machine": measure.machine(),
            "rounds": rounds,
            "records": records,
            "row_bytes": len(json.dumps(a_row(1)._asdict())),
            "results": measure.plain(measure.summarise(results)),
            "over_bare": {
                key: {name: asdict(summary) for name, summary in over_bare(results, key).items()}
                for key in ("acks_per_s", "p50_us", "p99_us")
            },
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=2) + "\n")
        print(f"wrote {json_file}")


if __name__ == "__main__":
    typer.run(main)
