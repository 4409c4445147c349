"""The claims of the study that the project grew out of, each held against what was measured. Pure.

A claim is confirmed or refuted when the figures of the rounds do not overlap (or a count says so by itself); else, and
where nothing was measured that bears on it, it is not shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from benchmarks.measure import Summary

HOLDS, COLLAPSES = 0.8, 0.5
"""Of its best rate of images in time, under three times the load: above the first it holds, below the second it
collapses.
"""
CLEARLY = 0.8
"""So few of the other's lines are fewer."""
HEAVIEST = "3x"
DIRECT, BROKER, INSIDE, EMBEDDED, JOBS, PXW = (
    "direct HTTP", "broker (stand-in)", "in process", "embedded", "HTTP jobs", "PXW",
)  # fmt: skip
BAD = ("failed", "lost", "wrong")


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured, by deployment."""

    split: Mapping[str, Mapping[str, Summary]]
    """Milliseconds: transport, queue, compute, delivery, outside (transport + delivery), total."""
    load: Mapping[str, Mapping[str, Mapping[str, Summary]]]
    """Deployment, load ("3x"), figure: counts by kind, in_time_per_s, overtaken, asked."""
    killed: Mapping[str, Mapping[str, float]]
    """Counts by kind, added up over the kills."""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the application process is: torch (bool), memory (bytes)."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Lines of code of the application; under "PXW itself" and "HTTP door" what is behind them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim, what is to be said of it, and why."""

    claim: str
    verdict: Verdict
    because: str


Found = tuple[Verdict, str]


def less(one: Summary, other: Summary, share: float = 1.0) -> Verdict:
    """Is `one` less than that share of `other`, in every round against every round? One round shows nothing."""
    if one.low == one.high and other.low == other.high:
        return Verdict.NOT_SHOWN
    if one.high < share * other.low:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if one.low > share * other.high else Verdict.NOT_SHOWN


def of(true: bool) -> Verdict:
    """For what a count says by itself."""
    return Verdict.CONFIRMED if true else Verdict.REFUTED


def all_of(verdicts: list[Verdict]) -> Verdict:
    """Confirmed when all are; refuted when one is."""
    if Verdict.REFUTED in verdicts:
        return Verdict.REFUTED
    return Verdict.CONFIRMED if set(verdicts) == {Verdict.CONFIRMED} else Verdict.NOT_SHOWN


def fewest(lines: Mapping[str, int], name: str) -> Verdict:
    """Has `name` clearly fewer lines than each of the others? A few lines more or less say nothing."""
    others = [count for other, count in lines.items() if other != name]
    if lines[name] <= CLEARLY * min(others):
        return Verdict.CONFIRMED
    return Verdict.REFUTED if min(others) <= CLEARLY * lines[name] else Verdict.NOT_SHOWN


def behaviour(loads: Mapping[str, Mapping[str, Summary]]) -> str:
    """What a deployment does under three times its load, in words."""
    rates = {load: row["in_time_per_s"].median for load, row in loads.items()}
    share = rates[HEAVIEST] / max(max(rates.values()), 1e-9)
    held = "holds its rate" if share >= HOLDS else "collapses" if share < COLLAPSES else "slows down"
    row = loads[HEAVIEST]
    words = [held]
    if row["refused"].median + row["expired"].median > 0:
        words.append("sheds")
    if row["late"].median > row["done"].median:
        words.append("answers late")
    if any(one[kind].high > 0 for one in loads.values() for kind in BAD):
        words.append("loses")
    return ", ".join(words)


def _easiest(figures: Figures) -> Found:
    lines = {name: figures.lines[name] for name in (DIRECT, BROKER, INSIDE, EMBEDDED, JOBS, PXW)}
    told = ", ".join(f"{name} {count}" for name, count in lines.items())
    return fewest(lines, DIRECT), f"lines of application: {told}"


def _scales(figures: Figures) -> Found:
    rates = {name: loads[HEAVIEST]["in_time_per_s"] for name, loads in figures.load.items()}
    direct, best = rates[DIRECT], max(rates, key=lambda name: rates[name].median)
    verdict = Verdict.REFUTED if best == DIRECT else less(direct, rates[best], HOLDS)
    told = f"in time at {HEAVIEST}: direct HTTP {direct:.2f} /s, the best ({best}) {rates[best]:.2f} /s"
    return verdict, told


def _weak(figures: Figures) -> Found:
    lost = figures.killed[DIRECT]["lost"]
    told = f"kill -9: {lost:.0f} of {figures.killed[DIRECT]['asked']:.0f} lost"
    told += f", {JOBS} lost {figures.killed[JOBS]['lost']:.0f}"
    return of(lost > 0), told


def _survives(figures: Figures) -> Found:
    row = figures.load[BROKER][HEAVIEST]
    bad = sum(row[kind].high for kind in (*BAD, "expired", "unreachable"))
    told = f"at {HEAVIEST}: of {row['asked'].median:.0f} in time {row['done'].median:.0f},"
    told += f" late {row['late'].median:.0f}, refused {row['refused'].median:.0f}, everything else {bad:.0f}"
    return of(bad == 0), told


def _processes(figures: Figures) -> Found:
    row = figures.killed[BROKER]
    told = f"kill -9 of broker and worker: {row['done']:.0f} of {row['asked']:.0f} done, {row['lost']:.0f} lost"
    return of(row["done"] == row["asked"]), told


def _orders(figures: Figures) -> Found:
    overtaken = figures.load[BROKER][HEAVIEST]["overtaken"]
    told = f"at {HEAVIEST} {overtaken.high:.1%} of the images came after one that was asked for later (one worker)"
    return of(overtaken.high == 0), told


def _quickest(figures: Figures) -> Found:
    total = {name: row["total"] for name, row in figures.split.items()}
    inside = total[INSIDE]
    others = [less(inside, value) for name, value in total.items() if name != INSIDE]
    told = ", ".join(f"{name} {value.median:.1f}" for name, value in total.items())
    return all_of(others), f"ms: {told}"


def _least_around(figures: Figures) -> Found:
    outside = {name: row["outside"] for name, row in figures.split.items() if "outside" in row}
    inside = outside[INSIDE]
    others = [less(inside, value) for name, value in outside.items() if name != INSIDE]
    told = ", ".join(f"{name} {value.median:.2f}" for name, value in outside.items())
    return all_of(others), f"ms: {told}"


def _reliable(figures: Figures) -> Found:
    inside, embedded = figures.killed[INSIDE], figures.killed[EMBEDDED]
    told = f"kill -9 of the application: {inside['lost']:.0f} lost; with a journal (embedded) {embedded['lost']:.0f}"
    return of(inside["lost"] == 0), told


def _tied(figures: Figures) -> Found:
    tied = [name for name, facts in figures.facts.items() if facts["torch"]]
    memory = {name: facts["memory"] / 2**20 for name, facts in figures.facts.items()}
    told = f"torch is in: {', '.join(tied) or 'none'}; MiB: " + ", ".join(f"{n} {m:.0f}" for n, m in memory.items())
    return of(figures.facts[INSIDE]["torch"] and tied == [INSIDE]), told


def _simplest(figures: Figures) -> Found:
    lines = {name: figures.lines[name] for name in (BROKER, JOBS, PXW)}
    told = "lines of application: " + ", ".join(f"{name} {count}" for name, count in lines.items())
    return fewest(lines, JOBS), told


def _pays(figures: Figures) -> Found:
    ours, inside = figures.split[JOBS], figures.split[INSIDE]
    share = ours["outside"].median / ours["total"].median
    told = f"transport and delivery {ours['outside']:.2f} ms ({share:.1%} of the whole)"
    told += f", inside {inside['outside']:.2f} ms"
    return less(inside["outside"], ours["outside"]), told


def _faster(figures: Figures) -> Found:
    pxw, others = figures.split[PXW]["outside"], {name: figures.split[name]["outside"] for name in (JOBS, DIRECT)}
    told = f"transport and delivery: PXW {pxw:.2f} ms, " + ", ".join(f"{n} {v:.2f} ms" for n, v in others.items())
    return all_of([less(pxw, v) for v in others.values()]), told


def _upkeep(figures: Figures) -> Found:
    custom, http = figures.lines["PXW itself"], figures.lines["HTTP door"]
    told = f"lines: protocol, client and door of PXW {custom:,}, the HTTP door on Starlette and uvicorn {http:,}"
    return of(custom > http), told


def _hides(figures: Figures) -> Found:
    clean = not any(figures.facts[name]["torch"] for name in (DIRECT, BROKER, JOBS, PXW))
    return of(clean), f"torch is in {'none' if clean else 'some'} of their applications"


def _releases(figures: Figures) -> Found:
    return Verdict.NOT_SHOWN, "nothing here measures that"


CLAIMS: Mapping[str, Callable[[Figures], Found]] = {
    "direct HTTP is the easiest to build": _easiest,
    "direct HTTP scales badly (here: under load, on one machine)": _scales,
    "direct HTTP gives weak guarantees": _weak,
    "a broker survives overload": _survives,
    "a broker guarantees processing": _processes,
    "a broker guarantees order": _orders,
    "inside the process the latency is the smallest: all of it": _quickest,
    "inside the process the latency is the smallest: transport and delivery": _least_around,
    "inside the process the reliability is high": _reliable,
    "inside the process the application is tied to the model's runtime": _tied,
    "HTTP is the simplest way to a separate process": _simplest,
    "HTTP to a separate process pays for network and serialisation": _pays,
    "a custom protocol is faster than HTTP": _faster,
    "a custom protocol costs design and upkeep": _upkeep,
    "a separate service hides its logic": _hides,
    "a separate service has its own release cycle": _releases,
}
"""In the order of the study."""


def judge(figures: Figures) -> list[Judged]:
    """Every claim."""
    return [Judged(claim, *_found(find, figures)) for claim, find in CLAIMS.items()]


def _found(find: Callable[[Figures], Found], figures: Figures) -> Found:
    try:
        return find(figures)
    except KeyError as missing:
        return Verdict.NOT_SHOWN, f"{missing} was not measured in this run"
