"""The plots: round trips, throughput, CPU time, fetches, small requests beside large ones, memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks import plots
from benchmarks.measure import Summary
from benchmarks.transport.contestants import (
    AIOHTTP,
    BASE64,
    C_SOCKET,
    FASTAPI,
    GRPC,
    PXW,
)
from benchmarks.transport.outcome import Table, under_way
from benchmarks.transport.parts import crowds, fetch, round_trip, small
from benchmarks.transport.work import KIB, SIZES

STEM: Final = "transport"
LOG: Final = ", logarithmic"
CURVES: Final = {
    C_SOCKET: (C_SOCKET, ""),
    "pixwire": (PXW, ""),
    "aiohttp": (AIOHTTP, ""),
    "FastAPI": (FASTAPI, ""),
    "base64 JSON": (FASTAPI, BASE64),
    "gRPC, 64 KiB": (GRPC, str(64 * KIB)),
    "gRPC, 256 KiB": (GRPC, str(256 * KIB)),
}
"""What the fetches are drawn of, by their names in the legend; gRPC in chunks of that size."""


def draw(folder: Path, found: Mapping[str, Table]) -> list[str]:
    """All that can be drawn of these tables; the names of the files, without their endings."""
    drawn = []
    for name, group, title, label in bars(found):
        if group:
            plots.bars(folder, name, {title: group}, title=title, label=label, reference=None, logarithmic=True)
            drawn.append(name)
    curves = {who: points for who, points in fetched(found).items() if points}
    if curves:
        name, title = f"{STEM}_fetch", "Fetching an image: MB/s against its size"
        plots.lines(folder, name, curves, title=title, labels=("KiB", "MB/s"), log_x=True, log_y=True)
        drawn.append(name)
    return drawn


def bars(found: Mapping[str, Table]) -> list[tuple[str, dict[str, Summary], str, str]]:
    """File, contestants with their figure, title, axis."""
    busy = under_way(found)
    beside, watched = found.get(small.title, {}), found.get(crowds.watchers.title, {})
    same, idle = found.get(f"status, {round_trip.SAME}", {}), found.get(crowds.connections.title, {})
    last = [key for row in idle.values() for key in row if key.startswith("bytes_each_at_")][-1:]
    each = column(idle, last[0]) if last else {}
    return [
        (f"{STEM}_round_trip", column(same, "p50_us"), "STATUS, one at a time on one core", f"µs, p50{LOG}"),
        (f"{STEM}_throughput", column(busy, "per_s"), "STATUS, 64 under way", f"per second{LOG}"),
        (
            f"{STEM}_cpu",
            column(busy, "server_cpu_us"),
            "Server's CPU time for one STATUS, 64 under way",
            f"µs{LOG}",
        ),
        (f"{STEM}_small", column(beside, "p99_us"), "STATUS beside fetches of 16 MiB", f"µs, p99{LOG}"),
        (f"{STEM}_watchers", column(watched, "bytes_per_watcher"), "Memory for each watcher", f"bytes{LOG}"),
        (
            f"{STEM}_connections",
            each,
            "Memory for each connection",
            f"bytes{LOG}",
        ),
    ]


def column(table: Table, key: str) -> dict[str, Summary]:
    """One figure of every contestant."""
    return {who: row[key] for who, row in table.items() if key in row and row[key].low > 0}


def fetched(found: Mapping[str, Table]) -> dict[str, list[tuple[float, float | Summary]]]:
    """MB/s over KiB."""
    curves: dict[str, list[tuple[float, float | Summary]]] = {}
    for label, (who, how) in CURVES.items():
        for size in SIZES:
            row = found.get(f"fetch of {fetch.size_label(size)}", {}).get(f"{who}{fetch.way(how)}")
            if row is not None:
                curves.setdefault(label, []).append((size / KIB, row["mb_per_s"]))
    return curves
