"""Images of 64 KiB to 16 MiB, one after the other: MB/s, and CPU seconds for each GiB on both sides."""

from collections.abc import Iterator

from benchmarks.processes import TWO_CORES
from benchmarks.transport.contestants import BASE64, CONTESTANTS
from benchmarks.transport.plan import OF, Context, Rounds, Run
from benchmarks.transport.stage import Stage
from benchmarks.transport.work import KIB, MIB

name = "fetch"
title = "Fetching an image"


def size_label(size: int) -> str:
    """256 KiB, 4 MiB."""
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def way(how: str) -> str:
    """How a way to fetch is called beside its contestant."""
    if how.isdecimal():
        return f", chunks of {size_label(int(how))}"
    return {"": "", BASE64: ", base64 in JSON"}.get(how, f", {how}")


def row(contestant: str, how: str, size: int) -> str:
    """What a row is called."""
    return f"fetch of {size_label(size)}{OF}{contestant}{way(how)}"


def wanted(context: Context) -> Iterator[tuple[str, str, int]]:
    """Contestant, way and size of every row."""
    for size in context.scale.sizes:
        for who, contestant in CONTESTANTS.items():
            for how in contestant.fetches:
                if context.wants(who) and not (how.isdecimal() and int(how) > max(size, 64 * KIB)):
                    yield who, how, size


def steps(context: Context) -> int:
    return (context.rounds + context.scale.warm_up) * len(list(wanted(context)))


async def run(context: Context) -> Rounds:
    """All contestants on one stage."""
    stage = context.common
    stage.prepare(who for who, *_ in wanted(context))
    runs = dict(_runs(context, stage, context.scale.fetches_s))
    warm_up = dict(_runs(context, stage, context.scale.fetches_s / 4)) if context.scale.warm_up else None
    return await context.in_turn(runs, warm_up)


def _runs(context: Context, stage: Stage, seconds: float) -> Iterator[tuple[str, Run]]:
    for who, how, size in wanted(context):
        if stage.has(who):
            command = {"do": "fetches", "size": size, "how": how, "s": seconds}
            yield row(who, how, size), lambda who=who, command=command: stage.run(who, TWO_CORES, command)  # type: ignore[misc]
