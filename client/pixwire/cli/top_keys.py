"""What the keys of `top` do. Pure: a state, a key and the overview that is shown give the next state and, sometimes,
something to ask of the server.

    browsing --c, x, p, r--> asking "sure?" --y--> the wish goes out
                                |--any other key--> browsing
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pixwire_protocol.overview import FailedOverview, Overview

from .exits import printable
from .top_data import Job, Key, in_order, key

UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END, ENTER, ESCAPE = "up", "down", "pgup", "pgdn", "home", "end", "enter", "esc"
PAGE = 10
"""Rows that page up and page down go."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to ask of the server: an action of ADMIN with its fields. `what` is it in words."""

    action: str
    what: str
    job: str | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where the user is."""

    selected: Key | None = None
    row: int = 0
    """The place of the selected job among all; whoever comes there is selected when that job is gone."""
    asking: Wish | None = None
    """Goes out when the user says yes."""
    note: str = ""
    """What there is to say, until the next key."""
    help: bool = False
    quit: bool = False


def follow(state: State, shown: Overview) -> State:
    """The state for another overview: the selection stays with its job, wherever that is now."""
    names = [key(job) for job in in_order(shown)]
    if not names:
        return replace(state, selected=None, row=0)
    row = names.index(state.selected) if state.selected in names else min(state.row, len(names) - 1)
    return replace(state, selected=names[row], row=row)


def selected(state: State, shown: Overview) -> Job | None:
    """The job that the keys are about."""
    return next((job for job in in_order(shown) if key(job) == state.selected), None)


def press(state: State, pressed: str, shown: Overview) -> tuple[State, Wish | None]:
    """The state after the key `pressed`, and the wish that goes out with it."""
    if state.asking is not None:
        wish = state.asking if pressed in ("y", "Y") else None
        return replace(state, asking=None, note=f"{wish.what} ..." if wish else "nothing was done"), wish
    state = replace(state, note="", help=False)
    if pressed in _MOVES:
        return _move(state, _MOVES[pressed], shown), None
    handler = _KEYS.get(pressed)
    return (state if handler is None else handler(state, shown)), None


def _move(state: State, where: Callable[[int, int], int], shown: Overview) -> State:
    jobs = in_order(shown)
    if not jobs:
        return state
    row = max(0, min(where(state.row, len(jobs)), len(jobs) - 1))
    return replace(state, row=row, selected=key(jobs[row]))


_MOVES: Mapping[str, Callable[[int, int], int]] = {
    UP: lambda row, count: row - 1,
    "k": lambda row, count: row - 1,
    DOWN: lambda row, count: row + 1,
    "j": lambda row, count: row + 1,
    PAGE_UP: lambda row, count: row - PAGE,
    PAGE_DOWN: lambda row, count: row + PAGE,
    HOME: lambda row, count: 0,
    "g": lambda row, count: 0,
    END: lambda row, count: count,
    "G": lambda row, count: count,
}


def _cancel(state: State, shown: Overview) -> State:
    job = selected(state, shown)
    if job is None:
        return replace(state, note="no job is selected")
    if isinstance(job, FailedOverview):
        return replace(state, note="this job has ended; r runs it again")
    what = f"cancel job {printable(job.job)} of {printable(job.principal)}"
    return replace(state, asking=Wish("cancel", what, job.job, job.principal))


def _cancel_all(state: State, shown: Overview) -> State:
    job = selected(state, shown)
    if job is None:
        return replace(state, note="no job is selected")
    return replace(
        state, asking=Wish("cancel", f"cancel all jobs of {printable(job.principal)}", principal=job.principal)
    )


def _pause(state: State, shown: Overview) -> State:
    if shown.paused:
        return replace(state, asking=Wish("resume", "take new jobs again"))
    return replace(state, asking=Wish("pause", "take no new jobs"))


def _requeue(state: State, shown: Overview) -> State:
    job = selected(state, shown)
    if not isinstance(job, FailedOverview):
        return replace(state, note="select a job that failed or expired to run it again")
    what = f"run job {printable(job.job)} of {printable(job.principal)} again"
    return replace(state, asking=Wish("requeue", what, job.job, job.principal))


def _quit(state: State, shown: Overview) -> State:
    return replace(state, quit=True)


def _help(state: State, shown: Overview) -> State:
    return replace(state, help=True)


_KEYS: Mapping[str, Callable[[State, Overview], State]] = {
    "c": _cancel,
    "x": _cancel_all,
    "p": _pause,
    "r": _requeue,
    "q": _quit,
    "?": _help,
    "h": _help,
}

# ---------------------------------------------------------------------- from bytes to keys

_SEQUENCES: Mapping[str, str] = {
    "[A": UP,
    "[B": DOWN,
    "OA": UP,
    "OB": DOWN,
    "[5~": PAGE_UP,
    "[6~": PAGE_DOWN,
    "[H": HOME,
    "[F": END,
    "[1~": HOME,
    "[4~": END,
    "OH": HOME,
    "OF": END,
}


def keys(text: str) -> list[str]:
    """The keys in what a terminal sent; sequences that are not known are left out."""
    found: list[str] = []
    while text:
        if not text.startswith("\x1b"):
            found.append(ENTER if text[0] in "\r\n" else text[0])
            text = text[1:]
            continue
        known = next((name for name in _SEQUENCES if text.startswith(name, 1)), None)
        if known is not None:
            found.append(_SEQUENCES[known])
            text = text[1 + len(known) :]
        elif text[1:2] in ("[", "O"):
            # the end of a sequence: a letter or ~ after parameters
            end = next((at for at in range(2, len(text)) if "@" <= text[at] <= "~"), len(text) - 1)
            text = text[end + 1 :]
        else:
            found.append(ESCAPE)
            text = text[1:]
    return found
