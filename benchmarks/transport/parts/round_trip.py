"""Round trips and throughput of STATUS and SUBMIT, and what a durable SUBMIT cannot be cheaper than."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.measure import percentile
from benchmarks.processes import SAME_CORE, TWO_CORES, Places, on_core
from benchmarks.transport.clients.frames import submit_frame
from benchmarks.transport.contestants import COMMIT, CONTESTANTS, FDATASYNC, GROUP, Contestant
from benchmarks.transport.driving import CONNECTIONS, ONE, ONE_CONNECTION, Figures, Load
from benchmarks.transport.plan import OF, Context, Rounds, Run
from benchmarks.transport.stage import Stage

GROUP_SIZE: Final = 64
SAME, TWO = "one at a time, same core", "one at a time, two cores"
LOADS: Final[dict[str, tuple[Load, Places]]] = {
    SAME: (ONE, SAME_CORE),
    TWO: (ONE, TWO_CORES),
    ONE_CONNECTION.name: (ONE_CONNECTION, TWO_CORES),
    CONNECTIONS.name: (CONNECTIONS, TWO_CORES),
}
FLOORS: Final = {FDATASYNC: SAME, COMMIT: SAME, GROUP: ONE_CONNECTION.name}
"""The durable floors, and the load they are compared at."""
name = "round-trip"
title = "Round trips and throughput of STATUS and SUBMIT"


def row(contestant: str, operation: str, load: str) -> str:
    """What a row is called."""
    return f"{operation}, {load}{OF}{contestant}"


def takes(contestant: Contestant, load: Load) -> bool:
    """Whether the contestant can have this load."""
    return load is ONE or (contestant.many if load.flight > 1 else contestant.pools)


def wanted(context: Context) -> Iterator[tuple[str, str, str]]:
    """Contestant, operation and load of every row."""
    for who, contestant in CONTESTANTS.items():
        for operation in contestant.operations:
            for label, (load, _) in LOADS.items():
                if context.wants(who) and takes(contestant, load):
                    yield who, operation, label


def steps(context: Context) -> int:
    return (context.rounds + context.scale.warm_up) * (len(list(wanted(context))) + 3)


async def run(context: Context) -> Rounds:
    """All contestants on one stage; the durable floors write where pixwire's journal lies."""
    stage = context.common
    stage.prepare(who for who, *_ in wanted(context))
    runs = dict(_runs(context, stage, context.scale.requests_s))
    warm_up = dict(_runs(context, stage, context.scale.requests_s / 4)) if context.scale.warm_up else None
    return await context.in_turn(runs, warm_up)


def _runs(context: Context, stage: Stage, seconds: float) -> Iterator[tuple[str, Run]]:
    for who, operation, label in wanted(context):
        if stage.has(who):
            load, places = LOADS[label]
            command = {"do": "requests", "operation": operation, "load": load.name, "s": seconds}
            yield (
                row(who, operation, label),
                lambda who=who, places=places, command=command: stage.run(  # type: ignore[misc]
                    who, places, command
                ),
            )
    writes: dict[str, Run] = {
        FDATASYNC: lambda: written(stage.folder, seconds),
        COMMIT: lambda: committed(stage.folder, seconds, 1),
        GROUP: lambda: committed(stage.folder, seconds, GROUP_SIZE),
    }
    for floor, label in FLOORS.items():
        yield row(floor, "submit", label), writes[floor]


# --- the durable floors, on the server's core: what is written is as long as a SUBMIT


def record() -> bytes:
    """What is written for one job."""
    return submit_frame("0" * 32)


def written(folder: Path, seconds: float) -> Figures:
    """Append a record to a file and wait for the disk (fdatasync), one after the other."""
    data = record()
    file = os.open(folder / "floor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def once() -> None:
        os.write(file, data)
        getattr(os, "fdatasync", os.fsync)(file)

    try:
        return repeated(once, seconds, 1)
    finally:
        os.close(file)


def committed(folder: Path, seconds: float, group: int) -> Figures:
    """Insert `group` records and commit them, as durable as the journal does (WAL, synchronous=FULL)."""
    data = record()
    database = sqlite3.connect(folder / f"floor-{group}.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, record BLOB)")

    def once() -> None:
        database.execute("BEGIN")
        database.executemany("INSERT INTO jobs (record) VALUES (?)", [(data,)] * group)
        database.execute("COMMIT")

    try:
        return repeated(once, seconds, group)
    finally:
        database.close()


def repeated(once: Callable[[], None], seconds: float, records: int) -> Figures:
    """Call it for that long, on the server's core; each call makes so many records durable."""
    times: list[float] = []
    with on_core(SAME_CORE.server):
        once()
        cpu, begin = time.thread_time(), time.perf_counter()
        now = 0.0
        while now < begin + seconds:
            start = time.perf_counter()
            once()
            now = time.perf_counter()
            times.append(now - start)
        cpu = time.thread_time() - cpu
    count = len(times) * records
    return {
        "count": float(count),
        "p50_us": percentile(times, 0.5) * 1e6,
        "p99_us": percentile(times, 0.99) * 1e6,
        "per_s": count / (now - begin),
        "server_cpu_us": cpu / count * 1e6,
        "client_cpu_us": 0.0,
    }
