"""The report as Markdown."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.report.model import Goal, Report, Section, Table, Verdict

NO_ANSWER = "Not measured yet: `python -m benchmarks` runs everything."
WORDS = {Verdict.MET: "met", Verdict.MISSED: "**missed**", Verdict.OPEN: "not measured"}


def table(one: Table) -> Iterator[str]:
    """Figures to the right."""
    if one.title:
        yield f"**{one.title}**"
        yield ""
    yield _line(one.columns)
    yield "|" + "|".join(" ---: " if one.figures(at) else " --- " for at in range(len(one.columns))) + "|"
    for row in one.rows:
        yield _line([str(cell) for cell in row])
    yield ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def goals(found: Sequence[Goal]) -> Iterator[str]:
    """Every target."""
    yield _line(["target", "limit", "measured, median (range)", ""])
    yield "| --- | ---: | ---: | --- |"
    for goal in found:
        yield _line(
            [goal.name, goal.limit, str(goal.measured), " ".join(filter(None, (WORDS[goal.verdict], _by(goal))))]
        )
    yield ""


def _by(goal: Goal) -> str:
    if not goal.margin:
        return ""
    return goal.margin if goal.verdict is Verdict.MISSED else f"({goal.margin})"


def verdict(report: Report) -> str:
    """One sentence about the targets."""
    counts = {one: report.count(one) for one in Verdict}
    if not report.goals:
        return "No target has been measured yet."
    parts = [f"{counts[Verdict.MET]} of {len(report.goals)} targets are met"]
    if counts[Verdict.MISSED]:
        parts.append(f"{counts[Verdict.MISSED]} missed")
    if counts[Verdict.OPEN]:
        parts.append(f"{counts[Verdict.OPEN]} not measured")
    return ", ".join(parts) + "."


def readme(report: Report) -> str:
    """The main table and the targets in one sentence, for a README."""
    lines = [line for one in report.why for line in table(one)] or [NO_ANSWER, ""]
    return "\n".join([*lines, verdict(report)]) + "\n"


def section(one: Section, plots: Path | None = None) -> Iterator[str]:
    """One benchmark."""
    yield f"## {one.title}"
    yield ""
    if one.about:
        yield one.about
        yield ""
    if one.quick:
        yield "*A quick run: it shows that the benchmark works and is no result.*"
        yield ""
    if one.command:
        yield f"`{one.command}`" + (f", recorded {one.recorded}" if one.recorded else "")
        yield ""
    for path in one.plots:
        yield f"![{path.stem.replace('_', ' ')}]({path.with_suffix('.png').name})"
        yield ""
    for part in one.tables:
        yield from table(part)
    if one.goals:
        yield from goals(one.goals)
    yield from (f"- {note}" for note in one.notes)
    if one.notes:
        yield ""
    yield from (f"{name}: {value}  " for name, value in one.machine.items())
    yield ""


def page(report: Report) -> str:
    """Everything."""
    lines = ["# pixwire benchmarks", "", "Written by `python -m benchmarks.report`; do not edit.", ""]
    lines += ["## Why not HTTP?", ""]
    lines += [line for one in report.why for line in table(one)] or [NO_ANSWER, ""]
    lines += ["## Targets", "", verdict(report), ""]
    lines += goals(report.goals) if report.goals else []
    if report.missing:
        lines += ["## Missing", ""]
        lines += [
            f"- {one.title}: {one.reason}" + (f"; `{one.command}`" if one.command else "") for one in report.missing
        ]
        lines += [""]
    for one in report.sections:
        lines += section(one)
    return "\n".join(lines) + "\n"
