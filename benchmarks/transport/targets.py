"""The targets, and how each is taken out of the rows: inside every round first, then the median."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.measure import Summary, Target
from benchmarks.transport.contestants import (
    ASGI,
    BASE64,
    C_SOCKET,
    CHUNKS,
    CORKED,
    DOOR,
    ECHO,
    FASTAPI,
    FDATASYNC,
    FRAMES,
    GROUP,
    GRPC,
    HTTP_PEERS,
    LITSERVE,
    PXW,
    PY_SOCKET,
)
from benchmarks.transport.driving import CONNECTIONS, ONE_CONNECTION
from benchmarks.transport.parts import fetch, round_trip, small
from benchmarks.transport.parts.round_trip import SAME
from benchmarks.transport.plan import Rounds
from benchmarks.transport.work import MIB

SOURCE: Final = "benchmarks/README.md, transport: set before the first measurement, from prototypes"
MANY, MANY_CONNECTIONS = ONE_CONNECTION.name, CONNECTIONS.name
LARGE: Final = (MIB, 4 * MIB, 16 * MIB)


@dataclass(frozen=True, slots=True)
class Goal:
    """A target and the rows it is made of: `key` of `row` over the largest of the same of `over` (none: by itself),
    times `scale`. `over` may hold several alternatives; of each, the first row that was measured counts.
    """

    target: Target
    row: str
    key: str
    over: tuple[tuple[str, ...], ...] = ()
    scale: float = 1.0

    def measured(self, rounds: Rounds) -> Summary | None:
        """None when a row is missing."""
        ours = rounds.get(self.row)
        found = [next((rounds[row] for row in rows if row in rounds), None) for rows in self.over]
        others = [row for row in found if row is not None]
        if ours is None or len(others) < len(self.over):
            return None
        values = [own[self.key] * self.scale for own in ours]
        for number in range(len(values) if others else 0):
            values[number] /= max(row[number][self.key] for row in others)
        return Summary.of(values)


def target(name: str, op: Literal["<=", ">="], limit: float, unit: str = "x") -> Target:
    return Target(name, op, limit, SOURCE, unit)


def status(contestant: str, load: str) -> str:
    return round_trip.row(contestant, "status", load)


def submit(contestant: str, load: str) -> str:
    return round_trip.row(contestant, "submit", load)


def one(*rows: str) -> tuple[tuple[str, ...], ...]:
    """Each of these must be there."""
    return tuple((row,) for row in rows)


def best(peers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """64 requests under way at these peers, on connections of their own."""
    return one(*(status(peer, MANY_CONNECTIONS) for peer in peers))


def goals() -> Iterator[Goal]:
    """All of them, in the order of the parts."""
    yield from round_trip_goals()
    for size in LARGE:
        yield from fetch_goals(size)
    beside = small.row(PXW, "")
    yield Goal(target("STATUS beside 16 MiB fetches on its connection, p50 / idle", "<=", 1.5), beside, "p50_over_idle")
    yield Goal(target("STATUS beside 16 MiB fetches, p99", "<=", 2.0, "ms"), beside, "p99_us", scale=1e-3)


def round_trip_goals() -> Iterator[Goal]:
    """STATUS with pixwire's client, and once more without it; SUBMIT against what a disk costs."""
    for who, note in ((PXW, "asyncio client"), (FRAMES, "raw frames")):
        yield Goal(
            target(f"STATUS, {note}, p50 / uvloop echo (same core)", "<=", 1.4),
            status(who, SAME),
            "p50_us",
            one(status(ECHO, SAME)),
        )
        yield Goal(
            target(f"STATUS, {note}, 64 on one connection / corked echo", ">=", 0.45),
            status(who, MANY),
            "per_s",
            one(status(CORKED, MANY)),
        )
    ours = status(PXW, MANY)
    yield Goal(target("STATUS, 64 under way / FastAPI", ">=", 10), ours, "per_s", best([FASTAPI]))
    grpc = one(status(GRPC, MANY), status(GRPC, MANY_CONNECTIONS))
    yield Goal(target("STATUS, 64 under way / gRPC (the better of 1 and 64 connections)", ">=", 8), ours, "per_s", grpc)
    http = best((*HTTP_PEERS, DOOR))
    yield Goal(target("STATUS, 64 under way / the best HTTP server in Python", ">=", 4), ours, "per_s", http)
    yield Goal(target("STATUS, 64 under way / LitServe", ">=", 50), ours, "per_s", best([LITSERVE]))
    yield Goal(
        target("SUBMIT (durable), p50 / bare fdatasync", "<=", 1.6),
        submit(PXW, SAME),
        "p50_us",
        one(submit(FDATASYNC, SAME)),
    )
    yield Goal(
        target("SUBMIT (durable), 64 under way / bare SQLite commits of 64", ">=", 0.3),
        submit(PXW, MANY),
        "per_s",
        one(submit(GROUP, MANY)),
    )


def fetch_goals(size: int) -> Iterator[Goal]:
    """One size of image."""
    label, ours = fetch.size_label(size), fetch.row(PXW, "", size)
    floor = ((fetch.row(C_SOCKET, "", size), fetch.row(PY_SOCKET, "", size)),)
    grpc = one(*(fetch.row(GRPC, how, size) for how in ("unary", *(str(chunk) for chunk in CHUNKS if chunk <= size))))
    http = one(*(fetch.row(peer, "", size) for peer in HTTP_PEERS))
    base64 = one(*(fetch.row(peer, BASE64, size) for peer in (FASTAPI, ASGI)))
    for name, limit, over in (
        ("a C socket (blocking Python where there is no compiler)", 0.5, floor),
        ("HTTP binary, the best of FastAPI, ASGI and aiohttp", 2.0, http),
        ("gRPC at its best", 2.5, grpc),
        ("base64 in JSON, the better of FastAPI and ASGI", 15.0, base64),
    ):
        yield Goal(target(f"fetch of {label}, MB/s / {name}", ">=", limit), ours, "mb_per_s", over)


def measured(rounds: Rounds) -> list[tuple[Target, Summary | None]]:
    """Every target with what this run says to it."""
    return [(goal.target, goal.measured(rounds)) for goal in goals()]
