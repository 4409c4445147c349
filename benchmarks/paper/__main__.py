"""REST against gRPC, with small and large payloads, and PXW as a third column.

    python -m benchmarks.paper --json benchmarks/results/paper.json --plots benchmarks/results
    python -m benchmarks.paper --quick

The kind of table in which M. Bolanowski et al. ("Efficiency of REST and gRPC Realizing Communication Tasks in
Microservice-Based Ecosystems", 2022) compare the two. Only the kind is repeated: their programs, machines and figures
are not, and none of them is quoted. Servers and clients are those of `benchmarks.transport`: REST is FastAPI on uvicorn
with JSON, asked by aiohttp; gRPC is grpc.aio with protobuf; PXW is the real server without an engine, and its client.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measure, plots, processes, record
from benchmarks.measure import Summary
from benchmarks.transport.contestants import BASE64, FASTAPI, GRPC, PXW
from benchmarks.transport.driving import CONNECTIONS, ONE, ONE_CONNECTION, Figures
from benchmarks.transport.stage import Setting, Stage

KIB, MIB = 1 << 10, 1 << 20
SIZES = {64 * KIB: "64 KiB", MIB: "1 MiB", 4 * MIB: "4 MiB", 16 * MIB: "16 MiB"}
REST, BINARY = "REST", "REST, image as bytes"


@dataclass(frozen=True, slots=True)
class Column:
    """A way to ask. `how`: of its fetches; `many`: its 64 requests at a time, where it has them best."""

    contestant: str
    how: str
    many: str
    small: bool = True
    """Whether it has small requests of its own."""


COLUMNS: Mapping[str, Column] = {
    REST: Column(FASTAPI, BASE64, CONNECTIONS.name),
    BINARY: Column(FASTAPI, "", CONNECTIONS.name, small=False),
    "gRPC": Column(GRPC, "unary", ONE_CONNECTION.name),
    "gRPC, 256 KiB chunks": Column(GRPC, str(256 * KIB), ONE_CONNECTION.name, small=False),
    "PXW": Column(PXW, "", ONE_CONNECTION.name),
}
ALONE, MANY, STORED = "small, p50_us", "small, per_s", "small stored, per_s"


@dataclass(frozen=True, slots=True)
class Run:
    """One cell of the table: what to ask for, and which figure of the answer is meant."""

    cell: str
    column: str
    command: Mapping[str, object]
    figure: str


def runs(sizes: Sequence[int], seconds: float) -> Iterator[Run]:
    """All cells, the columns in turn."""
    small = ((ALONE, "status", ONE.name, "p50_us"), (MANY, "status", "", "per_s"), (STORED, "submit", "", "per_s"))
    for cell, operation, load, figure in small:
        for name, column in COLUMNS.items():
            if column.small:
                asked = {"do": "requests", "operation": operation, "load": load or column.many, "s": seconds}
                yield Run(cell, name, asked, figure)
    for size in sizes:
        for name, column in COLUMNS.items():
            asked = {"do": "fetches", "size": size, "how": column.how, "s": seconds}
            yield Run(f"{SIZES[size]}, p50_us", name, asked, "p50_us")


def measured(stage: Stage, table: Sequence[Run], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Every cell once per round; of each column a list of rounds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in COLUMNS}
    with record.bar("paper", len(table) * (rounds + 1)) as done:
        for number in range(-1, rounds):  # the first round warms up, and is thrown away
            row: dict[str, dict[str, float]] = {name: {} for name in COLUMNS}
            for run in table:
                figures: Figures = stage.run(COLUMNS[run.column].contestant, processes.TWO_CORES, dict(run.command))
                row[run.column][run.cell] = figures[run.figure]
                done()
            if number >= 0:
                for name in COLUMNS:
                    found[name].append(row[name])
    return found


def over(found: Mapping[str, Sequence[Mapping[str, float]]], floor: str) -> dict[str, dict[str, Summary]]:
    """How much better each column is than `floor`, taken inside each round: times as many, or times as quick."""
    return {
        name: {
            label(cell): Summary.of([_better(cell, a, b) for a, b in zip(rounds, found[floor], strict=True)])
            for cell in rounds[0]
        }
        for name, rounds in found.items()
        if name != floor
    }


def label(cell: str) -> str:
    """A cell's name without its unit: a ratio has none."""
    return cell.removesuffix(", p50_us") + ": time" if cell.endswith("p50_us") else cell.removesuffix("per_s") + "rate"


def _better(cell: str, row: Mapping[str, float], floor: Mapping[str, float]) -> float:
    return row[cell] / floor[cell] if cell.endswith("per_s") else floor[cell] / row[cell]


def show(results: Mapping[str, Mapping[str, Summary]], ratios: Mapping[str, Mapping[str, Summary]]) -> None:
    """The table: a row for each payload, a column for each way."""
    cells = dict.fromkeys(cell for row in results.values() for cell in row)
    record.show(
        "small and large payloads",
        [{"": cell} | {name: row.get(cell, "-") for name, row in results.items()} for cell in cells],
    )
    cells = dict.fromkeys(cell for row in ratios.values() for cell in row)
    record.show(
        f"times better than {REST}",
        [{"": cell} | {name: row.get(cell, "-") for name, row in ratios.items()} for cell in cells],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = record.parse(record.parser(__doc__, rounds=5), arguments, quick_rounds=1)
    sizes = [64 * KIB, MIB] if options.quick else list(SIZES)
    table = list(runs(sizes, seconds=0.1 if options.quick else 0.4))
    setting = Setting(sizes=tuple(sizes))
    with (
        tempfile.TemporaryDirectory(prefix="paper-") as name,
        processes.congestion(),
        Stage(Path(name) / "stage", setting) as stage,
    ):
        found = measured(stage, table, options.rounds)
    results, ratios = measure.summarise(found), over(found, REST)
    show(results, ratios)
    if options.plots:
        large = {SIZES[size]: {name: row[f"{SIZES[size]}, p50_us"] for name, row in results.items()} for size in sizes}
        plots.bars(options.plots, "paper_large", large, title="An image of a size", label="p50, µs", reference=None,
                   logarithmic=True)  # fmt: skip
    record.write(
        options,
        "paper",
        title="REST, gRPC and PXW with small and large payloads",
        results=results,
        ratios={
            f"times better than {REST}, {cell}": {name: row[cell] for name, row in ratios.items() if cell in row}
            for cell in dict.fromkeys(cell for row in ratios.values() for cell in row)
        },
        plots=["paper_large"] if options.plots else [],
        notes=NOTES,
    )


NOTES = [
    "Only the kind of table is that of Bolanowski et al., 2022; their programs, machines and figures are not.",
    "REST: FastAPI on uvicorn (uvloop, httptools), JSON; an image is base64 in JSON, or bytes. The client is aiohttp.",
    "gRPC: grpc.aio, protobuf (upb); an image is one message, or a stream of 256 KiB chunks.",
    "PXW: the real server with its journal and limits, and the asyncio client. The row `small stored` is unfair to it: "
    "it answers when the job is on disk, the peers keep nothing.",
    "64 at a time: REST over 64 connections, gRPC and PXW over one, where each has them best.",
]

if __name__ == "__main__":
    main()
