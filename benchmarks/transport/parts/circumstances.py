"""STATUS under other circumstances: beside torch, over TLS, over a Unix socket."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks import processes
from benchmarks.transport.contestants import (
    AIOHTTP,
    CONTESTANTS,
    CORKED,
    DOOR,
    ECHO,
    FASTAPI,
    GRPC,
    PXW,
    SERVERS_PACKAGE,
    THREADS,
)
from benchmarks.transport.driving import CONNECTIONS, ONE_CONNECTION
from benchmarks.transport.parts.fetch import size_label, way
from benchmarks.transport.parts.round_trip import LOADS, SAME, takes
from benchmarks.transport.plan import OF, Context, Rounds, Run
from benchmarks.transport.stage import Setting, Stage
from benchmarks.transport.work import KIB, MIB

WHO: Final = (ECHO, CORKED, PXW, THREADS, DOOR, FASTAPI, AIOHTTP, GRPC)
BRIEF: Final = (ECHO, PXW, FASTAPI)
FETCHED: Final = {GRPC: str(256 * KIB)}
"""The way to fetch of those who have several."""
TORCH_PROCESS, TORCH_THREAD, TLS, UNIX = "torch process", "torch thread", "TLS", "Unix socket"
name = "circumstances"
title = "Beside torch, over TLS, over a Unix socket"


@dataclass(frozen=True, slots=True)
class Circumstance:
    """One of them. `busy`: a process that multiplies matrices on the server's core; `images`: one is fetched, too."""

    torch: bool = False
    busy: bool = False
    tls: bool = False
    unix: bool = False
    images: bool = False


CIRCUMSTANCES: Final = {
    TORCH_PROCESS: Circumstance(busy=True),
    TORCH_THREAD: Circumstance(torch=True),
    TLS: Circumstance(tls=True, images=True),
    UNIX: Circumstance(unix=True, images=True),
}


def row(circumstance: str, contestant: str, load: str) -> str:
    """What a row is called."""
    return f"{circumstance}, {load}{OF}{contestant}"


def wanted(context: Context) -> list[str]:
    """Who takes part."""
    return [who for who in (BRIEF if context.scale.brief else WHO) if context.wants(who)]


def steps(context: Context) -> int:
    return context.rounds * len(CIRCUMSTANCES) * 2 * len(wanted(context))


async def run(context: Context) -> Rounds:
    """One circumstance after the other, its contestants in turn: a stage of its own for each."""
    results: Rounds = {}
    for label, circumstance in CIRCUMSTANCES.items():
        if circumstance.tls and context.pair is None:
            continue
        pair = context.pair() if circumstance.tls and context.pair is not None else None
        sizes = (MIB,) if circumstance.images else ()
        setting = Setting(sizes, tls=pair, unix=circumstance.unix, torch=circumstance.torch)
        with context.stage(f"{name}-{len(results)}", setting) as stage, beside(circumstance.busy):
            stage.prepare(wanted(context))
            results |= await context.in_turn(dict(_runs(context, stage, label, circumstance)))
    return results


@contextlib.contextmanager
def beside(busy: bool) -> Iterator[None]:
    """The process on the server's core, or nothing."""
    if not busy:
        yield
        return
    with processes.child(f"{SERVERS_PACKAGE}.busy", core=processes.SAME_CORE.server, ready="ready "):
        yield


def _runs(context: Context, stage: Stage, label: str, circumstance: Circumstance) -> Iterator[tuple[str, Run]]:
    for who in filter(stage.has, wanted(context)):
        contestant = CONTESTANTS[who]
        many = ONE_CONNECTION if takes(contestant, ONE_CONNECTION) else CONNECTIONS
        for load_label in (SAME, many.name):
            load, places = LOADS[load_label]
            command = {"do": "requests", "operation": "status", "load": load.name, "s": context.scale.requests_s}
            yield row(label, who, load_label), _run(stage, who, places, command)
        if circumstance.images and contestant.fetches:
            how = FETCHED.get(who, "")
            command = {"do": "fetches", "size": MIB, "how": how, "s": context.scale.fetches_s}
            yield (
                row(label, who, f"fetch of {size_label(MIB)}{way(how)}"),
                _run(stage, who, processes.TWO_CORES, command),
            )


def _run(stage: Stage, who: str, places: processes.Places, command: dict[str, object]) -> Run:
    return lambda: stage.run(who, places, dict(command))
