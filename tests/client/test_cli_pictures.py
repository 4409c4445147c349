"""Previews in the terminal: the right way for each, sequences that a terminal takes, and a bar where there is none."""

import asyncio
import base64
import codecs
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pyte
import pytest
from command_line import SECONDS, Command, run
from rich.console import Console
from scripted_server import ScriptedServer

from pixwire import errors
from pixwire.cli.pictures import CHUNK, ROWS, Picture, Terminal, Way, choose, iterm, kitty_place, kitty_send
from pixwire.cli.show import Bars
from pixwire.events import Preview, Progress
from pixwire.image import Image
from pixwire_protocol.messages import Watch
from pixwire_protocol.settings import Settings

ORANGE, TEAL = (250, 128, 4), (0, 128, 120)
KITTY = re.compile(r"\x1b_G(?P<keys>[^;\x1b]*)(?:;(?P<data>[^\x1b]*))?\x1b\\")
ITERM = re.compile(r"\x1b\]1337;File=(?P<keys>[^:]*):(?P<data>[^\x07]*)\x07")


def picture(width: int = 16, height: int = 16, kind: str = "PNG") -> Image:
    """Orange above, teal below."""
    made = PIL.Image.new("RGB", (width, height), ORANGE)
    made.paste(TEAL, (0, height // 2, width, height))
    file = io.BytesIO()
    made.save(file, kind)
    return Image(memoryview(file.getvalue()), f"image/{kind.lower()}", width, height)


def terminal(
    colours: str | None = "truecolor", *, is_terminal: bool = True, pillow: bool = True, **env: str
) -> Terminal:
    return Terminal(is_terminal, colours, {"TERM": "xterm-256color", **env}, pillow)


WAYS: list[tuple[Terminal, Way]] = [
    (terminal(KITTY_WINDOW_ID="1"), Way.KITTY),
    (terminal(TERM="xterm-kitty"), Way.KITTY),
    (terminal(TERM="xterm-ghostty"), Way.KITTY),
    (terminal(TERM_PROGRAM="iTerm.app"), Way.ITERM),
    (terminal(LC_TERMINAL="iTerm2"), Way.ITERM),
    (terminal(TERM_PROGRAM="WezTerm"), Way.ITERM),
    (terminal(TERM_PROGRAM="iTerm.app", pillow=False), Way.ITERM),
    (terminal(KITTY_WINDOW_ID="1", pillow=False), Way.OFF),
    (terminal(), Way.BLOCKS),
    (terminal(pillow=False), Way.OFF),
    (terminal("256"), Way.OFF),
    (terminal(None), Way.OFF),
    (terminal(KITTY_WINDOW_ID="1", TMUX="/tmp/tmux-1000/default,1,0"), Way.BLOCKS),
    (terminal("256", TERM_PROGRAM="iTerm.app", TERM="screen-256color"), Way.OFF),
    (terminal(KITTY_WINDOW_ID="1", TERM="dumb"), Way.OFF),
    (terminal(NO_COLOR="1"), Way.OFF),
    (terminal(KITTY_WINDOW_ID="1", is_terminal=False), Way.OFF),
]


@pytest.mark.parametrize(("where", "way"), WAYS, ids=lambda value: str(getattr(value, "environment", value))[:60])
def test_what_a_terminal_can(where: Terminal, way: Way) -> None:
    assert choose(Way.AUTO, where) is way


def test_what_is_asked_for_by_name() -> None:
    plain = terminal("256")
    assert [choose(way, plain) for way in Way if way is not Way.AUTO] == [way for way in Way if way is not Way.AUTO]
    assert choose(Way.KITTY, terminal(is_terminal=False)) is Way.OFF
    for way in (Way.KITTY, Way.BLOCKS):
        with pytest.raises(errors.InvalidArgument, match="pillow"):
            choose(way, terminal(pillow=False))


@pytest.mark.parametrize("side", [1, 31, 200])
def test_kitty_gets_all_pixels_in_pieces_and_never_answers(side: int) -> None:
    decoded = PIL.Image.frombytes("RGB", (side, side), os.urandom(3 * side * side))
    sent = kitty_send(77, decoded)
    pieces = list(KITTY.finditer(sent))
    assert "".join(piece[0] for piece in pieces) == sent, "nothing between the sequences"
    assert all(len(piece["data"]) <= CHUNK for piece in pieces)
    assert [piece["keys"][-3:] for piece in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"] or len(pieces) == 1
    keys = dict(pair.split("=") for pair in pieces[0]["keys"].split(","))
    assert (keys["i"], keys["s"], keys["v"], keys["f"], keys["q"]) == ("77", str(side), str(side), "24", "2")
    assert base64.standard_b64decode("".join(piece["data"] for piece in pieces)) == decoded.tobytes()
    placed = KITTY.fullmatch(kitty_place(77, 24, 12))
    assert placed is not None
    assert placed["keys"] == "a=p,q=2,i=77,p=1,c=24,r=12,C=1"


def test_iterm_gets_the_file_as_it_is() -> None:
    preview = picture(kind="JPEG")
    found = ITERM.fullmatch(iterm(bytes(preview.data), 24, 12))
    assert found is not None
    assert base64.standard_b64decode(found["data"]) == bytes(preview.data)
    assert {"inline=1", "width=24", "height=12", "doNotMoveCursor=1"} <= set(found["keys"].split(";"))


def shown(way: Way, *previews: Image, width: int = 80, height: int = 30) -> str:
    """What reaches the terminal."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=width, height=height, color_system="truecolor", legacy_windows=False
    )
    bars = Bars(console, Picture(way, 77))
    with bars:
        for number, preview in enumerate(previews, 1):
            bars.update("a red circle", Progress("j", number, number, 4))
            bars.update("a red circle", Preview("j", number, number, 4, preview))
            bars._progress.refresh()
    return file.getvalue()


def on_screen(text: str, columns: int = 80, lines: int = 30) -> pyte.Screen:
    screen = pyte.Screen(columns, lines)
    # pyte passes over the picture protocols with an error in the text: a terminal that has them does not
    pyte.Stream(screen).feed(ITERM.sub("", KITTY.sub("", text)).replace("\n", "\r\n"))
    return screen


def test_blocks_have_the_colours_of_the_picture_and_the_bar_is_below() -> None:
    screen = on_screen(shown(Way.BLOCKS, picture(), picture()))
    for row, colour in ((0, ORANGE), (ROWS - 1, TEAL)):
        cell = screen.buffer[row][0]
        assert (cell.data, cell.fg, cell.bg) == ("▀", bytes(colour).hex(), bytes(colour).hex())
    assert [line.count("▀") for line in screen.display[:ROWS]] == [2 * ROWS] * ROWS
    assert "step 2 of 4" in screen.display[ROWS]
    assert not "".join(screen.display[ROWS + 1 :]).strip()


@pytest.mark.parametrize("way", [Way.KITTY, Way.ITERM])
def test_a_picture_is_laid_over_blank_lines_and_the_bar_is_below(way: Way) -> None:
    text = shown(way, picture(), picture(32, 16))
    screen = on_screen(text)
    assert "step 2 of 4" in screen.display[ROWS]
    assert not "".join(screen.display[:ROWS]).strip()
    found = list((KITTY if way is Way.KITTY else ITERM).finditer(text))
    for one in found if way is Way.ITERM else [one for one in found if "a=p" in one["keys"]]:
        before, after = text[: one.start()], text[one.end() :]
        assert after.startswith("\x1b8"), "the cursor is put back"
        assert before.rindex("\x1b7") > before.rfind("\x1b8")
    if way is Way.KITTY:  # each preview is sent once, however often it is drawn
        assert sum("a=t" in one["keys"] for one in found) == 2
        assert sum("a=p" in one["keys"] for one in found) > 2


def test_a_small_terminal_gets_a_small_picture() -> None:
    screen = on_screen(shown(Way.BLOCKS, picture(64, 16), width=20, height=8), 20, 8)
    rows = [line.count("▀") for line in screen.display]
    assert max(rows) <= 20
    assert sum(map(bool, rows)) <= 4
    assert any("step" in line for line in screen.display)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8 no picture", bytes(1000)], ids=["empty", "broken", "zeros"])
def test_what_is_no_picture_is_passed_over(data: bytes) -> None:
    strange = Image(memoryview(data), "image/jpeg", 8, 8)
    assert "▀" not in shown(Way.BLOCKS, strange)
    assert "a=t" not in shown(Way.KITTY, strange)


def test_a_picture_of_a_million_lines_is_not_decoded() -> None:
    """Small on the wire, large in memory."""
    file = io.BytesIO()
    PIL.Image.new("1", (100_000, 100)).save(file, "PNG")
    assert "▀" not in shown(Way.BLOCKS, Image(memoryview(file.getvalue()), "image/png", 8, 8))


class Pty:
    """A terminal for a command: everything that it writes there, and a screen that shows it."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.heard = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        try:
            self.heard += self.decoder.decode(os.read(self.master, 1 << 16))
        except OSError:
            asyncio.get_running_loop().remove_reader(self.master)
        self.news.set()

    async def until(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while text not in self.heard:
                self.news.clear()
                await self.news.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize("option", ["auto", "off"])
async def test_watch_in_a_terminal(tmp_path: Path, option: str) -> None:
    pty = Pty()
    seen = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80", "LINES": "30", "PIXWIRE_URL": ""}
    hidden = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX", "STY", "CI")}
    settings = Settings(agent="scripted/1", server_id="scripted", epoch="e1", features=("preview",))
    async with ScriptedServer(settings) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pixwire", "watch", "j-1", "--url", server.url, "--preview", option),
            env={**hidden, **seen, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=tmp_path,
            stdin=pty.slave,
            stdout=pty.slave,
            stderr=pty.slave,
        )
        request = await server.next(Watch)
        assert ("preview" in request.message.want) == (option == "auto"), "nothing is sent that nobody looks at"
        request.accept("running")
        request.progress(2)
        if option == "auto":
            request.preview(2, bytes(picture(kind="JPEG").data))
            await pty.until("▀")
        request.succeed([b"x"], deliver=False)
        async with asyncio.timeout(SECONDS):
            assert await process.wait() == 0
    await pty.until("succeeded")
    pty.close()
    screen = on_screen(pty.heard.replace("\r\n", "\n"))
    blocks = sum(line.count("▀") for line in screen.display)
    assert blocks == (2 * ROWS * ROWS if option == "auto" else 0)
    assert any("j-1" in line and "succeeded" in line for line in screen.display)


async def test_a_pipe_is_asked_for_no_previews(tmp_path: Path) -> None:
    settings = Settings(agent="scripted/1", server_id="scripted", epoch="e1", features=("preview",))
    async with ScriptedServer(settings) as server:
        command = await Command.start("watch", "j-1", "--preview", "blocks", cwd=tmp_path, url=server.url)
        request = await server.next(Watch)
        assert request.message.want == ["progress"] or request.message.want == ("progress",)
        request.accept("running")
        request.succeed([b"x"], deliver=False)
        ended = await command.end()
    assert (ended.code, ended.out) == (0, "")
    assert "▀" not in ended.err
    assert "succeeded" in ended.err


async def test_an_unknown_way(tmp_path: Path) -> None:
    ended: Any = await run("watch", "j-1", "--preview", "sixel", cwd=tmp_path)
    assert ended.code == 2
    assert all(way.value in ended.err for way in Way)
