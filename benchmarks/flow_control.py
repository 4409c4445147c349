"""How long a PING waits behind an image, by the window that the client declares; and the bound that the window gives.

    python -m benchmarks.flow_control                  # a table, about a minute and a half
    python -m benchmarks.flow_control --json FILE      # and a record with machine and versions

A client reads an image of 16 MiB at 2 MB/s and sends PINGs on the same connection meanwhile, one after the other. What
can stand before a PONG is what was sent and not yet read: at most one window. So no PING waits longer than

    bound = window / rate  +  one read of 16 KiB / rate

whatever the buffers of the two kernels would hold. The last line is a window that holds the whole image: flow control
switched off. Each window runs once per round, in turn.
"""

import asyncio
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import measure
from benchmarks.paced_reader import PIECE, PacedReader
from benchmarks.roundtrip import serving
from benchmarks.stored_job import store_job

SIZE = 16 * 1024 * 1024
RATE = 2_000_000
WINDOWS = (64 * 1024, 256 * 1024, 1024 * 1024, 4 * 1024 * 1024, SIZE)
PING_EVERY = 128 * 1024
JOB = "big"


def bound_ms(window: int, rate: float) -> float:
    """The longest that a PING can wait, in milliseconds."""
    return (window + PIECE) / rate * 1000


def one_fetch(address: tuple[str, int], window: int, image: bytes, rate: float) -> dict[str, float]:
    """Fetch the image at the rate; what the PINGs saw."""
    reader = PacedReader(address, window, rate)
    try:
        reading = reader.fetch(JOB, PING_EVERY)
    finally:
        reader.close()
    if bytes(reading.received) != image:
        raise SystemExit(f"the image arrived damaged with a window of {window} bytes")
    delays = [ping.delay_s * 1000 for ping in reading.pings]
    return {
        "p50_ms": measure.percentile(delays, 0.5),
        "p99_ms": measure.percentile(delays, 0.99),
        "max_ms": max(delays),
        "max_ahead_bytes": float(max(ping.data_ahead for ping in reading.pings)),
        "mb_per_s": SIZE / reading.seconds / 1e6,
        "pings": float(len(delays)),
    }


async def measure_all(
    address: tuple[str, int], image: bytes, rounds: int, rate: float
) -> dict[str, list[dict[str, float]]]:
    contestants = {
        str(window): partial(asyncio.to_thread, one_fetch, address, window, image, rate) for window in WINDOWS
    }
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=rounds * len(contestants))
        return await measure.in_turn(rounds, contestants, lambda: bar.advance(task))


def show(table: dict[str, dict[str, measure.Summary]], rate: float) -> None:
    shown = Table(title=f"PING behind a fetch of 16 MiB read at {rate / 1e6:g} MB/s; median (lowest-highest) of rounds")
    for column in ("window, KiB", "bound, ms", "p50, ms", "p99, ms", "max, ms", "most bytes ahead", "MB/s"):
        shown.add_column(column, justify="right")
    for name, row in table.items():
        window = int(name)
        figures = [f"{row[key]:,.0f}" for key in ("p50_ms", "p99_ms", "max_ms")]
        ahead, speed = f"{row['max_ahead_bytes'].high:,.0f}", f"{row['mb_per_s'].median:.2f}"
        shown.add_row(f"{window // 1024:,}", f"{bound_ms(window, rate):,.0f}", *figures, ahead, speed)
    Console().print(shown)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="how often each window runs")] = 2,
    rate: Annotated[float, typer.Option(min=100_000, help="bytes per second that the client reads")] = RATE,
    json_file: Annotated[Path | None, typer.Option("--json", help="where to write the record")] = None,
) -> None:
    """PING delay behind a slow fetch, window by window, against the bound that the window gives.

    Example: python -m benchmarks.flow_control --json benchmarks/results/flow_control.json
    """
    with tempfile.TemporaryDirectory() as name:
        data_dir = Path(name) / "data"
        image = store_job(data_dir, JOB, SIZE)
        with serving(data_dir) as url:
            parts = urlsplit(url)
            address = str(parts.hostname), int(parts.port or 0)
            results = measure.summarise(asyncio.run(measure_all(address, image, rounds, rate)))
    show(results, rate)
    over = [name for name, row in results.items() if row["max_ahead_bytes"].high > int(name)]
    if over:
        raise SystemExit(f"more than a window stood before a PONG with windows of {', '.join(over)} bytes")
    if json_file:
        bounds = {name: bound_ms(int(name), rate) for name in results}
        record = {
            "benchmark": "flow_control",
            "machine": measure.machine(),
            "rounds": rounds,
            "bytes": SIZE,
            "rate": rate,
            "bound_ms": bounds,
            "results": measure.plain(results),
        }
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=2) + "\n")
        print(f"wrote {json_file}")


if __name__ == "__main__":
    typer.run(main)
