"""Many connections at once, each time to a fresh server: a thousand that watch and one that does not read; ten thousand
that only stay.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.processes import TWO_CORES
from benchmarks.transport.contestants import AIOHTTP, CONTESTANTS, DOOR, FASTAPI, GRPC, PXW
from benchmarks.transport.driving import ONE, Figures
from benchmarks.transport.plan import OF, Context, Rounds, Run
from benchmarks.transport.stage import Driver, Setting, Stage

CROWDS: Final = {PXW: "pxw", DOOR: "http", GRPC: "grpc", AIOHTTP: "http", FASTAPI: "http"}
"""Who has them, and what bare sockets have to speak."""
BRIEF: Final = (PXW, GRPC, FASTAPI)
"""One for each of these, for a short run: starting the servers is most of it."""
SETTLE_S: Final = 0.2
"""For a server to do what it does after the last answer, before its memory is read."""


class Crowds(ABC):
    """One of the two parts: what is done with the crowd differs."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title

    def steps(self, context: Context) -> int:
        return context.scale.fresh_rounds * len(list(self._wanted(context)))

    async def run(self, context: Context) -> Rounds:
        """Every contestant once per round, its server fresh."""
        results: Rounds = {}
        for number in range(context.scale.fresh_rounds):
            for who in self._wanted(context):
                place = f"{self.name}-{number}-{CONTESTANTS[who].server}-{CONTESTANTS[who].address}"
                with context.stage(place, Setting((context.scale.large,))) as stage:
                    results.setdefault(f"{self.title}{OF}{who}", []).append(await self.once(context, stage, who))
                context.step()
        return results

    @abstractmethod
    async def once(self, context: Context, stage: Stage, who: str) -> Figures:
        """One contestant, one fresh server."""

    def _wanted(self, context: Context) -> Iterator[str]:
        return (who for who in (BRIEF if context.scale.brief else CROWDS) if context.wants(who))


class Watchers(Crowds):
    """Latency of one more client before, beside a thousand watchers, and beside one more that reads nothing."""

    async def once(self, context: Context, stage: Stage, who: str) -> Figures:
        small = requests(context, stage, who)
        before = small()
        crowd = gather(stage, who)
        resident = await memory(stage, who)
        tell(crowd, "watch", context.scale.watchers)
        grown = await memory(stage, who) - resident
        watched = small()
        crowd.ask({"do": "stall", "size": context.scale.large})
        stalled = small()
        stall_grown = await memory(stage, who) - resident - grown
        return {
            "bytes_per_watcher": grown / context.scale.watchers,
            "stalled_bytes": stall_grown,
            "idle_p50_us": before["p50_us"],
            "watched_p50_us": watched["p50_us"],
            "stalled_p50_us": stalled["p50_us"],
            "stalled_p99_us": stalled["p99_us"],
            "p50_over_idle": stalled["p50_us"] / before["p50_us"],
        }


class Connections(Crowds):
    """Memory of the server for each connection that has made one request and stays."""

    async def once(self, context: Context, stage: Stage, who: str) -> Figures:
        requests(context, stage, who)()
        crowd = gather(stage, who)
        resident, found = await memory(stage, who), {}
        for count in context.scale.connections:
            begin = time.perf_counter()
            reached = tell(crowd, "status", count)
            found["opened_per_s"] = reached / (time.perf_counter() - begin)
            found["connections"] = reached
            found[f"bytes_each_at_{count}"] = (await memory(stage, who) - resident) / reached
        return found


def requests(context: Context, stage: Stage, who: str) -> Run:
    """STATUS of one more client, one at a time."""
    command = {"do": "requests", "operation": "status", "load": ONE.name, "s": context.scale.requests_s}
    return lambda: stage.run(who, TWO_CORES, command)


def gather(stage: Stage, who: str) -> Driver:
    """The process that the crowd is in."""
    crowd = stage.another(f"crowd-{CROWDS[who]}", stage.addresses(CONTESTANTS[who]))
    crowd.move(TWO_CORES.client)
    return crowd


def tell(crowd: Driver, what: str, count: int) -> float:
    """Have so many connections; how many there are. Raises RuntimeError for less than half: that would not be them."""
    found: dict[str, Any] = crowd.ask({"do": what, "count": count})
    if found["connections"] < count / 2:
        raise RuntimeError(
            f"only {found['connections']:.0f} of {count} connections came about (errno {found['errno']})"
        )
    return float(found["connections"])


async def memory(stage: Stage, who: str) -> float:
    """Resident bytes of the server, a moment after what was last done to it."""
    await asyncio.sleep(SETTLE_S)
    return float(stage.server(CONTESTANTS[who].server).child.resident_bytes())


watchers = Watchers("watchers", "Watchers, and one that does not read")
connections = Connections("connections", "Memory of idle connections")
