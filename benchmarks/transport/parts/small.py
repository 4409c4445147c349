"""A small request every two milliseconds while images of 16 MiB are fetched back to back.

On the same connection for PXW and gRPC; HTTP/1.1 takes other connections of its pool.
"""

from collections.abc import Iterator

from benchmarks.processes import TWO_CORES
from benchmarks.transport.contestants import CONTESTANTS
from benchmarks.transport.driving import Figures
from benchmarks.transport.parts.fetch import way
from benchmarks.transport.plan import OF, Context, Rounds, Run
from benchmarks.transport.stage import Stage

name = "small"
title = "A small request beside a large fetch"


def row(contestant: str, how: str) -> str:
    """What a row is called."""
    return f"{title}{OF}{contestant}{way(how)}"


def wanted(context: Context) -> Iterator[tuple[str, str]]:
    """Contestant and way of every row."""
    for who, contestant in CONTESTANTS.items():
        for how in contestant.beside:
            if context.wants(who):
                yield who, how


def steps(context: Context) -> int:
    return context.rounds * len(list(wanted(context)))


async def run(context: Context) -> Rounds:
    """Idle and loaded in each run, one after the other."""
    stage = context.common
    stage.prepare(who for who, *_ in wanted(context))
    return await context.in_turn(dict(_runs(context, stage)))


def _runs(context: Context, stage: Stage) -> Iterator[tuple[str, Run]]:
    for who, how in wanted(context):
        yield row(who, how), lambda who=who, how=how: both(context, stage, who, how)  # type: ignore[misc]


def both(context: Context, stage: Stage, who: str, how: str) -> Figures:
    """Without and with the large fetches."""
    scale = context.scale
    command = {"do": "mixed", "how": how, "every": scale.every_s, "s": scale.small_s}
    idle = stage.run(who, TWO_CORES, command | {"size": 0})
    loaded = stage.run(who, TWO_CORES, command | {"size": scale.large})
    return {
        "idle_p50_us": idle["p50_us"],
        "p50_us": loaded["p50_us"],
        "p99_us": loaded["p99_us"],
        "p99_from_due_us": loaded["p99_from_due_us"],
        "p50_over_idle": loaded["p50_us"] / idle["p50_us"],
        "mb_per_s": loaded["mb_per_s"],
    }
