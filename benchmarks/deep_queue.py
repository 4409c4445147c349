"""What a long queue costs: memory for each waiting job, and the latency of one more submit.

    python -m benchmarks.deep_queue                   # 100,000 jobs; a table
    python -m benchmarks.deep_queue --quick           # 5,000 jobs
    python -m benchmarks.deep_queue --json FILE       # and a record with machine and versions

Two servers that compute nothing, one with an (almost) empty queue and one with a full one, are asked in turn, round
after round, with 1 and with 64 submits in flight. Memory is the growth of the server's resident set while the queue was
filled, over the jobs; jobs come from several principals' worth of different prompts, as they would.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import pixwire
from benchmarks import measure
from benchmarks.roundtrip import drive

JOBS, QUICK_JOBS = 100_000, 5_000
QUEUE_LIMIT = 1_000_000
FLIGHTS = (1, 64)
FILLERS = 256
"""Submits in flight while the queue is filled."""
COLORS = ("red", "green", "blue", "yellow", "purple", "orange")


class IdleServer:
    """A server that accepts jobs and computes none."""

    def __init__(self, folder: Path, queue_limit: int) -> None:
        command = ("pixwire_server", "--listen", "127.0.0.1:0", "--data-dir", str(folder), "--max-resident", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command, "--queue-limit", str(queue_limit)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        found = re.search(r"listening on ([^\s,]+)", self.process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start; its message is above")
        self.url = found[1]

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


def submitting(client: pixwire.AsyncClient) -> Callable[[], Awaitable[Any]]:
    """A call that submits one more job, each with a prompt of its own."""
    number = 0

    async def submit() -> None:
        nonlocal number
        number += 1
        await client.submit(f"a {COLORS[number % len(COLORS)]} star, number {number}, on a white background", steps=12)

    return submit


async def fill(server: IdleServer, jobs: int, advance: Callable[[], None]) -> tuple[float, float]:
    """Put jobs into its queue: bytes of memory for each, and seconds in all."""
    before, begin = server.resident_bytes(), time.perf_counter()
    left = iter(range(jobs))
    async with await pixwire.connect(server.url) as client:
        submit = submitting(client)

        async def filler() -> None:
            for _ in left:
                await submit()
                advance()

        await asyncio.gather(*(filler() for _ in range(FILLERS)))
    return (server.resident_bytes() - before) / jobs, time.perf_counter() - begin


async def measure_all(empty: IdleServer, full: IdleServer, jobs: int, rounds: int, requests: int) -> dict[str, Any]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("filling", total=jobs)
        async with await pixwire.connect(full.url) as warm:
            await drive(submitting(warm), requests, FLIGHTS[-1])  # what a server needs once is not charged to the jobs
        each, seconds = await fill(full, jobs, lambda: bar.advance(task))
        async with await pixwire.connect(empty.url) as one, await pixwire.connect(full.url) as other:
            contestants = {
                f"{name} x{flight}": (lambda call=call, flight=flight: drive(call, requests, flight))
                for flight in FLIGHTS
                for name, call in (("empty", submitting(one)), ("full", submitting(other)))
            }
            bar.reset(task, description="measuring", total=(rounds + 1) * len(contestants))
            await measure.in_turn(1, contestants, lambda: bar.advance(task))  # warm up, thrown away
            results = await measure.in_turn(rounds, contestants, lambda: bar.advance(task))
    return {"bytes_per_job": each, "fill_s": seconds, "results": results}


def over_empty(results: dict[str, list[dict[str, float]]]) -> dict[str, measure.Summary]:
    """The median latency with a full queue over that with an empty one, round by round."""
    found: dict[str, measure.Summary] = {}
    for flight in FLIGHTS:
        group = {name: rounds for name, rounds in results.items() if name.endswith(f" x{flight}")}
        found |= measure.ratios(group, "p50_us", f"empty x{flight}")
    return found


def show(jobs: int, found: dict[str, Any]) -> None:
    table = Table(title=f"submits to an empty queue and to one of {jobs:,} jobs, median (lowest-highest) of the rounds")
    for column in ("queue x in flight", "p50, us", "p99, us", "p50 / empty"):
        table.add_column(column, justify="left" if column.startswith("queue") else "right")
    ratios = over_empty(found["results"])
    for name, row in measure.summarise(found["results"]).items():
        table.add_row(name, f"{row['p50_us']:,.0f}", f"{row['p99_us']:,.0f}", f"{ratios[name]:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{found['bytes_per_job']:,.0f} bytes of memory for each waiting job; filled in {found['fill_s']:.0f} s"
    )


def main(
    jobs: Annotated[int, typer.Option(min=100, help="jobs in the full queue")] = JOBS,
    rounds: Annotated[int, typer.Option(min=1, help="how often each contestant runs")] = 7,
    requests: Annotated[int, typer.Option(min=64, help="submits of one run")] = 300,
    quick: Annotated[bool, typer.Option(help=f"{QUICK_JOBS} jobs, 2 rounds")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the record")] = None,
) -> None:
    """Memory and submit latency of a long queue.

    Example: python -m benchmarks.deep_queue --json benchmarks/results/deep_queue.json
    """
    if quick:
        jobs, rounds = QUICK_JOBS, 2
    with tempfile.TemporaryDirectory() as name:
        servers: list[IdleServer] = []
        try:
            servers.append(empty := IdleServer(Path(name) / "empty", QUEUE_LIMIT))
            servers.append(full := IdleServer(Path(name) / "full", QUEUE_LIMIT))
            found = uvloop.run(measure_all(empty, full, jobs, rounds, requests))
        finally:
            for server in servers:
                server.stop()
    show(jobs, found)
    if json_file:
        record = {
            "benchmark": "deep_queue",
            "machine": measure.machine(),
            "jobs": jobs,
            "rounds": rounds,
            "requests": requests,
            "bytes_per_job": found["bytes_per_job"],
            "fill_s": found["fill_s"],
            "results": measure.plain(measure.summarise(found["results"])),
            "p50_over_empty": {name: asdict(summary) for name, summary in over_empty(found["results"]).items()},
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=2) + "\n")
        print(f"wrote {json_file}")


if __name__ == "__main__":
    typer.run(main)
