"""What the commands print: JSON lines for programs, text with colours on a terminal, notes and progress on stderr."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from ..cli.exits import print_json, printable
from .annotate import Broken, Incomplete, Item, SeenFrame, Side
from .shown import lines, to_map

PATIENCE: Final = 1.0  # seconds after which work in progress is shown
_STYLES: Final = {"C": "cyan", "S": "green", None: ""}


class _Console(Console):
    """rich ends the program with 1 when the reader of our output has seen enough; for us that is a good end."""

    def on_broken_pipe(self) -> None:
        """Let `carry_out` deal with it."""
        raise BrokenPipeError


class Screen:
    """Where one command prints. secrets: show tokens as they are."""

    def __init__(self, *, as_json: bool, secrets: bool = False, tails: bool = False) -> None:
        self.as_json = as_json
        self.secrets = secrets
        self.tails = tails
        self._out = _Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
        self._err = _Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)

    def json(self, value: Any) -> None:
        """One JSON value on one line, whatever the mode."""
        print_json(value)

    def say(self, text: str, style: str = "") -> None:
        """Lines for people; nothing with --json."""
        if not self.as_json:
            self._out.print(Text(printable(text), style))

    def note(self, text: str) -> None:
        """A line on stderr, in every mode."""
        self._err.print(Text(f"pixwire wire: {printable(text)}", "dim"))

    def result(self, value: dict[str, Any], text: str, style: str = "") -> None:
        """A result in the form that was asked for."""
        if self.as_json:
            print_json(value)
        else:
            self._out.print(Text(printable(text), style))

    def item(self, item: Item, side: Side | None, *, conn: int | None = None) -> None:
        """An annotated item in the form that was asked for."""
        if self.as_json:
            print_json(self.item_map(item, side, conn=conn))
            return
        prefix = "" if conn is None else f"#{conn} "
        for line in lines(item, side, show_secrets=self.secrets):
            bad = "! " in line[:24] or isinstance(item, Broken | Incomplete)
            self._out.print(Text(prefix + line, "red" if bad else _STYLES[side]))

    def item_map(self, item: Item, side: Side | None, *, conn: int | None = None) -> dict[str, Any]:
        """The JSON object of an item."""
        found = to_map(item, side, show_secrets=self.secrets)
        if conn is not None:
            found = {"conn": conn, **found}
        if self.tails and isinstance(item, SeenFrame):
            found["tail"] = item.tail.hex()
        return found

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Says that something is going on, when it takes longer than a second: a spinner, or one line."""
        status = self._err.status(Text(what))
        show = status.start if self._err.is_terminal else (lambda: self.note(f"{what} ..."))
        timer = threading.Timer(PATIENCE, show)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            status.stop()
