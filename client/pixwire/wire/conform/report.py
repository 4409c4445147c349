"""Outcomes as text for people, as JSON with a stable schema, and as JUnit XML."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from ...cli.exits import print_json, printable
from .cases import Case
from .coverage import Role, coverage
from .requirements import document_version, requirements, sections
from .runner import Outcome

SCHEMA: Final = 1
"""Version of the JSON: keys are added, never renamed or removed."""
_MARKS: Final = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]-[/]"}


def summary(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many ended how."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {"cases": sum(counts.values()), **{name: counts[name] for name in ("passed", "failed", "skipped")}}


# ---------------------------------------------------------------------- text


def _title(section: str) -> str:
    return f"[bold]{section} {escape(sections().get(section, ''))}[/]"


def print_outcomes(console: Console, outcomes: Sequence[Outcome], target: str, seconds: float) -> None:
    """Everything, grouped by section; failures with the sentences that were broken."""
    for section, group in groupby(outcomes, key=lambda outcome: outcome.case.section):
        console.print(_title(section))
        for outcome in group:
            case = outcome.case
            console.print(f"  {_MARKS[outcome.verdict]} {case.address:<9} {escape(case.title)}")
            if outcome.verdict == "skipped":
                console.print(f"      [dim]{escape(printable(outcome.message))}[/]")
            elif outcome.verdict == "failed":
                console.print(f"      [red]{escape(printable(outcome.message))}[/]")
                for name in dict.fromkeys((*outcome.violated, *case.ids[:1])):
                    console.print(f"      [dim]\\[{name}] {escape(requirements()[name].text)}[/]")
    counts = summary(outcomes)
    verdict = "[red]does not conform[/]" if counts["failed"] else "[green]conforms, as far as was asked[/]"
    parts = f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
    console.print(f"\n{escape(target)}: {parts} in {seconds:.1f} s (SPEC {document_version()}): {verdict}")


def print_cases(console: Console, cases: Sequence[Case]) -> None:
    """What would be asked (`--dry-run`), with the requirements' sentences."""
    for section, group in groupby(cases, key=lambda case: case.section):
        console.print(_title(section))
        for case in group:
            notes = [f"L{case.level}", *(["strict"] if case.strict else []), *(["slow"] if case.slow else [])]
            console.print(f"  {case.address:<9} {escape(case.title)} [dim]({', '.join(notes)})[/]")
            for name in case.ids:
                console.print(f"            [dim]\\[{name}] {escape(requirements()[name].text)}[/]")
    console.print(f"\n{len(cases)} cases, {len({name for case in cases for name in case.ids})} requirements")


def print_coverage(console: Console, role: Role, *, as_json: bool) -> None:
    """How many requirements for a role are asked for, and why the others are not."""
    found = coverage(role)
    if as_json:
        print_json({"role": role, "asked": found.asked, "judged": found.judged, "rest": found.rest})
        return
    total = len(found.asked) + len(found.judged) + len(found.rest)
    console.print(
        f"{total} requirements speak to a {role}: {len(found.asked)} have a case, {len(found.judged)} more are"
        f" looked at in every frame, {len(found.rest)} are not asked for:"
    )
    for name, reason in found.rest.items():
        console.print(f"  {name}  [dim]{escape(requirements()[name].text)}[/]\n{'':15}{escape(reason)}")


# ---------------------------------------------------------------------- JSON


def case_map(case: Case) -> dict[str, Any]:
    """A case as an object."""
    return {
        "id": case.address,
        "section": case.section,
        "requirements": list(case.ids),
        "title": case.title,
        "level": case.level,
        "strict": case.strict,
        "slow": case.slow,
    }


def outcome_map(outcome: Outcome) -> dict[str, Any]:
    """An outcome as an object."""
    return {
        **case_map(outcome.case),
        "verdict": outcome.verdict,
        "message": outcome.message,
        "violated": list(outcome.violated),
        "seconds": round(outcome.seconds, 3),
    }


def report_map(role: str, target: str, outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The whole run as an object; `role` is the side under test."""
    return {
        "conform": SCHEMA,
        "document": document_version(),
        "role": role,
        "target": target,
        "seconds": round(seconds, 3),
        "summary": summary(outcomes),
        "cases": [outcome_map(outcome) for outcome in outcomes],
    }


# ---------------------------------------------------------------------- JUnit


def write_junit(path: Path, role: str, outcomes: Sequence[Outcome]) -> None:
    """A file that continuous integration reads: one suite per section."""
    root = ET.Element("testsuites", name=f"pixwire conform {role}")
    for section, group in groupby(outcomes, key=lambda outcome: outcome.case.section):
        found = list(group)
        counts = summary(found)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"{section} {sections().get(section, '')}".strip(),
            tests=str(counts["cases"]),
            failures=str(counts["failed"]),
            skipped=str(counts["skipped"]),
            errors="0",
            time=f"{sum(outcome.seconds for outcome in found):.3f}",
        )
        for outcome in found:
            _junit_case(suite, outcome)
    ET.indent(root)
    path.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _junit_case(suite: ET.Element, outcome: Outcome) -> None:
    case = outcome.case
    name = f"{case.address} {case.title}"
    element = ET.SubElement(
        suite, "testcase", classname=f"conform.{case.section}", name=name, time=f"{outcome.seconds:.3f}"
    )
    message = printable(outcome.message)
    if outcome.verdict == "skipped":
        ET.SubElement(element, "skipped", message=message)
    elif outcome.verdict == "failed":
        sentences = [f"[{name}] {requirements()[name].text}" for name in dict.fromkeys((*outcome.violated, *case.ids))]
        ET.SubElement(element, "failure", message=message).text = "\n".join(sentences)
