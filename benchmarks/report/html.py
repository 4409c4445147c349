"""The report as one page that needs nothing else: style and pictures are inside it."""

import re
from functools import partial
from pathlib import Path

import jinja2
from markupsafe import Markup

from benchmarks import plots
from benchmarks.report import markdown
from benchmarks.report.model import Report, Verdict

HERE = Path(__file__).parent
INKS = {plots.INK: "var(--ink)", plots.FAINT: "var(--line)", plots.GROUND: "transparent", "#000000": "var(--ink)"}
"""Colours of a picture on paper, and what they are on a page that may be dark."""


def picture(path: Path) -> str:
    """A plot to be put into the page: in the page's colours, with names of its own, as wide as there is room."""
    text = path.read_text()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for name, instead in INKS.items():
        text = re.sub(rf"{name}\b", instead, text, flags=re.IGNORECASE)
    mark = re.sub(r"\W", "-", path.stem)
    text = re.sub(r'\bid="', f'id="{mark}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{mark}-", text)
    label = path.stem.replace("_", " ")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def page(report: Report) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["picture"] = lambda path: Markup(picture(path))  # noqa: S704 - our own
    return environment.get_template("page.html.jinja").render(
        report=report,
        style=Markup((HERE / "style.css").read_text()),  # noqa: S704 - our own
        verdict=markdown.verdict(report),
        shared=shared_machine(report),
        Verdict=Verdict,
        bar=partial(min, 2.0),
    )


def shared_machine(report: Report) -> str:
    """What all sections were measured on, when it was one machine; else that there were several."""
    kinds = {tuple(section.machine.get(key, "") for key in ("cpu", "cores", "system")) for section in report.sections}
    kinds -= {("", "", "")}
    if len(kinds) != 1:
        return f"{len(kinds)} different machines; each section names its own." if kinds else ""
    cpu, cores, system = kinds.pop()
    return f"{cores} cores of {cpu}, {system}"
