"""The figures of the peers as a table, plots and ratios."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import measure, plots, record
from benchmarks.deployments.outcomes import Kind
from benchmarks.measure import Summary

LONGEST_S = 300.0
"""Nobody loses patience: a peer that is late is late, and not without an image."""
COLUMNS = {
    "images_per_s": "images/s",
    "mixed_images_per_s": "images/s, mixed steps",
    "p50_ms": "p50, ms",
    "p95_ms": "p95, ms",
    "p99_ms": "p99, ms",
    "freed_ms": "freed, ms",
    "whole_ms": "of, ms",
    "lost": "lost",
    "wrong": "wrong",
    "failed": "failed",
    "asked": "of",
}
PLOTS = ["peers_latency", "peers_cancel"]
NOTES = [
    "One core for the server, one thread of torch, another core for the client. Batches of 4 images for "
    "LitServe and mosec (more gain nothing on one core of a CPU), fast_queue for LitServe; one worker each; "
    "time limits raised so that all requests are served; answers are PNG bytes, not base64. FastAPI passes "
    "over those who have left the queue.",
    "While it is not its turn a peer is stopped (SIGSTOP): all stand on one core, and LitServe's worker, which polls "
    "its queue, takes 15 % of it while nobody asks (the others 0.1 %). Each has made a burst before the first round.",
    "All requests have the same number of steps, which is what static batches like; `mixed` has three numbers of them.",
    "A lost job is one that was under way at the kill and that its client has to send again by itself: peers "
    "have no name for it. Clients of peers do not repeat by themselves here; pixwire's does, since the job has "
    "a name.",
    "freed: from giving up (closing the connection; CANCEL with pixwire) until the server's processes stand "
    "still; of: the whole job. pixwire keeps a journal on disk, the peers keep nothing.",
    "A CPU gains little by batches. On a GPU the batching servers, pixwire among them, would gain more.",
]
WHOLE = ("lost", "wrong", "failed", "asked", "whole_ms")
"""Counts, and what is measured once."""


def rows(figures: Mapping[str, Mapping[str, Summary]]) -> list[dict[str, object]]:
    """A row for each server."""
    found: list[dict[str, object]] = []
    for name, row in figures.items():
        told: dict[str, object] = {"server": name}
        for key, title in COLUMNS.items():
            value = row.get(key)
            told[title] = "-" if value is None else round(value.median) if key in WHOLE else value
        found.append(told)
    return found


def show(figures: Mapping[str, Mapping[str, Summary]], killed: Mapping[str, Mapping[str, float]], rate: float) -> None:
    """The tables, on standard output."""
    record.show(f"peers: a burst; {rate:.2f} requests/s; a job given up; kill -9", rows(figures))
    kinds = [str(kind) for kind in Kind]
    record.show(
        "kill -9 in the middle of a trace, started again at once",
        [{"server": name, "asked": row["asked"]} | {kind: row[kind] for kind in kinds} for name, row in killed.items()],
    )


QUESTIONS = (
    ("images of a burst, the same steps", "images_per_s", "images/s", True),
    ("p95 at 0.8 times the capacity", "p95_ms", "ms", False),
    ("from giving up a job to a free machine", "freed_ms", "ms", False),
)
"""Question, figure, unit, and whether more of it is better."""


def why(figures: Mapping[str, Mapping[str, Summary]], ours: str) -> list[dict[str, str]]:
    """For the table "why not HTTP?": pixwire, and the best of the peers, all of which are asked over HTTP."""
    rows = []
    for question, key, unit, more in QUESTIONS:
        mine, peers = figures[ours][key].median, [row[key].median for name, row in figures.items() if name != ours]
        if not peers:
            continue
        best = max(peers) if more else min(peers)
        ratio = mine / best if more else best / mine
        told = {"question": question, "pixwire": f"{mine:.4g} {unit}", "best HTTP": f"{best:.4g} {unit}"}
        rows.append(told | {"pixwire against the best HTTP": f"{ratio:.2g}x"})
    return rows


def ratios(rounds: Mapping[str, Sequence[Mapping[str, float]]], ours: str) -> dict[str, dict[str, Summary]]:
    """Tables of ours over each peer, taken inside each round: rates and latencies."""
    found: dict[str, dict[str, Summary]] = {}
    for key in ("images_per_s", "mixed_images_per_s", "p50_ms", "p95_ms", "p99_ms"):
        for name, of in rounds.items():
            pairs = [(mine[key], one[key]) for mine, one in zip(rounds[ours], of, strict=True)]
            if name != ours and all(other > 0 for _, other in pairs):
                found.setdefault(f"{ours} over each, {key}", {})[name] = measure.Summary.of([a / b for a, b in pairs])
    return found


def plot(
    figures: Mapping[str, Mapping[str, Summary]],
    curves: Mapping[str, Sequence[tuple[float, float]]],
    folder: Path,
) -> None:
    """Latencies under load, and what a job that was given up goes on to cost."""
    plots.percentiles(folder, "peers_latency", curves, title="Latency at 0.8 times the capacity")
    freed = {name: row["freed_ms"] for name, row in figures.items()}
    plots.bars(folder, "peers_cancel", {"": freed}, title="From giving up to a free machine", label="ms",
               reference=None)  # fmt: skip
