"""The figures of the deployments as tables, plots and rows of a record."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import plots, record
from benchmarks.measure import Summary

from .outcomes import PARTS, Kind
from .verdicts import Figures, Judged, behaviour

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


def plot(figures: Figures, folder: Path) -> None:
    """The way around the computing, and what is in time at each load."""
    outside = {name: row["outside"] for name, row in figures.split.items() if "outside" in row}
    plots.bars(folder, "deployments_overhead", {"": outside}, title="Transport and delivery of one image",
               label="ms, without load", reference=None, logarithmic=True)  # fmt: skip
    series = {
        name: [(float(load.removesuffix("x")), row["in_time_per_s"]) for load, row in loads.items()]
        for name, loads in figures.load.items()
    }
    labels = ("load, times the capacity", "images in time per second")
    plots.lines(folder, "deployments_load", series, title="Under load", labels=labels, log_x=True)
