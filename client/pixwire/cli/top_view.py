"""How `top` looks. Pure: overview, state and size in, something rich can print out.

A page has exactly as many lines as the terminal has rows, and no line is wider than it: at 80x24 everything fits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from pixwire_protocol.overview import EngineOverview, FailedOverview, JobOverview, ModelOverview, Overview

from .exits import printable
from .top_data import Key, key, length, together
from .top_keys import State

NARROWEST, LOWEST = 40, 10
"""Columns and rows below which a page is cut."""
_KEYS = "arrows: choose  c cancel  x all of its owner  p pause  r rerun  ? help  q quit"
_HELP = (
    ("up down, j k, PgUp PgDn, Home End", "choose a job"),
    ("c", "cancel it, waiting or running"),
    ("x", "cancel everything its principal has"),
    ("r", "run it again, if it failed or expired: as a new job, same parameters, same seed"),
    ("p", "take no new jobs; or take them again"),
    ("q", "leave; the server goes on"),
)
_STATES = {"ready": "green", "starting": "yellow", "lost": "bold red", "refused": "bold red"}
_PRIORITIES = {"high": "bold", "low": "dim"}
_GROUPS = ("cyan", "magenta", "yellow", "blue", "green")
"""Colours of passes, in turn."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths of what a row shows."""

    job: int = 12
    principal: int = 12
    model: int = 10
    priority: int = 6
    shared_pass: int = 0
    bar: int = 9
    tags: int = 0


def page(shown: Overview, state: State, url: str, width: int, height: int, *, trouble: str = "") -> Group:
    """What the terminal shows now. `trouble`: why the overview may be old."""
    width, height = max(width, NARROWEST), max(height, LOWEST)
    head = [*header(shown, url), _heading(_columns(width))]
    foot = [_prompt(state, trouble), Text(_KEYS, style="dim")]
    room = height - len(head) - len(foot)
    body = _help_lines() if state.help else _window(rows(shown, width), state.selected, room)
    blank = [Text()] * (room - len(body))
    return Group(*(_fit(line, width) for line in [*head, *body[:room], *blank, *foot]))


def report(shown: Overview, url: str, width: int) -> Group:
    """The same for paper: everything, and nobody to press keys."""
    lines = [*header(shown, url), _heading(_columns(width)), *(line for line, _ in rows(shown, width))]
    return Group(*(_fit(line, width) for line in lines))


# ---------------------------------------------------------------------- the upper part


def header(shown: Overview, url: str) -> list[Text]:
    """Server, engine, queue, models and principals, one line each."""
    people = Text("people  ", style="dim")
    for one in shown.principals:
        people.append(f"{_plain(one.principal)} {one.running}+{one.queued}   ", style="default")
    return [_server(shown, url), _engine(shown.engine), _queue(shown), _models(shown.models), people]


def _server(shown: Overview, url: str) -> Text:
    line = Text.assemble(
        ("pixwire top  ", "bold"), f"{url}  up {span(shown.uptime_ms)}, {shown.connections} connections"
    )
    if shown.draining:
        line.append("  DRAINING", style="bold red")
    if shown.paused:
        line.append(f"  PAUSED{f': {_plain(shown.reason)}' if shown.reason else ''}", style="bold yellow")
    return line


def _engine(engine: EngineOverview) -> Text:
    line = Text.assemble(("engine  ", "dim"), (_plain(engine.state), _STATES.get(engine.state, "default")))
    line.append(f", {engine.images_per_minute:g} images/min")
    if engine.rows is not None and engine.step_ms is not None:
        line.append(f", {engine.rows:.1f} rows a pass, {engine.step_ms:.1f} ms a step")
    if engine.restarts:
        line.append(f", {engine.restarts} restarts", style="yellow")
    return line


def _queue(shown: Overview) -> Text:
    queue = shown.queue
    line = Text.assemble(("queue   ", "dim"), f"{length(queue)}/{queue.limit}")
    if length(queue):
        classes = (("high", queue.high), ("normal", queue.normal), ("low", queue.low))
        line.append(f" ({' '.join(f'{count} {name}' for name, count in classes if count)})")
        line.append(f"  oldest {span(queue.oldest_ms)}")
    cost = shown.cost
    if cost.error_p50 is not None and cost.error_p90 is not None:
        line.append(f"  took/foretold {cost.error_p50:.2f} p90 {cost.error_p90:.2f}", style="dim")
    return line


def _models(models: Iterable[ModelOverview]) -> Text:
    line = Text("models  ", style="dim")
    for model in models:
        style = {"loaded": "green", "failed": "bold red"}.get(model.state, "default")
        line.append(_plain(model.name), style=style)
        line.append(f" {_plain(model.state)}{f' {size(model.bytes)}' if model.bytes else ''}   ", style="default")
    return line


# ---------------------------------------------------------------------- the jobs

Row = tuple[Text, Key | None]
"""A line, and the job it is about."""


def rows(shown: Overview, width: int) -> list[Row]:
    """All lines about jobs. Jobs that shared their last pass are bound together at the left."""
    columns = _columns(width)
    found: list[Row] = []
    running = together(shown.running)
    parked = f", {shown.engine.parked} of them parked" if shown.engine.parked else ""
    found.append((Text(f"running {len(running)}{parked}", "bold"), None))
    found += [(_live(job, columns, *mark), key(job)) for job, mark in zip(running, _marks(running), strict=True)]
    more = length(shown.queue) - len(shown.waiting)
    part = f", the first {len(shown.waiting)}" if more > 0 else ""
    found.append((Text(f"waiting {length(shown.queue)}{part}", "bold"), None))
    found += [(_live(job, columns, " ", "default"), key(job)) for job in shown.waiting]
    if shown.failed:
        found.append((Text(f"failed {len(shown.failed)}", "bold"), None))
        found += [(_failed(job, columns), key(job)) for job in shown.failed]
    return found


def _columns(width: int) -> Columns:
    """At 80 columns the least of everything; more room goes to ids, names, passes, bars and tags, in this order."""
    spare = width - 80
    least = Columns()

    def take(wanted: int) -> int:
        nonlocal spare
        given = max(0, min(wanted, spare))
        spare -= given
        return given

    job = least.job + take(24)
    shared_pass = take(8) if spare >= 8 else 0
    principal, model = least.principal + take(12), least.model + take(10)
    bar = least.bar + take(15)
    return Columns(job, principal, model, least.priority, shared_pass, bar, tags=max(0, spare - 1))


def _heading(columns: Columns) -> Text:
    line = Text(set_cell_size("   job", 3 + columns.job), style="underline dim")
    cells = [("principal", columns.principal), ("model", columns.model), ("prio", columns.priority)]
    if columns.shared_pass:
        cells.append(("pass", columns.shared_pass - 1))
    cells += [("step", columns.bar + 9), ("eta", 5), ("age", 5)]
    if columns.tags:
        cells.append(("tags", columns.tags))
    for name, room in cells:
        line.append(f" {set_cell_size(name, room)}")
    return line


def _live(job: JobOverview, columns: Columns, mark: str, colour: str) -> Text:
    line = Text(f" {mark} ", style=colour)
    line.append(abridge(job.job, columns.job))
    line.append(f" {shorten(job.principal, columns.principal)} {_model(job.model, columns.model)} ")
    line.append(shorten(job.priority, columns.priority), style=_PRIORITIES.get(job.priority, "default"))
    if columns.shared_pass:
        number = "" if job.pass_id is None else f"{job.pass_id}"
        line.append(f" {set_cell_size(number, columns.shared_pass - 1)}", style=colour)
    line.append(" ")
    line.append(_bar(job.step, job.steps, columns.bar), style=colour)
    line.append(f" {f'{job.step}/{job.steps}':<8}")
    line.append(f" {span(job.eta_ms) if job.eta_ms is not None else '-':<5} {span(job.age_ms):<5}")
    if columns.tags:
        line.append(f" {shorten(' '.join(job.tags), columns.tags)}", style="dim")
    return line


def _failed(job: FailedOverview, columns: Columns) -> Text:
    line = Text(f"   {abridge(job.job, columns.job)} {shorten(job.principal, columns.principal)} ")
    line.append(f"{_model(job.model, columns.model)} {span(job.ended_ms):<5} ago  ")
    line.append(_plain(job.error or job.state), style="red")
    line.append(f": {_plain(job.message)}" if job.message else "")
    return line


def _marks(jobs: Sequence[JobOverview]) -> list[tuple[str, str]]:
    """What binds each job to its neighbours of the same pass, and the colour of that pass."""
    marks: list[tuple[str, str]] = []
    group = -1
    for index, job in enumerate(jobs):
        before = index > 0 and jobs[index - 1].pass_id == job.pass_id
        after = index + 1 < len(jobs) and jobs[index + 1].pass_id == job.pass_id
        if job.pass_id is None:
            marks.append((" ", "default"))
            continue
        group += not before
        mark = {(False, False): " ", (False, True): "┌", (True, True): "│", (True, False): "└"}[before, after]
        marks.append((mark, _GROUPS[group % len(_GROUPS)]))
    return marks


def _bar(step: int, steps: int, room: int) -> str:
    done = room * min(step, steps) // steps if steps > 0 else 0
    return "━" * done + "·" * (room - done)


def _window(lines: list[Row], chosen: Key | None, room: int) -> list[Text]:
    """As many lines as there is room for, the chosen one among them."""
    at = next((index for index, (_, key) in enumerate(lines) if key is not None and key == chosen), 0)
    start = max(0, min(at - room // 2, len(lines) - room))
    found = []
    for line, name in lines[start : start + room]:
        shown = line.copy()
        if name is not None and name == chosen:
            shown.stylize("reverse")
        found.append(shown)
    return found


# ---------------------------------------------------------------------- the lower part


def _prompt(state: State, trouble: str) -> Text:
    if state.asking is not None:
        return Text(f"y/n? {state.asking.what}", style="bold yellow")
    return Text(state.note, style="bold") if state.note else Text(trouble, style="bold red")


def _help_lines() -> list[Text]:
    return [Text.assemble((f"  {key:<36}", "bold"), what) for key, what in _HELP]


# ---------------------------------------------------------------------- pieces


def span(milliseconds: int) -> str:
    """A duration in at most five characters: `0.4s`, `42s`, `12m`, `30h`, `12d`."""
    seconds = milliseconds / 1000
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    for seconds_of, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 1.5 * seconds_of:
            return f"{seconds / seconds_of:.0f}{unit}"
    return f"{seconds:.0f}s"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, many in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= many:
            return f"{count / many:.1f} {unit}"
    return f"{count} B"


def shorten(text: str, room: int) -> str:
    """Text in exactly `room` cells, with nothing in it that acts on a terminal."""
    shown = _plain(text)
    if cell_len(shown) > room:
        shown = set_cell_size(shown, room - 1).rstrip() + "…"
    return set_cell_size(shown, room)


def _model(name: str, room: int) -> str:
    """A model's name; of one that is too long the last part."""
    return shorten(name if len(name) <= room else name.rpartition("/")[2], room)


def abridge(job_id: str, room: int) -> str:
    """An id in exactly `room` cells: its end is what tells it from others."""
    shown = _plain(job_id)
    if len(shown) > room:
        tail = room * 2 // 3
        shown = f"{shown[: room - 1 - tail]}…{shown[-tail:]}"
    return set_cell_size(shown, room)


def _plain(text: str) -> str:
    """Text of others on one line, without anything that acts on a terminal."""
    return " ".join(printable(text).split())


def _fit(line: Text, width: int) -> Text:
    fitting = line.copy()
    fitting.no_wrap = True
    fitting.overflow = "ellipsis"
    fitting.truncate(width, overflow="ellipsis")
    return fitting
