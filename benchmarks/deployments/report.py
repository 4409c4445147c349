"""The figures of the deployments as tables, plots and rows of a record."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import plots, record
from benchmarks.measure import Summary

from .outcomes import PARTS, Kind
from .verdicts import DIRECT, JOBS, PXW, Figures, Judged, behaviour

PLOTS = ["deployments_overhead", "deployments_load"]
NOTES = [
    "The broker is a stand-in, a durable queue in SQLite with one worker, until pixwire joins machines by a "
    "real one: its guarantees are those of such a queue, its speed says nothing about NATS, RabbitMQ or Kafka.",
    "In process: the plain diffusers pipeline in a thread of the application. Embedded: pixwire.embedded(), a "
    "child process. Broker and in process compute with plain diffusers, the others with pixwire's engine.",
    "The split: the server's own moments of acceptance, start and end, laid beside the client's call and "
    "return on the clock that all processes of a machine share. The disk is in `queue`. Embedded is not split: "
    "its server is started by the client library.",
    "Under load everybody has the same patience (12 images' time), told to PXW and HTTP jobs as a deadline, "
    "kept by the client of direct HTTP (it hangs up) and of in process (it leaves the queue), unknown to the "
    "broker, which has to process every message. With another patience the counts are others.",
    "kill -9 of all processes of the service (broker: broker and worker; inside: the application), started "
    "again at once. Lost: under way at the kill, and nobody knows it any more. An application that repeats the "
    "request by itself gets its image: the count is of how many it would have to. Unreachable: sent while "
    "there was nobody.",
    "Lines of code are a poor measure of effort; they are the only one at hand.",
    "One core computes: the time of computing hides most of what the ways to it differ in. Read the parts, not "
    "the sum.",
]
COUNTS = ("done", "late", "refused", "expired", "failed", "lost", "unreachable", "wrong")
assert set(COUNTS) == set(map(str, Kind))


def split_rows(figures: Figures) -> list[dict[str, object]]:
    """A row for each deployment: milliseconds without load."""
    return [
        {"deployment": name} | {f"{part}, ms": row.get(part, "-") for part in (*PARTS, "outside", "total")}
        for name, row in figures.split.items()
    ]


def load_rows(figures: Figures) -> list[dict[str, object]]:
    """A row for each deployment and load: medians of the rounds."""
    rows: list[dict[str, object]] = []
    for name, loads in figures.load.items():
        for load, row in loads.items():
            told: dict[str, object] = {"deployment": name, "load": load, "asked": round(row["asked"].median)}
            told |= {kind: row[kind].median for kind in COUNTS}
            told |= {
                "in time /s": row["in_time_per_s"],
                "p50, ms": row["p50_ms"].median,
                "p95, ms": row["p95_ms"].median,
            }
            rows.append(told)
    return rows


def kill_rows(figures: Figures) -> list[dict[str, object]]:
    """A row for each deployment that was killed."""
    return [
        {"deployment": name, "asked": row["asked"]} | {kind: row[kind] for kind in COUNTS}
        for name, row in figures.killed.items()
    ]


def results(figures: Figures) -> dict[str, dict[str, Summary]]:
    """A row for each deployment, for the record: the split, and the rate of images in time at each load."""
    found: dict[str, dict[str, Summary]] = {}
    for name, row in figures.split.items():
        found[name] = {f"{part}_ms": value for part, value in row.items()}
        for load, under in figures.load.get(name, {}).items():
            found[name][f"in_time_per_s_at_{load}"] = under["in_time_per_s"]
    return found


def show(figures: Figures, claims: Sequence[Judged], capacity: float, patience: float) -> None:
    """All tables, on standard output."""
    said = f"capacity: {capacity:.2f} images/s of the plain pipeline; nobody waits longer than {patience:.2f} s"
    record.show("without load: medians (lowest-highest) of the rounds", split_rows(figures))
    record.show(f"under load; {said}", load_rows(figures))
    words: Mapping[str, object] = {name: behaviour(loads) for name, loads in figures.load.items() if "3x" in loads}
    record.show(
        "what that is", [{"deployment": name, "under three times the load": told} for name, told in words.items()]
    )
    record.show("kill -9 in the middle of a trace, started again at once; nobody loses patience", kill_rows(figures))
    record.show(
        "the study's claims", [{"claim": one.claim, "": str(one.verdict), "because": one.because} for one in claims]
    )


def why(figures: Figures) -> list[dict[str, str]]:
    """Two questions for the table "why not HTTP?": pixwire over PXW, and the better of the two ways over HTTP."""
    rows = []
    ways = [figures.split[name]["outside"].median for name in (DIRECT, JOBS) if name in figures.split]
    if PXW in figures.split and ways:
        ours, best = figures.split[PXW]["outside"].median, min(ways)
        row = {"question": "transport and delivery of one small image", "pixwire": f"{ours:.3g} ms"}
        rows.append(row | {"best HTTP": f"{best:.3g} ms", "pixwire against the best HTTP": f"{best / ours:.2g}x"})
    if PXW in figures.killed and DIRECT in figures.killed:
        row = {"question": "requests under way that are lost by kill -9 (HTTP: the blocking request)"}
        lost = {name: figures.killed[of]["lost"] for name, of in (("pixwire", PXW), ("best HTTP", DIRECT))}
        rows.append(row | {name: f"{count:.0f}" for name, count in lost.items()})
    return rows


def plot(figures: Figures, folder: Path) -> None:
    """The way around the computing, and what is in time at each load."""
    outside = {name: row["outside"] for name, row in figures.split.items() if "outside" in row}
    plots.bars(folder, "deployments_overhead", {"": outside}, title="Transport and delivery of one image",
               label="ms, without load", reference=None)  # fmt: skip
    series = {
        name: [(float(load.removesuffix("x")), row["in_time_per_s"]) for load, row in loads.items()]
        for name, loads in figures.load.items()
    }
    labels = ("load, times the capacity", "images in time per second")
    plots.lines(folder, "deployments_load", series, title="Under load", labels=labels, log_x=True)
