"""How `pixwire top` looks: pages of a size, from overviews of every kind."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overviews import failed, overview, running, waiting
from rich.cells import cell_len
from rich.console import Console

from pixwire.cli.top_keys import State, Wish
from pixwire.cli.top_view import LOWEST, NARROWEST, abridge, page, report, shorten, span
from pixwire_protocol.overview import EngineOverview, Overview, PrincipalOverview, QueueOverview

URL = "pixwire://localhost:7499"


def printed(
    shown: Overview, state: State | None = None, width: int = 80, height: int = 24, trouble: str = ""
) -> list[str]:
    """The lines of a page, as they stand on the terminal."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(page(shown, state or State(), URL, width, height, trouble=trouble))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().split("\n")[:-1]


def test_everything_is_on_a_page_of_80_by_24() -> None:
    lines = printed(overview())
    assert len(lines) == 24
    assert lines[0] == "pixwire top  pixwire://localhost:7499  up 3h, 4 connections"
    assert lines[1] == "engine  ready, 118 images/min, 2.5 rows a pass, 41.2 ms a step"
    assert lines[2] == "queue   3/1000 (2 normal 1 low)  oldest 12s  took/foretold 0.97 p90 1.32"
    assert lines[3].rstrip() == "models  toy loaded 12.3 MB   large available"
    assert lines[4].rstrip() == "people  alice 4+0   bob 0+3"
    assert "waiting 3" in lines
    assert "failed 1" in lines
    assert any(line.endswith("ago  WORKER_LOST: the engine died") for line in lines)


def test_jobs_of_one_pass_stand_together_and_are_bound() -> None:
    lines = printed(overview())
    at = lines.index("running 4, 1 of them parked")
    assert [line[:5] for line in lines[at + 1 : at + 5]] == [" ┌ r1", " └ r3", "   r2", "   r4"]
    three = overview(running=tuple(running(number, 7) for number in (1, 2, 3)))
    lines = printed(three)
    assert [line[1] for line in lines[lines.index("running 3, 1 of them parked") + 1 :][:3]] == ["┌", "│", "└"]


def test_a_row_tells_progress_eta_and_age() -> None:
    shown = overview(running=(running(5, None, step=5, priority="high"),), waiting=(), failed=())
    (line,) = (line for line in printed(shown) if "r5" in line)
    assert line.split() == ["r5", "alice", "toy", "high", "━━━━·····", "5/10", "2.5s", "5.0s"]
    unknown = overview(running=(running(5, None, steps=0, step=0, eta_ms=None),), waiting=(), failed=())
    (line,) = (line for line in printed(unknown) if "r5" in line)
    assert line.split()[4:] == ["·········", "0/0", "-", "5.0s"]


def test_a_wide_page_shows_whole_ids_passes_and_tags() -> None:
    long_id = "0193f0aa-1111-7222-8333-000000000001"
    shown = overview(running=(running(1, 12345, job=long_id, tags=("web", "night run")),))
    (line,) = (line for line in printed(shown, width=180) if long_id in line)
    assert " 12345 " in line
    assert "web night run" in line
    (narrow,) = (line for line in printed(shown, width=80) if "00000001" in line)
    assert "…00000001" in narrow


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"paused": True, "reason": "new drivers"}, "PAUSED: new drivers"),
        ({"paused": True}, "PAUSED"),
        ({"draining": True}, "DRAINING"),
    ],
)
def test_what_is_out_of_order_is_in_the_first_line(values: dict[str, object], says: str) -> None:
    assert printed(overview(**values))[0].endswith(says)


def test_an_engine_that_is_away_has_no_rates() -> None:
    lines = printed(overview(engine=EngineOverview("lost", 2, 0, 0, 0, 0.0)))
    assert lines[1] == "engine  lost, 0 images/min, 2 restarts"


def test_nothing_to_do_is_shown_as_such() -> None:
    engine = EngineOverview("ready", 0, 0, 0, 0, 0.0)
    idle = overview(
        engine=engine, running=(), waiting=(), failed=(), queue=QueueOverview(0, 0, 0, 0, 10), principals=()
    )
    lines = printed(idle)
    assert lines[2].startswith("queue   0/10")
    assert "running 0" in lines
    assert "waiting 0" in lines
    assert not any(line.startswith("failed") for line in lines)


def test_more_wait_than_are_shown() -> None:
    assert "waiting 900, the first 3" in printed(overview(queue=QueueOverview(0, 900, 0, 1, 1000)))


def test_the_chosen_job_stays_in_sight_and_is_marked() -> None:
    many = overview(waiting=tuple(waiting(number) for number in range(200)), queue=QueueOverview(0, 200, 0, 1, 1000))
    for number in (0, 3, 100, 199):
        chosen = State(selected=("bob", f"w{number}"))
        console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system="standard")
        console.print(page(many, chosen, URL, 80, 24))
        assert isinstance(console.file, io.StringIO)
        marked = [line for line in console.file.getvalue().split("\n") if "\x1b[7" in line]
        assert len(marked) == 1
        assert f" w{number} " in marked[0]


def test_the_last_lines_ask_tell_and_name_the_keys() -> None:
    assert printed(overview())[-1].startswith("arrows: choose  c cancel")
    asking = State(asking=Wish("cancel", "cancel job r1 of alice", "r1", "alice"), note="not this")
    assert printed(overview(), asking, trouble="nor this")[-2] == "y/n? cancel job r1 of alice"
    assert printed(overview(), State(note="done"))[-2] == "done"
    assert printed(overview(), State(note="done"), trouble="connection lost")[-2] == "done"
    assert printed(overview(), trouble="connection lost")[-2] == "connection lost"
    assert any("run it again" in line for line in printed(overview(), State(help=True)))


def test_text_of_others_cannot_act_on_the_terminal() -> None:
    evil = "\x1b[2J\x07\nx"
    shown = overview(
        running=(running(1, 1, principal=evil, model=evil, tags=(evil,)),),
        principals=(PrincipalOverview(evil, 1, 1),),
        failed=(failed(1),),
        paused=True,
        reason=evil,
    )
    for width in (80, 200):
        lines = printed(shown, width=width)
        assert len(lines) == 24
        assert all(char.isprintable() for line in lines for char in line)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 80),
    names=st.lists(st.text(min_size=1, max_size=40), max_size=30),
    row=st.integers(0, 40),
)
def test_a_page_has_the_size_of_the_terminal(width: int, height: int, names: list[str], row: int) -> None:
    """Whatever the jobs and people are called, wide characters and nonsense included."""
    jobs = tuple(running(number, number % 3 or None, principal=name, model=name) for number, name in enumerate(names))
    shown = overview(running=jobs, principals=tuple(PrincipalOverview(name, 1, 1) for name in names))
    chosen = State(selected=(jobs[row].principal, jobs[row].job) if row < len(jobs) else None, note="x" * 400)
    width, height = max(width, NARROWEST), max(height, LOWEST)
    lines = printed(shown, chosen, width, height)
    assert len(lines) == height
    assert all(cell_len(line) <= width for line in lines)


def test_on_paper_everything_is_there_and_no_keys() -> None:
    many = overview(waiting=tuple(waiting(number) for number in range(200)))
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(report(many, URL, 120))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "w199" in text
    assert "arrows" not in text


@pytest.mark.parametrize(
    ("milliseconds", "says"),
    [
        (0, "0.0s"),
        (9_940, "9.9s"),
        (9_960, "10s"),
        (89_000, "89s"),
        (90_000, "2m"),
        (5_399_000, "90m"),
        (5_400_000, "2h"),
        (36 * 3_600_000, "2d"),
        (99 * 86_400_000, "99d"),
    ],
)
def test_durations_are_short(milliseconds: int, says: str) -> None:
    assert span(milliseconds) == says


@given(st.text(max_size=60), st.integers(4, 40))
def test_a_cell_has_its_width(text: str, room: int) -> None:
    assert cell_len(shorten(text, room)) == room
    assert cell_len(abridge(text, room)) == room
