"""Pictures of figures, all in one style, each as PNG and SVG. Needs matplotlib (the extra `bench`).

The SVG's ink, lines and ground are the three colours below and nothing else uses them, so that the report can exchange
them for those of a dark page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Summary

INK, FAINT, GROUND = "#1b1f24", "#d5d9df", "#ffffff"
OURS = "#c8443c"
FLOOR = "#8b929c"
OTHERS = ("#3f7cbf", "#d08a1d", "#3d9970", "#8e5ea8", "#b5651d", "#4aa3b5", "#a3a635", "#c0669b")
"""On a white and on a dark ground alike."""
FLOORS = ("floor", "echo", "bare", "plain", "by hand", "idle")
Point = tuple[float, float | Summary]


def colours(names: Sequence[str]) -> dict[str, str]:
    """Ours is always red and a floor grey; the others in their order."""
    found: dict[str, str] = {}
    others = iter(range(len(names)))
    for name in names:
        if name.lower().startswith(("pixwire", "pxw")):
            found[name] = OURS if OURS not in found.values() else "#e58a84"
        elif name.lower().startswith(FLOORS):
            found[name] = FLOOR
        else:
            found[name] = OTHERS[next(others) % len(OTHERS)]
    return found


def bars(
    folder: Path,
    name: str,
    groups: Mapping[str, Mapping[str, Summary]],
    *,
    title: str,
    label: str,
    reference: float | None = 1.0,
    logarithmic: bool = False,
) -> None:
    """Lying bars, one group under the other: group -> contestant -> figure; the whisker is the range of the rounds.

    `reference` draws a line there: where a ratio says "as the floor".
    """
    figure, chart = _figure(height=0.9 + sum(0.28 * len(group) + 0.34 for group in groups.values()))
    shades = colours(list(dict.fromkeys(name for group in groups.values() for name in group)))
    place, ticks, names = 0.0, [], []
    for group, row in groups.items():
        if len(groups) > 1:
            chart.text(0, place, group, transform=chart.get_yaxis_transform(), weight="bold", va="center", fontsize=9)
            place += 1
        for contestant, value in row.items():
            spread = [[value.median - value.low], [value.high - value.median]]
            chart.barh(place, value.median, 0.78, color=shades[contestant], xerr=spread, error_kw=_WHISKER)
            chart.annotate(_short(value.median), (value.high, place), (4, 0), textcoords="offset points", va="center",
                           fontsize=8)  # fmt: skip
            ticks.append(place)
            names.append(contestant)
            place += 1
        place += 0.3
    chart.set_yticks(ticks, names)
    chart.set_ylim(place - 0.5, -0.9)
    chart.grid(visible=False, axis="y")
    chart.tick_params(axis="y", length=0)
    chart.set_xlabel(label)
    if logarithmic:
        chart.set_xscale("log")
        chart.xaxis.set_major_formatter(lambda value, _: _short(value))
    chart.margins(x=0.1)
    if reference is not None:
        chart.axvline(reference, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    _save(figure, chart, folder, name, title)


def percentiles(
    folder: Path, name: str, curves: Mapping[str, Sequence[tuple[float, float]]], *, title: str, unit: str = "ms"
) -> None:
    """Latency over percentile, with the tail stretched; the curves of `load.Latencies.curve` (percent, seconds)."""
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    figure, chart = _figure(height=4.2)
    shades = colours(list(curves))
    top = 2.0
    for contestant, points in curves.items():
        places = [(100 / max(100 - at, 1e-9), value * scale) for at, value in points if 25 <= at < 100]
        top = max([top, *(place for place, _ in places)])
        chart.plot(*zip(*places, strict=True), label=contestant, color=shades[contestant])
    chart.set_xscale("log")
    chart.set_yscale("log")
    marks = [(2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %")]
    marks = [mark for mark in marks if mark[0] <= top * 1.2]
    chart.set_xticks([at for at, _ in marks], [text for _, text in marks], minor=False)
    chart.minorticks_off()
    chart.yaxis.set_major_formatter(lambda value, _: _short(value))
    chart.set(xlabel="of requests", ylabel=f"latency, {unit}")
    _legend(chart, len(curves))
    _save(figure, chart, folder, name, title)


def lines(
    folder: Path,
    name: str,
    series: Mapping[str, Sequence[Point]],
    *,
    title: str,
    labels: tuple[str, str],
    log_x: bool = False,
    log_y: bool = False,
    reference: float | None = None,
) -> None:
    """Lines of points; where y is a Summary the range of the rounds is a band. `labels` are of x and y."""
    figure, chart = _figure(height=4.2)
    shades = colours(list(series))
    for contestant, points in series.items():
        xs = [x for x, _ in points]
        ys = [y.median if isinstance(y, Summary) else y for _, y in points]
        chart.plot(xs, ys, marker="o", markersize=4, label=contestant, color=shades[contestant])
        ranges = [(x, y.low, y.high) for x, y in points if isinstance(y, Summary)]
        if ranges:
            chart.fill_between(*zip(*ranges, strict=True), color=shades[contestant], alpha=0.18, linewidth=0)
    if log_x:
        chart.set_xscale("log", base=2)
        every = sorted({x for points in series.values() for x, _ in points})
        chart.set_xticks(every, [f"{x:g}" for x in every])
        chart.minorticks_off()
    if log_y:
        chart.set_yscale("log")
        chart.yaxis.set_major_formatter(lambda value, _: _short(value))
    else:
        chart.set_ylim(0, None)
    if reference is not None:
        chart.axhline(reference, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    chart.set(xlabel=labels[0], ylabel=labels[1])
    _legend(chart, len(series))
    _save(figure, chart, folder, name, title)


# --- the style

_WHISKER = {"lw": 0.9, "ecolor": INK, "capsize": 2}
_STYLE: Any = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": GROUND,
    "figure.facecolor": GROUND,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "pixwire",
}


def _figure(height: float) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit("plots need matplotlib; install the extra `bench`, or leave --plots out") from error
    matplotlib.use("agg")
    matplotlib.rcParams.update(_STYLE)
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(8, height))


def _legend(chart: Any, entries: int) -> None:
    chart.legend(ncols=min(entries, 4), loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)


def _save(figure: Any, chart: Any, folder: Path, name: str, title: str) -> None:
    from matplotlib import pyplot

    if chart.get_legend() is None:
        chart.set_title(title, loc="left", weight="bold", fontsize=11)
    else:
        figure.suptitle(title, x=0.02, ha="left", weight="bold", fontsize=11)
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=130)
    pyplot.close(figure)
    print(f"drew {folder / name}.png and .svg")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
