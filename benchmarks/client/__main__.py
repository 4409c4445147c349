"""What the client library costs: over bare frames on the same socket, and beside grpc.aio, httpx and aiohttp.

    python -m benchmarks.client                  # two minutes
    python -m benchmarks.client --quick          # ten seconds
    python -m benchmarks.client --json FILE --plots DIR

Each client is a process of its own and asks the same of a server that does the same (those of `benchmarks.transport`):
one STATUS at a time with server and client on one core, 64 under way, images of 1 MiB. What counts is the CPU time of
the client's process, in which the server has no part. Imports and idle connections are measured in fresh processes.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import measure, plots, processes, record
from benchmarks.client import imports
from benchmarks.client.compared import BARE, COMPARED, Compared
from benchmarks.measure import Summary
from benchmarks.transport.driving import CONNECTIONS, GIB, ONE, ONE_CONNECTION, Figures
from benchmarks.transport.stage import Driver, Setting, Stage

MIB: Final = 1 << 20
ROUNDS: Final = 7
ONE_STATUS, MANY, IMAGES = "one STATUS at a time, same core", "64 STATUS under way", "images of 1 MiB"
IMPORTING, IDLE = "import, a fresh interpreter", "memory of an idle connection"
Rounds = dict[str, list[Figures]]
Table = dict[str, dict[str, Summary]]


class BareDriver(Driver):
    """The driver of the bare blocking frames."""

    def __init__(self, addresses: Sequence[str]) -> None:
        place = json.dumps({"addresses": list(addresses), "cafile": ""})
        command = [sys.executable, "-m", "benchmarks.client.bare", place]
        self._kind = "bare"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._listen()


class Contest:
    """All clients and their servers, while they are compared."""

    def __init__(self, stage: Stage, seconds: float, connections: int) -> None:
        self._stage, self._seconds, self._connections = stage, seconds, connections
        self._bare: BareDriver | None = None

    def close(self) -> None:
        if self._bare is not None:
            self._bare.__exit__(None, None, None)

    def _ask(self, one: Compared, places: processes.Places, command: dict[str, Any]) -> Figures:
        if one.kind != "bare":
            return self._stage.run(one.contestant, places, command)
        server = self._stage.server("pxw")
        if self._bare is None:
            self._bare = BareDriver(server.addresses)
        self._bare.move(places.client)
        return self._bare.ask(command | {"pids": server.pids})

    def one_status(self, one: Compared) -> Figures:
        command = {"do": "requests", "operation": "status", "load": ONE.name, "s": self._seconds}
        return self._ask(one, processes.SAME_CORE, command)

    def many(self, one: Compared) -> Figures:
        load = ONE_CONNECTION if one.multiplexes else CONNECTIONS
        command = {"do": "requests", "operation": "status", "load": load.name, "s": self._seconds}
        return self._ask(one, processes.TWO_CORES, command)

    def images(self, one: Compared) -> Figures:
        command = {"do": "fetches", "size": MIB, "how": one.fetch, "s": self._seconds}
        found = self._ask(one, processes.TWO_CORES, command)
        return {
            "client_cpu_ms": found["client_cpu_s_per_gib"] * MIB / GIB * 1000,
            "mb_per_s": found["mb_per_s"],
        }

    def idle(self, one: Compared) -> Figures:
        """In a process that has nothing else to do."""
        place = {"addresses": self._stage.server(one.server).addresses, "cafile": ""}
        words = [sys.executable, "-m", "benchmarks.client.idle", one.kind, json.dumps(place), str(self._connections)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=180)
        found: Figures = json.loads(done.stdout)
        return {"idle_kib": found["bytes"] / 1024, "connections": found["connections"]}


def runs(contest: Contest) -> dict[str, Callable[[], Figures]]:
    """Every row of every table, by table and name."""
    parts: dict[str, tuple[Callable[[Compared], Figures], Callable[[Compared], bool]]] = {
        ONE_STATUS: (contest.one_status, lambda one: one.asks),
        MANY: (contest.many, lambda one: one.many),
        IMAGES: (contest.images, lambda one: one.fetch is not None),
        IDLE: (contest.idle, lambda one: one.idles),
    }
    found: dict[str, Callable[[], Figures]] = {}
    for title, (run, takes) in parts.items():
        for one in filter(takes, COMPARED):
            found[f"{title}|{one.name}"] = lambda run=run, one=one: run(one)  # type: ignore[misc]
    for name, code in imports.IMPORTS.items():
        found[f"{IMPORTING}|{name}"] = lambda code=code: imports.interpreter(code)  # type: ignore[misc]
    return found


def tables(rounds: Rounds) -> dict[str, Table]:
    """By title: client -> figure -> summary."""
    found: dict[str, Table] = {}
    for key, row in measure.summarise(rounds).items():
        title, _, name = key.partition("|")
        found.setdefault(title, {})[name] = {figure: value for figure, value in row.items() if figure != "count"}
    return found


def ratios(rounds: Rounds) -> Table:
    """Each table's main figure over its floor, inside each round."""
    found: Table = {}
    for title, figure, floors, label in (
        (ONE_STATUS, "p50_us", BARE, "round trip over bare frames"),
        (ONE_STATUS, "client_cpu_us", BARE, "client CPU of a STATUS over bare frames"),
        (MANY, "client_cpu_us", dict.fromkeys(BARE, "bare frames, asyncio"), "client CPU, 64 under way, over bare"),
        (IMAGES, "client_cpu_ms", dict.fromkeys(BARE, "bare frames, blocking"), "client CPU of an image over bare"),
        (IMPORTING, "cpu_ms", {}, "CPU of an import over bare Python"),
    ):
        group = {key.partition("|")[2]: row for key, row in rounds.items() if key.startswith(f"{title}|")}
        row = {}
        for name in group:
            floor = imports.BARE if title == IMPORTING else floors[name]
            if name != floor:
                row[name] = measure.ratios({name: group[name], floor: group[floor]}, figure, floor)[name]
        found[label] = row
    return found


def draw(folder: Path, found: dict[str, Table]) -> list[str]:
    """Bars of CPU time; their names."""
    for name, table, figure, title, label in (
        ("client_status", ONE_STATUS, "client_cpu_us", "A STATUS, one at a time", "CPU of the client's process, µs"),
        ("client_image", IMAGES, "client_cpu_ms", "An image of 1 MiB", "CPU of the client's process, ms"),
        ("client_import", IMPORTING, "cpu_ms", "Start Python and import", "CPU, ms"),
    ):
        row = {who: figures[figure] for who, figures in found[table].items()}
        plots.bars(folder, name, {"": row}, title=title, label=label, reference=None)
    return ["client_status", "client_image", "client_import"]


async def measured(contest: Contest, rounds: int, *, warm_up: bool) -> Rounds:
    """All rows in turn; the first round is thrown away, unless time is short."""
    every = runs(contest)

    def waited(run: Callable[[], Figures]) -> Callable[[], Awaitable[Figures]]:
        async def wait() -> Figures:
            return run()

        return wait

    contestants = {name: waited(run) for name, run in every.items()}
    with record.bar("client", len(every) * (rounds + warm_up)) as done:
        if warm_up:
            await measure.in_turn(1, contestants, done)
        return await measure.in_turn(rounds, contestants, done)


def main(options: argparse.Namespace) -> None:
    seconds, connections = (0.05, 20) if options.quick else (0.5, 200)
    with (
        tempfile.TemporaryDirectory() as name,
        processes.congestion("cubic"),
        Stage(Path(name) / "stage", Setting(sizes=(MIB,))) as stage,
        contextlib.closing(Contest(stage, seconds, connections)) as contest,
    ):
        rounds = asyncio.run(measured(contest, options.rounds, warm_up=not options.quick))
    found = tables(rounds)
    for title, table in found.items():
        record.show(title, [{"": who, **row} for who, row in table.items()])
    drawn = draw(options.plots, found) if options.plots is not None else []
    more: dict[str, Any] = dict(found)
    record.write(
        options,
        "client",
        results={},
        ratios=ratios(rounds),
        plots=drawn,
        notes=[one.what for one in COMPARED],
        settings={"seconds": seconds, "idle connections": connections},
        **more,
    )


if __name__ == "__main__":
    main(record.parse(record.parser(__doc__, ROUNDS), quick_rounds=1))
