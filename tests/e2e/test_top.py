"""`pixwire top` on a terminal of 80 by 24: what stands there, and what its keys do to a real server."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pixwire

pyte = pytest.importorskip("pyte")

ROWS, COLUMNS = 24, 80
SECONDS = 60.0  # a bound for a hang, never a measure


def _take_terminal() -> None:
    """In the new process: keys become signals, and so do changes of the size."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A program on a terminal of its own, and what stands on the screen."""

    def __init__(self, url: str, *arguments: str) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self.resize(ROWS, COLUMNS)
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment |= {
            "PIXWIRE_URL": url,
            "TERM": "xterm-256color",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pixwire", "top", "--interval", "0.1", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        self._slave = slave
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        self._stream.feed(os.read(self._master, 1 << 16))
        self._changed.set()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the screen is as it should be."""
        try:
            async with asyncio.timeout(SECONDS):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"the screen never became what was waited for:\n{self.text}") from None

    async def shows(self, text: str) -> None:
        await self.until(lambda: text in self.text)

    async def code(self) -> int:
        return await asyncio.to_thread(self.process.wait, SECONDS)

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before."""
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
async def open_top(server: Any) -> Iterator[Callable[..., Terminal]]:  # type: ignore[misc]
    """Starts `pixwire top` for the shared server."""
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(server.url, *arguments))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


async def test_a_job_is_seen_chosen_and_cancelled(server: Any, open_top: Callable[..., Terminal]) -> None:
    top = open_top()
    async with pixwire.connect(server.url) as client:
        job = await client.submit("a red circle", seed=1, steps=200, priority="high")
        await top.until(lambda: any(job.id[-8:] in line and " high " in line and "/200" in line for line in top.lines))
        await top.until(lambda: top.lines[0].startswith(f"pixwire top  {server.url}  up "))
        await top.until(lambda: top.lines[-1].startswith("arrows: choose"))
        top.press("c")
        await top.shows(f"y/n? cancel job {job.id} of anonymous")
        top.press("n")
        await top.shows("nothing was done")
        top.press("\x1b[A")
        top.press("c")
        await top.shows("y/n? cancel job")
        top.press("y")
        await top.shows(": 1 cancelled")
        with pytest.raises(pixwire.JobCancelled):
            await job.image(timeout=120)
    await top.until(lambda: "running 0" in top.lines)
    top.press("q")
    assert await top.code() == 0
    assert top.restored


async def test_pause_and_resume_by_a_key_and_another_size(server: Any, open_top: Callable[..., Terminal]) -> None:
    top = open_top()
    await top.shows("arrows: choose")
    top.press("p")
    await top.shows("y/n? take no new jobs")
    top.press("y")
    try:
        await top.until(lambda: top.lines[0].endswith("PAUSED"))
        async with pixwire.connect(server.url) as client:
            with pytest.raises(pixwire.Paused):
                await client.submit("a red circle")
    finally:
        top.press("p")
        await top.shows("y/n? take new jobs again")
        top.press("y")
        await top.until(lambda: "PAUSED" not in top.lines[0])
    top.press("?")
    await top.shows("run it again, if it failed or expired")
    top.screen.resize(12, 60)
    top.resize(12, 60)
    await top.until(lambda: len(top.lines) == 12 and top.lines[-1].startswith("arrows: choose"))
    top.press("\x03")
    assert await top.code() == 130
    assert top.restored


async def test_a_lost_connection_is_seen_and_nothing_is_asked_for_later(
    server: Any, open_top: Callable[..., Terminal], tmp_path: Path
) -> None:
    """Between the command and the server stands a pipe that the test cuts."""
    place, _, port = server.url.removeprefix("pixwire://").rpartition(":")
    writers: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        others, other = await asyncio.open_connection(place, int(port))
        writers.extend((writer, other))

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    target.write(data)
            target.close()

        await asyncio.gather(copy(reader, other), copy(others, writer))

    path = str(tmp_path / "pipe")
    pipe = await asyncio.start_unix_server(pass_on, path)
    top = open_top("--url", f"pixwire+unix://{path}")
    await top.shows("arrows: choose")
    pipe.close()
    for writer in writers:
        writer.transport.abort()
    await top.shows("not connected; trying again")
    top.press("p")
    await top.shows("y/n? take no new jobs")
    top.press("y")
    await top.shows("not connected: nothing was done")
    Path(path).unlink()
    pipe = await asyncio.start_unix_server(pass_on, path)
    top.press("g")
    await top.until(lambda: "connected" not in top.text)
    assert not top.lines[0].endswith("PAUSED")
    top.press("q")
    assert await top.code() == 0
    pipe.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_the_terminal_is_given_back_when_it_is_told_to_end(
    open_top: Callable[..., Terminal], number: int
) -> None:
    top = open_top()
    await top.shows("arrows: choose")
    assert not top.restored
    top.process.send_signal(number)
    assert await top.code() == 0
    assert top.restored
