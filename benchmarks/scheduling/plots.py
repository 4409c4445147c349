"""Pictures of the figures. Needs matplotlib, which nothing else here does."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

Rounds = dict[str, list[dict[str, float]]]

COLOURS = {"fcfs": "#9aa0a6", "static": "#c58b2a", "continuous": "#4a7fb5", "pixwire": "#b3312c"}
PANELS = (
    ("latency_mean", "mean latency of jobs without a deadline, s (log)"),
    ("latency_p99", "p99 latency of jobs without a deadline, s (log)"),
    ("hits", "deadlines met"),
    ("wasted", "steps computed in vain"),
)


def draw(found: Mapping[tuple[str, str], Rounds], folder: Path) -> None:
    """One SVG and one PNG a machine: bars are medians over the seeds, whiskers their range."""
    try:
        import matplotlib  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise SystemExit("plots need matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]

    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(machine for machine, _ in found):
        rows = {kind: rounds for (machine, kind), rounds in found.items() if machine == name}
        figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 11), sharex=True)
        for axis, (key, title) in zip(axes, PANELS, strict=True):
            _panel(axis, rows, key, title)
        axes[0].legend(ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.08))
        figure.suptitle(f"Scheduling policies, {name}", x=0.02, ha="left")
        figure.tight_layout()
        for suffix in ("svg", "png"):
            figure.savefig(folder / f"scheduling_{name}.{suffix}", dpi=110)
        plt.close(figure)


def _panel(axis: Any, rows: Mapping[str, Rounds], key: str, title: str) -> None:
    kinds, policies = list(rows), list(COLOURS)
    width = 0.8 / len(policies)
    for index, policy in enumerate(policies):
        values = [[row[key] for row in rows[kind][policy]] for kind in kinds]
        middle = [median(v) for v in values]
        spread = [
            [m - min(v) for m, v in zip(middle, values, strict=True)],
            [max(v) - m for m, v in zip(middle, values, strict=True)],
        ]
        places = [place + (index - 1.5) * width for place in range(len(kinds))]
        axis.bar(places, middle, width, yerr=spread, color=COLOURS[policy], label=policy, error_kw={"lw": 0.8})
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xticks(range(len(kinds)), kinds)
    axis.spines[["top", "right"]].set_visible(False)
    if "log" in title:
        axis.set_yscale("log")
