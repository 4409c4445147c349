"""`pixwire top`: the server as it works, again every second, with keys to act on what is seen.

The view (top_view) and the keys (top_keys) are pure; here is the terminal, the connection and the time.
"""

import asyncio
import codecs
import contextlib
import io
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.overview import Overview

from ..aio.client import AsyncClient
from ..errors import AccessDenied, InvalidArgument, PixwireError, ProtocolViolation, invalid
from . import top_keys as keys
from .exits import print_json, printable
from .target import Target
from .top_view import page, report

SHOWN = 50
"""Waiting jobs asked for when it is not said how many; a terminal asks for as many as it has rows."""
MOST = 1000
"""More than that no server shows."""
PAPER_WIDTH = 120
"""Columns where the output is no terminal."""
PICTURE_SIZE = 100, 30
"""Columns and rows of a picture."""
ANSWER_S = 10.0
"""How long an answer is waited for."""
_NO_KEY = ""
"""Among the keys: only has the screen drawn."""
_LOST = "not connected; trying again. What is shown is old."
_LEAVING = (signal.SIGTERM, signal.SIGHUP)
"""End the view as `q` does, so that the terminal is given back as it was."""


async def top(target: Target, interval: float, once: bool, as_json: bool, limit: int) -> int:
    """Shows the overview until `q`; `once`: prints it. With `as_json`, one object per look."""
    if not (once or as_json):
        _check_terminal()
    async with target.connect() as client:
        if once or as_json:
            return await _print(client, interval, once, as_json, limit)
        shown = await look(client, SHOWN)  # what is wrong is better said on the ordinary screen
        with _keys_at_once():
            return await Screen(client, target.url, interval, shown).run()


def _check_terminal() -> None:
    """Raises InvalidArgument when nothing would be seen."""
    wanting = None if sys.stdin.isatty() and sys.stdout.isatty() else "this is no terminal"
    if wanting is None and Console().is_dumb_terminal:
        wanting = f"this terminal (TERM={os.environ['TERM']}) cannot move its cursor"
    if wanting is not None:
        raise invalid("once", False, "--once or --json", f"{wanting}: use --once or --json")


async def picture(target: Target, path: Path, as_json: bool) -> int:
    """Saves what the screen shows at this moment as SVG."""
    async with target.connect() as client:
        shown = await look(client, SHOWN)
    width, height = PICTURE_SIZE
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(page(shown, keys.follow(keys.State(), shown), target.url, width, height))
    drawing = console.export_svg(title="pixwire top")
    await asyncio.to_thread(path.write_text, drawing, encoding="utf-8")
    if as_json:
        print_json({"path": str(path)})
    else:
        print(path)
    return 0


async def _print(client: AsyncClient, interval: float, once: bool, as_json: bool, limit: int) -> int:
    while True:
        body = await client.admin("overview", limit=limit, timeout=ANSWER_S)
        if as_json:
            print_json(body)
        else:
            console = Console(highlight=False)
            if not console.is_terminal:
                console.width = PAPER_WIDTH
            console.print(report(_read(body), client.url, console.width))
        if once:
            return 0
        await asyncio.sleep(interval)


class Screen:
    """The full-screen view of one connection."""

    def __init__(self, client: AsyncClient, url: str, interval: float, shown: Overview) -> None:
        self._client = client
        self._url = url
        self._interval = interval
        self._console = Console()
        self._shown = shown
        self._state = keys.follow(keys.State(), shown)
        self._trouble = ""
        self._pressed: asyncio.Queue[str] = asyncio.Queue()
        self._wishes: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until the user has enough of it. Raises PixwireError when there is nothing to be seen any more."""
        loop = asyncio.get_running_loop()
        with Live(console=self._console, screen=True, auto_refresh=False) as live, self._input(loop):
            looking = asyncio.create_task(self._look_again(live))
            try:
                while not self._state.quit:
                    self._draw(live)
                    await self._next_key(looking)
            finally:
                for task in (looking, *self._wishes):
                    task.cancel()
                await asyncio.wait((looking, *self._wishes))
        return 0

    async def _next_key(self, looking: "asyncio.Task[None]") -> None:
        pressed = asyncio.ensure_future(self._pressed.get())
        # Not for longer than the interval: that the connection is lost is to be seen, too.
        await asyncio.wait((pressed, looking), timeout=self._interval, return_when=asyncio.FIRST_COMPLETED)
        if not pressed.done():
            pressed.cancel()
            if looking.done():
                looking.result()  # raises: there is nothing more to show
            return
        key = pressed.result()
        if key == _NO_KEY:
            return
        self._state, wish = keys.press(self._state, key, self._shown)
        if wish is not None and not self._client.connected:
            # The client would ask as soon as it can, perhaps another server, long after it was wanted.
            self._state = replace(self._state, note="not connected: nothing was done")
        elif wish is not None:
            task = asyncio.create_task(self._ask(wish))
            self._wishes.add(task)
            task.add_done_callback(self._wishes.discard)

    # ------------------------------------------------------------------ the server

    async def _look_again(self, live: Live) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._look()
            self._draw(live)

    async def _look(self) -> None:
        try:
            self._shown = await look(self._client, min(max(SHOWN, self._console.height), MOST))
        except (AccessDenied, InvalidArgument):
            raise  # it will not become better
        except PixwireError as error:
            if self._client.closed:
                raise
            self._trouble = f"old: {_line(error)}"
            return
        self._trouble = ""
        self._state = keys.follow(self._state, self._shown)

    async def _ask(self, wish: keys.Wish) -> None:
        """Carry a wish out and say how it went."""
        fields = {
            name: value for name, value in (("job", wish.job), ("principal", wish.principal)) if value is not None
        }
        try:
            answer = await self._client.admin(wish.action, timeout=ANSWER_S, **fields)
            await self._look()
            self._say(f"{wish.what}: {_told(answer)}")
        except PixwireError as error:
            self._say(_line(error))

    def _say(self, note: str) -> None:
        self._state = replace(self._state, note=note)
        self._pressed.put_nowait(_NO_KEY)

    def _leave(self) -> None:
        self._state = replace(self._state, quit=True)
        self._pressed.put_nowait(_NO_KEY)

    # ------------------------------------------------------------------ the terminal

    def _draw(self, live: Live) -> None:
        width, height = self._console.size
        trouble = self._trouble if self._client.connected else _LOST
        live.update(page(self._shown, self._state, self._url, width, height, trouble=trouble), refresh=True)

    @contextlib.contextmanager
    def _input(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Keys, signals, and changes of the terminal's size come through the loop."""
        descriptor = sys.stdin.fileno()
        text = codecs.getincrementaldecoder("utf-8")("replace")

        def readable() -> None:
            try:
                data = os.read(descriptor, 1024)
            except OSError:
                data = b""
            if not data:  # the terminal is gone
                loop.remove_reader(descriptor)
                self._leave()
            for key in keys.keys(text.decode(data)):
                self._pressed.put_nowait(key)

        loop.add_reader(descriptor, readable)
        loop.add_signal_handler(signal.SIGWINCH, self._pressed.put_nowait, _NO_KEY)
        for number in _LEAVING:
            loop.add_signal_handler(number, self._leave)
        try:
            yield
        finally:
            for number in (signal.SIGWINCH, *_LEAVING):
                loop.remove_signal_handler(number)
            loop.remove_reader(descriptor)


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """The terminal hands over each key when it is pressed, and does not show it. Ctrl-C works as ever."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def look(client: AsyncClient, limit: int) -> Overview:
    """The server now. Raises PixwireError."""
    return _read(await client.admin("overview", limit=limit, timeout=ANSWER_S))


def _read(body: dict[str, Any]) -> Overview:
    try:
        return Overview.from_map(body)
    except RemoteProtocolError as error:
        raise ProtocolViolation(str(error)) from None


def _told(answer: Any) -> str:
    """The answer to a wish, in words."""
    if "cancelled" in answer:
        return f"{answer['cancelled']} cancelled"
    if "job" in answer:
        return f"as job {printable(str(answer['job']))}"
    return "done"


def _line(error: Exception) -> str:
    return " ".join(printable(str(error)).split())
