"""What every benchmark needs: rounds in turn, medians with their spread, targets, and a record of the machine.

Beside it: `processes` (children on a core, their CPU time and memory), `load` (requests at random times), `plots`, and
`record` (the options all have, the JSON that all write).
"""

import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

PACKAGES = ("pixwire", "pixwire-server", "uvloop", "msgpack", "torch", "diffusers")
PEERS = (
    "aiohttp", "fastapi", "grpcio", "hdrhistogram", "httpx", "httptools", "litserve", "mosec", "protobuf", "starlette",
    "uvicorn",
)  # fmt: skip
"""Named in a record where they are installed."""
MEASURED_UNDER: dict[str, Any] = {}
"""What this run has set for itself; goes into the record of the machine."""
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True)
class Summary:
    """The median of a figure over the rounds, and the range it moved in."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        return cls(statistics.median(values), min(values), max(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach. `source` says who set the limit; `unit` is "x" for a ratio."""

    name: str
    op: Literal["<=", ">="]
    limit: float
    source: str
    unit: str = "x"

    def met(self, measured: Summary) -> bool:
        """Whether the median keeps the limit."""
        return measured.median <= self.limit if self.op == "<=" else measured.median >= self.limit

    def record(self, measured: Summary | None) -> dict[str, Any]:
        """For the JSON. None: not measured in this run, which is neither met nor missed."""
        met = None if measured is None else self.met(measured)
        return asdict(self) | {"measured": None if measured is None else asdict(measured), "met": met}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def in_turn(
    rounds: int, contestants: Mapping[str, Callable[[], Awaitable[dict[str, float]]]], progress: Callable[[], None]
) -> dict[str, list[dict[str, float]]]:
    """Let every contestant run once per round (A B C, A B C, ...).

    So whatever else the machine does falls on all alike.
    """
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            results[name].append(await run())
            progress()
    return results


def summarise(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Summary]]:
    return {name: {key: Summary.of([r[key] for r in rounds]) for key in rounds[0]} for name, rounds in results.items()}


def ratios(results: dict[str, list[dict[str, float]]], key: str, floor: str) -> dict[str, Summary]:
    """`key` of each contestant over the floor's, taken inside each round before the median."""
    return {
        name: Summary.of([a[key] / b[key] for a, b in zip(rounds, results[floor], strict=True)])
        for name, rounds in results.items()
    }


def plain(table: dict[str, dict[str, Summary]]) -> dict[str, Any]:
    return {name: {key: asdict(value) for key, value in row.items()} for name, row in table.items()}


def machine() -> dict[str, Any]:
    """What a reader must know to judge the figures."""
    versions: dict[str, str | None] = {}
    for package in (*PACKAGES, *PEERS):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package in PACKAGES:
                versions[package] = None
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "congestion_control": congestion_control(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "versions": versions,
        **MEASURED_UNDER,
    }


def congestion_control() -> str | None:
    """What new TCP connections of this system use, or None where it does not say."""
    try:
        return CONGESTION.read_text().strip()
    except OSError:
        return None


def pin(core: int) -> None:
    """Keep this process on one core where the system lets us; on a machine with one core it changes nothing."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})
