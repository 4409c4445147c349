"""`repl`: a conversation with a server, frame by frame."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from ...cli.exits import ExitCode
from ..build import Streams
from ..errors import InputError
from ..phrase import COMMANDS, candidates, parse_line
from ..screen import Screen
from ..talk import Talk, TalkOptions
from ..waits import Waits
from .describe import find, page_text

_HISTORY: Final = Path("~/.cache/pixwire/wire-history")
Lines = Callable[[], Awaitable[str | None]]
"""Asks for the next line; None: there are no more."""
_LEAVE: Final = ("quit", "exit", "q")


class FrameCompleter(Completer):
    """Completes from the registry."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What may come next."""
        line = document.text_before_cursor.lstrip()
        start = -len(line.split(" ")[-1])
        for text in candidates(line):
            yield Completion(text, start_position=start)


async def repl(options: TalkOptions, screen: Screen) -> int:
    """Runs until `quit`, Ctrl-D, or the end of the connection."""
    with screen.busy(f"connecting to {options.url}"):
        talk = await Talk.connect(options)
    async with talk:
        welcome = talk.welcome
        screen.say(f"connected to {options.url}: {welcome.agent}, epoch {welcome.epoch}. `help` says what can be said.")
        conversation = Conversation(talk, screen)
        return await conversation.run()


class Conversation:
    """Reading lines and listening, at the same time."""

    def __init__(self, talk: Talk, screen: Screen) -> None:
        self._talk = talk
        self._screen = screen
        self._streams = Streams()
        self._waits = Waits("end")
        self._changed = asyncio.Event()

    async def run(self) -> int:
        """Until somebody leaves. Returns the exit code."""
        listening = asyncio.create_task(self._listen())
        try:
            async with _keyboard() as lines:
                while (line := await self._next(lines, listening)) is not None:
                    if line.strip().lower() in _LEAVE:
                        break
                    try:
                        await self._carry_out(line.strip())
                    except InputError as error:
                        self._screen.note(error.message + (f" ({error.hint})" if error.hint else ""))
        finally:
            ended = listening.done()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if ended:
            listening.result()  # raises what happened to the output
            self._screen.note("the server ended the connection")
            return ExitCode.CONNECTION
        return ExitCode.OK

    async def _next(self, lines: Lines, listening: asyncio.Task[None]) -> str | None:
        """The next line; None at the end of the input, once all answers are there, or of the connection."""
        reading = asyncio.ensure_future(lines())
        await asyncio.wait({reading, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return None
        line = reading.result()
        if line is None:
            await self._wait()
        return line

    async def _carry_out(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word.lower():
            case "":
                return
            case "help":
                self._help(rest.strip())
            case "wait":
                await self._wait()
            case _:
                data = parse_line(line, self._streams)
                for item in self._waits.sent(data):
                    self._screen.item(item, "C")
                await self._talk.send(data)

    def _help(self, name: str) -> None:
        if name:
            page = find(name)
            self._screen.result(page, page_text(page))
            return
        rows = ["messages: " + " ".join(candidates("")), *(f"  {text}" for text in COMMANDS.values())]
        rows.append('a line: status job=j-1   or   submit job=j kind=txt2img tail.prompt="a red circle" watch=true')
        self._screen.say("\n".join(rows))

    async def _wait(self) -> None:
        while not self._waits.settled and not self._waits.over:
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self) -> None:
        try:
            async for item in self._talk.items():
                self._waits.received(item)
                self._screen.item(item, "S")
                self._changed.set()
        finally:  # also when the output cannot be written: nobody is to wait for what nobody hears any more
            self._waits.over = True
            self._changed.set()


@asynccontextmanager
async def _keyboard() -> AsyncIterator[Lines]:
    """Where lines come from: a person at a terminal, or a pipe. None is the end."""
    if not sys.stdin.isatty():
        yield _piped()
        return
    session: PromptSession[str] = PromptSession("> ", completer=FrameCompleter(), history=_history())

    async def ask() -> str | None:
        while True:
            try:
                return await session.prompt_async()
            except EOFError:
                return None
            except KeyboardInterrupt:
                continue

    with patch_stdout(raw=True):
        yield ask


def _piped() -> Lines:
    """Lines of stdin, read by a thread that nobody has to wait for."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be over before the input is
            for line in sys.stdin.buffer:
                loop.call_soon_threadsafe(queue.put_nowait, line.decode("utf-8", errors="replace"))
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True, name="pixwire-wire-input").start()
    return queue.get


class _Discreet(FileHistory):
    """Lines with tokens are not kept."""

    def store_string(self, string: str) -> None:
        """Writes a line down."""
        if "token" not in string and not string.lstrip().lower().startswith("auth"):
            super().store_string(string)


def _history() -> History:
    path = _HISTORY.expanduser()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        return _Discreet(str(path))
    return InMemoryHistory()
