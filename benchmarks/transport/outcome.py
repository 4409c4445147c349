"""From rows to what is shown and recorded: tables, ratios to the floors, answers, notes."""

from collections.abc import Iterator, Mapping
from typing import Final

from benchmarks.measure import Summary
from benchmarks.record import number
from benchmarks.transport.contestants import (
    AIOHTTP,
    ASGI,
    C_SOCKET,
    CONTESTANTS,
    CORKED,
    DOOR,
    ECHO,
    FASTAPI,
    FDATASYNC,
    GROUP,
    GRPC,
    PXW,
    PY_SOCKET,
    SERVERS,
)
from benchmarks.transport.driving import CONNECTIONS, ONE_CONNECTION
from benchmarks.transport.parts import fetch, round_trip, small
from benchmarks.transport.plan import OF, Rounds
from benchmarks.transport.work import KIB, MIB

Table = dict[str, dict[str, Summary]]
"""Contestant -> figure -> summary."""
MANY, MANY_CONNECTIONS = ONE_CONNECTION.name, CONNECTIONS.name
FLOORS: Final = {
    f"status, {round_trip.SAME}": ("p50_us", (ECHO,)),
    f"status, {round_trip.TWO}": ("p50_us", (ECHO,)),
    f"status, {MANY}": ("per_s", (CORKED,)),
    f"status, {MANY_CONNECTIONS}": ("per_s", (ECHO,)),
    f"submit, {round_trip.SAME}": ("p50_us", (FDATASYNC,)),
    f"submit, {MANY}": ("per_s", (GROUP,)),
    f"fetch of {fetch.size_label(MIB)}": ("mb_per_s", (C_SOCKET, PY_SOCKET)),
    f"fetch of {fetch.size_label(16 * MIB)}": ("mb_per_s", (C_SOCKET, PY_SOCKET)),
}
"""Table -> which of its figures is compared with which of its floors (the first that was measured)."""
NOTES: Final = (
    "Servers run on one core, clients on another (or the same, where it says so), each in a process of its own, over"
    " loopback. Contestants take turns; a figure is the median of the rounds, with their range; a ratio is taken inside"
    " a round.",
    "Peers keep jobs in a dict and images in memory, and do not authenticate, limit or count anything. pixwire is the"
    " real server: SUBMIT is on disk when it is answered, images are files.",
    "Two cores, one request at a time: on virtual machines waking an idle core can cost more than the software. Compare"
    " on one core.",
    "64 requests under way: one connection where the protocol allows it, else 64 connections.",
    "HTTP's small request beside a large fetch takes another connection of the pool; PXW and gRPC use one for both.",
    "Connections and watchers are bare sockets that spoke each protocol as far as the answer; memory is the resident"
    " set of the server alone. Kernel buffers are not in it; nothing of theirs is read or written meanwhile.",
    "The images are incompressible and hot in memory; no network is as fast as loopback.",
)


def tables(rounds: Rounds) -> dict[str, Table]:
    """The rows by table, summarised."""
    found: dict[str, Table] = {}
    for name, figures in rounds.items():
        title, _, contestant = name.partition(OF)
        found.setdefault(title, {})[contestant] = {
            key: Summary.of([one[key] for one in figures]) for key in figures[0] if key != "count"
        }
    return found


def ratios(rounds: Rounds) -> dict[str, dict[str, Summary]]:
    """Each table against its floor."""
    found: dict[str, dict[str, Summary]] = {}
    for title, (key, floors) in FLOORS.items():
        rows = {name.partition(OF)[2]: one for name, one in rounds.items() if name.startswith(f"{title}{OF}")}
        floor = next((one for one in floors if one in rows), None)
        if floor is not None:
            found[f"{title}: over {floor}"] = {
                who: Summary.of([a[key] / b[key] for a, b in zip(row, rows[floor], strict=True)])
                for who, row in rows.items()
            }
    return found


QUESTIONS: Final = (
    ("Round trip of STATUS, same core", f"status, {round_trip.SAME}", "p50_us", "µs", False),
    ("STATUS per second, 64 under way", "", "per_s", "/s", True),
    ("CPU of the server for one STATUS, 64 under way", "", "server_cpu_us", "µs", False),
    ("Fetch of 64 KiB", f"fetch of {fetch.size_label(64 * KIB)}", "mb_per_s", "MB/s", True),
    ("Fetch of 1 MiB", f"fetch of {fetch.size_label(MIB)}", "mb_per_s", "MB/s", True),
    ("Fetch of 16 MiB", f"fetch of {fetch.size_label(16 * MIB)}", "mb_per_s", "MB/s", True),
    ("STATUS beside 16 MiB fetches, p99", small.title, "p99_us", "µs", False),
    ("Memory for each watcher", "Watchers, and one that does not read", "bytes_per_watcher", "bytes", False),
)
PEERS: Final = {"FastAPI": (FASTAPI,), "best HTTP": (FASTAPI, ASGI, AIOHTTP), "HTTP door": (DOOR,), "gRPC": (GRPC,)}


def why(found: Mapping[str, Table]) -> list[dict[str, str]]:
    """Question by question: pixwire's asyncio client, the peers at their best, and how many times better pixwire is
    than the best HTTP server in Python.
    """
    rows = []
    for question, title, key, unit, more_is_better in QUESTIONS:
        choose = max if more_is_better else min
        table = found.get(title) if title else under_way(found)
        if not table or PXW not in table:
            continue
        values = {"pixwire": table[PXW][key].median}
        for name, who in PEERS.items():
            own = [row[key].median for label, row in table.items() if plain(label) in who]
            if own:
                values[name] = choose(own)
        row = {"question": question} | {name: f"{number(value)} {unit}" for name, value in values.items()}
        http = values.get("best HTTP")
        if http:
            ratio = values["pixwire"] / http if more_is_better else http / values["pixwire"]
            row["pixwire against the best HTTP"] = f"{ratio:.2g}x"
        rows.append(row)
    return rows


def plain(label: str) -> str:
    """The contestant of a row whose label may name a way to fetch as well."""
    return max((who for who in CONTESTANTS if label == who or label.startswith(f"{who}, ")), key=len, default=label)


def under_way(found: Mapping[str, Table]) -> Table:
    """64 requests under way: each contestant's better way to have them."""
    both: Table = {}
    for title in (f"status, {MANY_CONNECTIONS}", f"status, {MANY}"):
        for who, row in found.get(title, {}).items():
            if who not in both or row["per_s"].median > both[who]["per_s"].median:
                both[who] = row
    return both


def contestants() -> Iterator[str]:
    """What each is, in sentences."""
    for name, contestant in CONTESTANTS.items():
        yield f"{name}: {contestant.what}; server: {SERVERS[contestant.server].what}."
