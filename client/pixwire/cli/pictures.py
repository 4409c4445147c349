"""Previews in the terminal: which way of showing a picture it has, and the escape sequences for it. No I/O.

There is no sixel here: no library that is well kept writes it, and the terminals that have only sixel show the blocks.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import ControlType, Segment
from rich.style import Style

from ..errors import invalid
from ..image import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ROWS = 12  # of the terminal, for a picture; two half rows each
CHUNK = 4096  # bytes of base64 in one sequence of kitty's protocol
MOST_PIXELS = 1 << 22  # a preview is small: a larger one is somebody's trick
ESC, BELL, END = "\x1b", "\x07", "\x1b\\"


class Way(StrEnum):
    """How previews are shown."""

    AUTO = "auto"
    KITTY = "kitty"
    ITERM = "iterm"
    BLOCKS = "blocks"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Terminal:
    """What is known of the terminal. `colours`: as rich has it, "truecolor" if it shows them all."""

    is_terminal: bool
    colours: str | None
    environment: Mapping[str, str]
    can_decode: bool
    """Whether pillow is installed."""


# Variable, beginning of its value -> the protocol that this terminal has. The first row that fits counts.
# Sources: sw.kovidgoyal.net/kitty/graphics-protocol (its list of terminals), iterm2.com/documentation-images.html,
# wezterm.org/imgcat.html, mintty.github.io/mintty.1.html.
_TERMINALS: tuple[tuple[str, str, Way], ...] = (
    ("KITTY_WINDOW_ID", "", Way.KITTY),
    ("TERM", "xterm-kitty", Way.KITTY),
    ("TERM", "xterm-ghostty", Way.KITTY),
    ("TERM_PROGRAM", "ghostty", Way.KITTY),
    ("TERM_PROGRAM", "iTerm.app", Way.ITERM),
    ("LC_TERMINAL", "iTerm2", Way.ITERM),  # what it sends along through ssh
    ("TERM_PROGRAM", "WezTerm", Way.ITERM),
    ("TERM_PROGRAM", "mintty", Way.ITERM),
)
_BETWEEN: tuple[tuple[str, str], ...] = (("TMUX", ""), ("STY", ""), ("TERM", "screen"), ("TERM", "tmux"))
"""Programs that stand between and pass no pictures on unless they are told to."""


def choose(wanted: Way, terminal: Terminal) -> Way:
    """The way for this terminal; what is `wanted` by name is taken at its word.

    Raises InvalidArgument when pillow is missing for it, and ImportError never.
    """
    if wanted is Way.AUTO:
        return _detect(terminal)
    if wanted in (Way.KITTY, Way.BLOCKS) and not terminal.can_decode:
        text = f"--preview {wanted.value} needs pillow, which is not installed: pip install pillow"
        raise invalid("preview", wanted.value, "off, or iterm", text)
    return wanted if terminal.is_terminal else Way.OFF


def _detect(terminal: Terminal) -> Way:
    known = terminal.environment
    if not terminal.is_terminal or known.get("TERM") == "dumb" or known.get("NO_COLOR"):
        return Way.OFF
    between = any(name in known and known[name].startswith(value) for name, value in _BETWEEN)
    for name, value, way in () if between else _TERMINALS:
        if name in known and known[name].startswith(value) and (terminal.can_decode or way is Way.ITERM):
            return way
    return Way.BLOCKS if terminal.colours == "truecolor" and terminal.can_decode else Way.OFF


class Picture:
    """The latest preview, as rich shows it: `ROWS` lines high, or nothing before the first one."""

    def __init__(self, way: Way, number: int) -> None:
        """`number`: a name for the picture in kitty, unlike those of other programs in the same window."""
        self._way = way
        self._number = number
        self._preview: Image | None = None
        self._decoded: PILImage | None = None
        self._is_sent = False

    def show(self, preview: Image) -> None:
        """Another preview takes the place of the last one. One that cannot be decoded is passed over."""
        if self._way is not Way.ITERM:
            decoded = _decode(preview)
            if decoded is None:
                return
            self._decoded = decoded
        self._preview, self._is_sent = preview, False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._preview is None:
            return
        columns, rows = _cells(self._preview, options.max_width, console.height)
        if self._way is Way.BLOCKS and self._decoded is not None:
            yield from _blocks(self._decoded, columns, rows)
            return
        # The lines are blank; the picture is laid over them, and the cursor put back, so that rich need not know.
        yield Segment(ESC + "7" + self._sequence(columns, rows) + ESC + "8", None, [(ControlType.BELL,)])
        for _ in range(rows):
            yield Segment.line()

    def _sequence(self, columns: int, rows: int) -> str:
        if self._way is Way.ITERM and self._preview is not None:
            return iterm(bytes(self._preview.data), columns, rows)
        sent, self._is_sent = self._is_sent, True
        sending = "" if sent or self._decoded is None else kitty_send(self._number, self._decoded)
        return sending + kitty_place(self._number, columns, rows)


def kitty_send(number: int, picture: "PILImage") -> str:
    """A picture for kitty to keep under a number: raw RGB, in pieces; it is not to answer (q=2)."""
    data = base64.standard_b64encode(picture.tobytes()).decode()
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    first = f"a=t,q=2,f=24,i={number},s={picture.width},v={picture.height},"
    return "".join(
        f"{ESC}_G{first if index == 0 else ''}m={int(index < len(pieces) - 1)};{piece}{END}"
        for index, piece in enumerate(pieces)
    )


def kitty_place(number: int, columns: int, rows: int) -> str:
    """Shows the picture with that number here, in place of where it was; the cursor stays (C=1)."""
    return f"{ESC}_Ga=p,q=2,i={number},p=1,c={columns},r={rows},C=1{END}"


def iterm(data: bytes, columns: int, rows: int) -> str:
    """An encoded picture for iTerm2 and what follows it; the cursor is put back by who asks."""
    size = f"size={len(data)};width={columns};height={rows};preserveAspectRatio=1;doNotMoveCursor=1"
    return f"{ESC}]1337;File=inline=1;{size}:{base64.standard_b64encode(data).decode()}{BELL}"


def _blocks(picture: "PILImage", columns: int, rows: int) -> Iterable[Segment]:
    """Two pixels in a cell: the upper half block in the colour of the one, on the colour of the other."""
    data = picture.resize((columns, 2 * rows)).tobytes()
    for row in range(rows):
        for column in range(columns):
            upper, lower = (3 * (columns * (2 * row + half) + column) for half in (0, 1))
            colours = [f"#{data[at : at + 3].hex()}" for at in (upper, lower)]
            yield Segment("▀", Style(color=colours[0], bgcolor=colours[1]))
        yield Segment.line()


def _cells(preview: Image, width: int, height: int) -> tuple[int, int]:
    """Columns and rows for a picture: its shape, in cells that are twice as high as wide, if there is room."""
    rows = max(1, min(ROWS, height - 4))
    columns = max(1, round(2 * rows * preview.width / max(1, preview.height)))
    if columns > width:
        rows = max(1, rows * width // columns)
        columns = max(1, width)
    return columns, rows


def _decode(preview: Image) -> "PILImage | None":
    """What a server sent need not be a picture."""
    import PIL.Image

    try:
        picture = PIL.Image.open(io.BytesIO(preview.data), formats=("JPEG", "PNG", "WEBP"))
        if picture.width * picture.height > MOST_PIXELS:
            return None
        return picture.convert("RGB")
    except Exception:  # decoders raise whatever they like; a preview is not worth a word
        return None
