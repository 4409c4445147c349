"""How work in progress looks: bars on a terminal, plain lines elsewhere, nothing when the output is for a program."""

import importlib.util
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..events import Event, Preview, StateChange
from .exits import printable
from .pictures import Picture, Terminal, Way, choose

LABEL = 40  # characters


class Display(Protocol):
    """Shows how several pieces of work come along. A context manager; `label` names one piece."""

    shows_pictures: bool
    """Whether previews are worth being asked for."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, label: str, event: Event) -> None:
        """An event of the job behind `label` came."""

    def upload(self, label: str, sent: int, total: int) -> None:
        """So many bytes of the pictures that belong to the work have left."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""


def display(*, quiet: bool, preview: Way = Way.OFF) -> Display:
    """The display that suits stderr. Raises InvalidArgument for a `preview` that needs what is not installed."""
    console = Console(stderr=True, highlight=False)
    can_decode = importlib.util.find_spec("PIL") is not None
    way = choose(preview, Terminal(console.is_terminal, console.color_system, os.environ, can_decode))
    if quiet:
        return Silence()
    if not console.is_terminal:
        return Lines(console)
    return Bars(console, None if way is Way.OFF else Picture(way, os.getpid()))


def short(label: str) -> str:
    """A label, which may be a prompt of any length, on one line of a bar."""
    text = " ".join(printable(label).split())
    return text if len(text) <= LABEL else text[: LABEL - 1].rstrip() + "…"


def describe(event: Event) -> str:
    """An event in words."""
    if not isinstance(event, StateChange):
        return f"step {event.step} of {event.steps}"
    status = event.status
    if status.error is not None:
        return f"{status.state.value}: {printable(status.error.message)}"
    text = status.state.value
    if status.queue_position is not None:
        text += f", about place {status.queue_position} in the queue"
    if status.eta_ms is not None:
        text += f", about {seconds(status.eta_ms)} to go"
    return text


def seconds(milliseconds: int) -> str:
    """A short time as people say it: `0.4 s`, `12 s`, `3 min`."""
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 1000:.0f} s" if milliseconds < 120_000 else f"{milliseconds / 60_000:.0f} min"


class _Progress(Progress):
    """Bars with a picture above them."""

    picture: Picture | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.picture is not None:
            yield self.picture
        yield from super().get_renderables()


class Bars:
    """One bar for each label, on a terminal; above them the latest preview of any."""

    def __init__(self, console: Console, picture: Picture | None = None) -> None:
        self.shows_pictures = picture is not None
        self._progress = _Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._progress.picture = picture
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, label: str, event: Event) -> None:
        if isinstance(event, Preview):
            if self._progress.picture is not None:
                self._progress.picture.show(event.image)
            return
        task = self._task(label)
        self._progress.update(task, completed=event.step, total=event.steps or None, state=describe(event))
        if isinstance(event, StateChange) and event.state.terminal:
            self._progress.stop_task(task)

    def upload(self, label: str, sent: int, total: int) -> None:
        state = f"sending, {sent / 1e6:.1f} of {total / 1e6:.1f} MB"
        self._progress.update(self._task(label), completed=sent, total=total, state=state)

    def _task(self, label: str) -> TaskID:
        task = self._tasks.get(label)
        if task is None:
            task = self._tasks[label] = self._progress.add_task(escape(short(label)), state="", total=None)
        return task

    def note(self, text: str) -> None:
        self._progress.console.print(escape(text))


class Lines:
    """Each state once; steps are left out, they would fill a log."""

    shows_pictures = False

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, label: str, event: Event) -> None:
        if isinstance(event, StateChange) and self._last.get(label) != event.state:
            self._last[label] = event.state
            self.note(f"{short(label)}: {describe(event)}")

    def upload(self, label: str, sent: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


class Silence:
    """Shows nothing."""

    shows_pictures = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, label: str, event: Event) -> None:
        pass

    def upload(self, label: str, sent: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
