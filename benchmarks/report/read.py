"""From the files in the results to a report. What is missing or broken is said to be so, and stops nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.catalog import BENCHMARKS, Benchmark
from benchmarks.record import number
from benchmarks.report import figures
from benchmarks.report.model import Cell, Goal, Missing, Report, Section, Table, Verdict

KNOWN = (
    "benchmark", "title", "about", "machine", "recorded", "command", "quick", "rounds", "results", "rows", "ratios",
    "targets", "plots", "notes", "why", "settings",
)  # fmt: skip
"""Keys with a place of their own; every other becomes a table or a setting."""
SUMMING_UP = "pixwire against"
QUICK_WARNING = "From a quick run, which is no result"
DEFAULT_FOLDER = Path("benchmarks/results")


def read(folder: Path, benchmarks: Sequence[Benchmark] = BENCHMARKS) -> Report:
    """All records of the folder: those of the table in its order, then others by name."""
    known = {one.record: one for one in benchmarks}
    others = sorted(path.stem for path in folder.glob("*.json") if path.stem not in known)
    sections: list[Section] = []
    missing: list[Missing] = []
    why: list[dict[str, Any]] = []
    quick = False
    for key in (*known, *others):
        found = _load(folder / f"{key}.json")
        if isinstance(found, str):
            missing.append(_missing(key, known.get(key), found))
            continue
        try:
            sections.append(_section(key, found, known.get(key), folder))
            why += [dict(row) for row in found.get("why") or ()]
            quick |= bool(found.get("why")) and found.get("quick") is True
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"its record is not of the shape that benchmarks write: {type(error).__name__}: {error}"
            missing.append(_missing(key, known.get(key), reason))
    return Report(sections, missing, _why(why, quick=quick))


def _load(path: Path) -> dict[str, Any] | str:
    """The record, or why there is none."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return "not run yet"
    except (OSError, ValueError) as error:
        return f"{path.name} cannot be read: {error}"
    return data if isinstance(data, dict) else f"{path.name} holds a {type(data).__name__}, not a record"


def _missing(key: str, benchmark: Benchmark | None, reason: str) -> Missing:
    title = benchmark.title if benchmark else key
    return Missing(key, title, _command(benchmark), reason)


def _command(benchmark: Benchmark | None) -> str:
    return f"python -m {' '.join(benchmark.command(str(DEFAULT_FOLDER)))}" if benchmark else ""


def _section(key: str, data: Mapping[str, Any], benchmark: Benchmark | None, folder: Path) -> Section:
    return Section(
        key=key,
        title=str(data.get("title") or (benchmark.title if benchmark else key.replace("_", " "))),
        about=str(data.get("about") or (benchmark.about if benchmark else "")),
        command=str(data.get("command") or _command(benchmark)),
        quick=data.get("quick") is True,
        recorded=str(data.get("recorded", "")),
        machine=_machine(data.get("machine") or {}) | _settings(data),
        tables=_tables(data),
        goals=[_goal(key, target) for target in data.get("targets") or ()],
        notes=[str(note) for note in data.get("notes") or ()],
        plots=_plots(key, data, folder),
    )


# --- parts of a section


def _machine(machine: Mapping[str, Any]) -> dict[str, str]:
    versions = machine.get("versions") or {}
    found = {name.replace("_", " "): _words(value) for name, value in machine.items() if name != "versions"}
    named = [f"{name} {version}" for name, version in versions.items() if version]
    return found | ({"packages": ", ".join(named)} if named else {})


def _settings(data: Mapping[str, Any]) -> dict[str, str]:
    loose = {key: value for key, value in data.items() if key not in KNOWN and figures.is_leaf(value)}
    inner = {key: value for key, value in (data.get("settings") or {}).items() if figures.is_leaf(value)}
    rounds = {"rounds": data["rounds"]} if "rounds" in data else {}
    return {figures.heading(key): str(figures.cell(value)) for key, value in {**rounds, **loose, **inner}.items()}


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tables(data: Mapping[str, Any]) -> list[Table]:
    results, other = data.get("results"), _other_parts(data)
    if isinstance(results, Mapping) and all(isinstance(row, Mapping) for row in results.values()):
        beside = {key: value for key, value in other.items() if _goes_beside(value, results)}
        columns = {name: {key: part[name] for key, part in beside.items() if name in part} for name in results}
        results = {name: {**row, **columns[name]} for name, row in results.items()}
        other = {key: value for key, value in other.items() if key not in beside}
    found = [figures.table("", results), figures.table("", data.get("rows"))]
    tables = [one for one in found if one is not None]
    if data.get("ratios"):
        tables += figures.ratios("ratios, taken inside each round", data["ratios"])
    parts = (figures.table(figures.heading(key), value) for key, value in other.items())
    return tables + [one for one in parts if one is not None]


def _other_parts(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is more than one figure and has no place of its own."""
    inside = {key: value for key, value in (data.get("settings") or {}).items() if not figures.is_leaf(value)}
    loose = {key: value for key, value in data.items() if key not in KNOWN and not figures.is_leaf(value)}
    return loose | inside


def _goes_beside(part: object, results: Mapping[str, Any]) -> bool:
    """Whether it has one figure for (some of) the contestants: then it is one more column of the results."""
    return (
        isinstance(part, Mapping)
        and bool(part)
        and set(part) <= set(results)
        and all(map(figures.is_leaf, part.values()))
    )


def _goal(key: str, target: Mapping[str, Any]) -> Goal:
    unit, limit, measured = target.get("unit", "x"), float(target["limit"]), target.get("measured")
    shown = f"{'≤' if target['op'] == '<=' else '≥'} {_with_unit(number(limit), unit)}"
    source, name = str(target.get("source", "")), str(target["name"])
    if measured is None:
        return Goal(name, shown, Cell("-"), Verdict.OPEN, "", 0.0, source, key)
    value = float(measured["median"])
    share = (limit / value if value else float("inf")) if target["op"] == "<=" else value / limit if limit else 1.0
    verdict = Verdict.MET if (value <= limit if target["op"] == "<=" else value >= limit) else Verdict.MISSED
    cell = figures.cell(measured)
    cell = Cell(_with_unit(cell.text, unit), cell.spread, figure=True)
    return Goal(name, shown, cell, verdict, margin(share, verdict), share, source, key)


def _with_unit(text: str, unit: str) -> str:
    return f"{text}x" if unit in ("x", "") else f"{text} {unit}"


def margin(share: float, verdict: Verdict) -> str:
    """By how much, in words. `share` above 1 is better than the limit."""
    if share <= 0:
        return "by everything"
    factor = share if verdict is Verdict.MET else 1 / share
    much = (
        f"{factor:.1f} times" if factor >= 2 else f"{(factor - 1) * 100:.0f} %" if factor >= 1.01 else "less than 1 %"
    )
    return f"{much} better" if verdict is Verdict.MET else f"by {much}"


def _plots(key: str, data: Mapping[str, Any], folder: Path) -> list[Path]:
    named = [folder / f"{stem}.svg" for stem in data.get("plots") or ()]
    named = named or sorted(folder.glob(f"{key}_*.svg")) + sorted(folder.glob(f"{key}.svg"))
    return [path for path in named if path.exists()]


def _why(rows: Sequence[Mapping[str, Any]], *, quick: bool) -> list[Table]:
    """The answers of all records as one table; what sums a row up stands last."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: name.startswith(SUMMING_UP))
    table = figures.table(QUICK_WARNING if quick else "", [{name: row.get(name) for name in names} for row in rows])
    return [table] if table is not None else []
