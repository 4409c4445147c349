"""The keys of `pixwire top`: a pure machine, and how the bytes of a terminal become keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overviews import failed, overview, running, waiting

from pixwire.cli.top_data import in_order, key
from pixwire.cli.top_keys import PAGE, State, Wish, follow, keys, press, selected

SHOWN = overview()
"""On the screen: r1 r3 r2 r4, w1 w2 w3, f1."""


def after(*pressed: str, state: State | None = None, shown: object = SHOWN) -> State:
    """The state after some keys, none of which may have made a wish."""
    state = follow(state or State(), shown)  # type: ignore[arg-type]
    for one in pressed:
        state, wish = press(state, one, shown)  # type: ignore[arg-type]
        assert wish is None
    return state


def job(state: State) -> str:
    assert state.selected is not None
    return state.selected[1]


def test_the_first_job_is_chosen_at_first_and_the_arrows_go_through_all() -> None:
    assert job(after()) == "r1"
    assert job(after("down")) == "r3"
    assert job(after("down", "j", "j", "k", "up")) == "r3"
    assert job(after("up")) == "r1"
    assert job(after("end")) == "f1"
    assert job(after("G", "down")) == "f1"
    assert job(after("G", "home")) == "r1"
    assert job(after("pgdn")) == "f1"
    many = overview(waiting=tuple(waiting(number) for number in range(30)))
    assert in_order(many)[PAGE].job == job(after("pgdn", shown=many))
    assert job(after("pgdn", "pgup", shown=many)) == "r1"


def test_the_choice_follows_its_job_and_falls_to_whoever_takes_its_place() -> None:
    state = after("down", "down", "down", "down")
    assert job(state) == "w1"
    started = overview(running=(running(9, None), *SHOWN.running), waiting=SHOWN.waiting)
    assert job(follow(state, started)) == "w1"
    gone = overview(waiting=SHOWN.waiting[1:])
    assert job(follow(state, gone)) == "w2"
    last = after("end")
    assert job(follow(last, overview(failed=()))) == "w3"
    empty = overview(running=(), waiting=(), failed=())
    none = follow(state, empty)
    assert none.selected is None
    assert job(follow(none, SHOWN)) == "r1"


@pytest.mark.parametrize(
    ("to_job", "pressed", "wish"),
    [
        ((), "c", Wish("cancel", "cancel job r1 of alice", "r1", "alice")),
        (("end", "up"), "c", Wish("cancel", "cancel job w3 of bob", "w3", "bob")),
        (("end", "up"), "x", Wish("cancel", "cancel all jobs of bob", None, "bob")),
        (("end",), "r", Wish("requeue", "run job f1 of carol again", "f1", "carol")),
        ((), "p", Wish("pause", "take no new jobs")),
    ],
)
def test_a_wish_goes_out_after_a_yes_and_only_then(to_job: tuple[str, ...], pressed: str, wish: Wish) -> None:
    asking = after(*to_job, pressed)
    assert asking.asking == wish
    done, went = press(asking, "y", SHOWN)
    assert went == wish
    assert (done.asking, done.note) == (None, f"{wish.what} ...")
    for other in ("n", "c", "q", "esc", "enter", "up", " "):
        kept, went = press(asking, other, SHOWN)
        assert went is None
        assert (kept.asking, kept.quit, kept.note) == (None, False, "nothing was done")
        assert kept.selected == asking.selected


def test_what_is_asked_about_stays_the_same_while_the_screen_changes() -> None:
    asking = follow(after("c"), overview(running=()))
    assert press(asking, "y", overview(running=()))[1] == Wish("cancel", "cancel job r1 of alice", "r1", "alice")


def test_a_paused_server_is_resumed() -> None:
    paused = overview(paused=True)
    assert press(after("p", shown=paused), "y", paused)[1] == Wish("resume", "take new jobs again")


@pytest.mark.parametrize(
    ("to_job", "pressed", "note"),
    [
        ((), "r", "select a job that failed or expired to run it again"),
        (("end",), "c", "this job has ended; r runs it again"),
    ],
)
def test_what_cannot_be_done_is_said(to_job: tuple[str, ...], pressed: str, note: str) -> None:
    state = after(*to_job, pressed)
    assert (state.asking, state.note) == (None, note)
    assert after("down", state=state).note == ""


def test_without_jobs_there_is_nothing_to_cancel() -> None:
    empty = overview(running=(), waiting=(), failed=())
    for pressed in ("c", "x"):
        assert after(pressed, shown=empty).note == "no job is selected"
    assert after("down", shown=empty).selected is None


def test_help_goes_with_the_next_key_and_q_ends() -> None:
    assert after("?").help
    assert not after("?", "down").help
    assert after("q").quit


@given(st.lists(st.sampled_from([*"cxrpqyn?jkgG z", "up", "down", "pgup", "pgdn", "home", "end", "esc"]), max_size=30))
def test_no_keys_confuse_it(pressed: list[str]) -> None:
    """Whatever is pressed: what is chosen is there, and a wish is one that was asked about just before."""
    shown = overview(waiting=tuple(waiting(number) for number in range(15)), failed=(failed(1), failed(2)))
    state = follow(State(), shown)
    for one in pressed:
        asked = state.asking
        state, wish = press(state, one, shown)
        assert wish == (asked if one == "y" else None)
        assert state.selected in [key(job) for job in in_order(shown)]
        assert selected(state, shown) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("q", ["q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA\x1bOB", ["up", "down"]),
        ("\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        ("\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH\x1bOF", ["home", "end"] * 3),
        ("\x1b", ["esc"]),
        ("\x1bq", ["esc", "q"]),
        ("\r\n", ["enter", "enter"]),
        ("\x1b[1;5Cq", ["q"]),  # ctrl-right is not known, and no part of it is taken for a key
        ("\x1b[", []),
        ("jé", ["j", "é"]),
    ],
)
def test_bytes_become_keys(text: str, found: list[str]) -> None:
    assert keys(text) == found


@given(st.text())
def test_any_text_of_a_terminal_is_survived(text: str) -> None:
    assert all(keys(text))
