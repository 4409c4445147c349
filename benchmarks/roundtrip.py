"""How long from SUBMIT to ACCEPTED (on disk), against a bare uvloop echo of the same bytes in the same run.

    python -m benchmarks.roundtrip                  # a table
    python -m benchmarks.roundtrip --json FILE      # and a record with machine and versions

Contestants, each with 1 and with 64 requests in flight on one connection, in turn, round after round:

    echo      the SUBMIT frame's bytes to a bare uvloop server and back: the floor
    sqlite    the journal's floor: one bare SQLite commit (WAL, synchronous=FULL) of a record as large; no socket
    status    STATUS -> RESULT through the pixwire client: the protocol without the disk
    submit    SUBMIT -> RESULT through the pixwire client: validated, journalled, on disk

Servers run on core 0, the clients on core 1. The pixwire server runs with max_resident 0: it accepts and keeps jobs but
computes none, so that the model does not take the cores from the measurement.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import pixwire
from benchmarks import measure
from benchmarks.floor import EchoClient
from pixwire_protocol.messages import Submit, encode
from pixwire_protocol.params import GenerateParams

SERVER_CORE, CLIENT_CORE = 0, 1
FLIGHTS = (1, 64)
PROMPT = "a red circle on a blue background"
Call = Callable[[], Awaitable[object]]


def submit_frame() -> bytes:
    """The bytes of the SUBMIT that is measured, for the floor."""
    params = GenerateParams(prompt=PROMPT, seed=1, steps=12).pack()
    return b"".join(encode(Submit(job=uuid.uuid4().hex, kind="txt2img", tail=params), stream=1))


async def drive(call: Call, requests: int, flight: int) -> dict[str, float]:
    """`requests` calls, `flight` of them at a time: latency percentiles in microseconds and calls per second."""
    times: list[float] = []
    left = itertools.count()

    async def worker() -> None:
        while next(left) < requests:
            start = time.perf_counter()
            await call()
            times.append(time.perf_counter() - start)

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(flight)))
    whole = time.perf_counter() - begin
    return {
        "p50_us": measure.percentile(times, 0.5) * 1e6,
        "p99_us": measure.percentile(times, 0.99) * 1e6,
        "per_s": len(times) / whole,
    }


@contextlib.contextmanager
def process(*command: str) -> Iterator[str]:
    """A program that prints one line when it is ready; the line."""
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline()
        finally:
            running.terminate()
            running.wait(60)


@contextlib.contextmanager
def serving(data_dir: Path) -> Iterator[str]:
    """A pixwire server that accepts and keeps jobs and computes none; its URL."""
    options = (
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(data_dir),
        "--max-resident",
        "0",
        "--queue-limit",
        "1000000",
    )
    with process("pixwire_server", *options) as line:
        url = re.search(r"listening on (\S+)", line)
        if url is None:
            raise SystemExit("the server did not start; its message is above")
        yield url[1]


class CommitFloor:
    """One bare SQLite commit per call, as durable as the journal's."""

    def __init__(self, folder: Path, record: bytes) -> None:
        self.record = record
        self.db = sqlite3.connect(folder / "floor.sqlite3", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, record BLOB)")

    async def commit(self) -> None:
        self.db.execute("BEGIN")
        self.db.execute("INSERT INTO jobs (record) VALUES (?)", (self.record,))
        self.db.execute("COMMIT")


async def measure_all(
    port: int, url: str, folder: Path, rounds: int, requests: int
) -> dict[str, list[dict[str, float]]]:
    loop, frame = asyncio.get_running_loop(), submit_frame()
    _, echo = await loop.create_connection(lambda: EchoClient(frame), "127.0.0.1", port)
    floor, seeds = CommitFloor(folder, frame), itertools.count(1 << 32)  # no two requests alike
    async with await pixwire.connect(url) as client:
        known = await client.submit(PROMPT, seed=1, steps=12)
        calls: dict[str, Call] = {
            "echo": echo.round_trip,
            "sqlite": floor.commit,
            "status": known.status,
            "submit": lambda: client.submit(PROMPT, seed=next(seeds), steps=12),
        }
        contestants = {
            f"{name} x{flight}": (lambda call=call, flight=flight: drive(call, requests, flight))
            for flight in FLIGHTS
            for name, call in calls.items()
        }
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("measuring", total=(rounds + 1) * len(contestants))
            await measure.in_turn(1, contestants, lambda: bar.advance(task))  # warm up, thrown away
            return await measure.in_turn(rounds, contestants, lambda: bar.advance(task))


def show(results: dict[str, list[dict[str, float]]]) -> dict[str, measure.Summary]:
    table = Table(title="round trips, median (lowest-highest) of the rounds")
    for column in ("x in flight", "p50, us", "p99, us", "per second", "p50 / echo"):
        table.add_column(column, justify="left" if column.startswith("x") else "right")
    over_echo: dict[str, measure.Summary] = {}
    for flight in FLIGHTS:
        group = {name: rounds for name, rounds in results.items() if name.endswith(f" x{flight}")}
        over_echo |= measure.ratios(group, "p50_us", f"echo x{flight}")
    for name, row in measure.summarise(results).items():
        p99, per_second = f"{row['p99_us'].median:,.0f}", f"{row['per_s'].median:,.0f}"
        table.add_row(name, f"{row['p50_us']:,.0f}", p99, per_second, f"{over_echo[name]:.2f}")
    Console().print(table)
    return over_echo


def main(
    rounds: Annotated[int, typer.Option(min=1, help="how often each contestant runs")] = 7,
    requests: Annotated[int, typer.Option(min=64, help="round trips of one run")] = 1000,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the record")] = None,
) -> None:
    """SUBMIT -> ACCEPTED against a bare uvloop echo of the same bytes, in one run.

    Example: python -m benchmarks.roundtrip --rounds 11 --json benchmarks/results/roundtrip.json
    """
    with tempfile.TemporaryDirectory() as name, process("benchmarks.floor", "--core", str(SERVER_CORE)) as port:
        folder, everywhere = Path(name), os.sched_getaffinity(0)
        measure.pin(SERVER_CORE)  # the server inherits the core
        with serving(folder / "data") as url:
            os.sched_setaffinity(0, everywhere)
            measure.pin(CLIENT_CORE)
            results = uvloop.run(measure_all(int(port), url, folder, rounds, requests))
    over_echo = show(results)
    if json_file:
        record = {
            "benchmark": "roundtrip",
            "machine": measure.machine(),
            "rounds": rounds,
            "requests": requests,
            "frame_bytes": len(submit_frame()),
            "results": measure.plain(measure.summarise(results)),
            "p50_over_echo": {
                name: {"median": s.median, "low": s.low, "high": s.high} for name, s in over_echo.items()
            },
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=2) + "\n")
        print(f"wrote {json_file}")


if __name__ == "__main__":
    typer.run(main)
