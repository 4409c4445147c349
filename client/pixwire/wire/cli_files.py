"""The commands about recorded bytes and the registry: decode, replay, diff, lint, describe."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..cli.exits import MEANINGS, ExitCode
from . import options as o
from .diff import DiffOptions
from .running import carry_out
from .screen import Screen

Flag = typer.Option
_OWN = {
    ExitCode.FAILED: "findings, differences, bytes that make no sense, nonsense not survived",
    ExitCode.TIMEOUT: "--deadline or --timeout passed",
}
EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<5}{text}" for code, text in {**MEANINGS, **_OWN}.items())


class Kind(StrEnum):
    """What the input of `decode` is."""

    AUTO = "auto"
    HEX = "hex"
    RAW = "raw"
    PXWCAP = "pxwcap"
    PCAP = "pcap"


class From(StrEnum):
    """Who sent plain bytes."""

    CLIENT = "C"
    SERVER = "S"


Ignore = Annotated[list[str] | None, Flag("--ignore", help="A field not to compare, too.")]
Keep = Annotated[list[str] | None, Flag("--keep", help="A field to compare although it varies.")]
Timing = Annotated[bool, Flag("--timing", help="Compare PING, CREDIT, progress and previews, too.")]


def _decode(
    source: Annotated[list[str], typer.Argument(metavar="HEX|FILE|-", help="Hex digits, files, or - for stdin.")],
    kind: Annotated[Kind, Flag("--as", help="What it is, when it cannot be seen.")] = Kind.AUTO,
    side: Annotated[From, Flag("--from", help="Who sent plain bytes.")] = From.CLIENT,
    port: Annotated[int | None, Flag("--port", help="pcap: the server's port; PXW or not.")] = None,
    tails: Annotated[bool, Flag("--tails", help="With --json: whole tails in hex.")] = False,
    secrets: o.Secrets = False,
    as_json: o.Json = False,
) -> int:
    """Annotate bytes: every frame with its offset, header, head and tail; where and why they stop making sense.

    Hex, raw bytes, .pxwcap, pcap and pcapng are told apart by themselves. Exit code 1 when bytes make no sense.

    \b
    Examples:
      pixwire wire decode c1 00 00 08 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01
      pixwire wire decode session.pxwcap
      tcpdump -i lo -w - port 7499 | pixwire wire decode -
    """
    from .commands.decode import decode

    screen = Screen(as_json=as_json, secrets=secrets, tails=tails)
    return carry_out(screen, lambda: decode(source, kind.value, side.value, port, screen))


def _replay(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help="A .pxwcap or pcap.")],
    server: o.Server = o.DEFAULT,  # type: ignore[assignment]
    deadline: Annotated[float, Flag("--deadline", min=0.001, help="Seconds for each connection.")] = 30.0,
    only: Annotated[int | None, Flag("--connection", help="Only the connection with this number.")] = None,
    output: Annotated[Path | None, Flag("--output", "-o", help="Record what is said now.")] = None,
    suffix: Annotated[str, Flag("--job-suffix", help="Append this to all job ids: jobs of their own.")] = "",
    ignore: Ignore = None,
    keep: Keep = None,
    timing: Timing = False,
    as_json: o.Json = False,
) -> int:
    """Send the client's side of a capture once more and compare the answers; exit code 1 when they differ.

    Each frame waits for the answers that had come before it. PONG and CREDIT answer what the server says now.

    \b
    Example:
      pixwire wire replay session.pxwcap pixwire://127.0.0.1 --job-suffix -2
    """
    from .commands.replay import ReplayOptions, replay
    from .replaying import Changes

    screen = Screen(as_json=as_json)
    chosen = DiffOptions(frozenset(ignore or ()), frozenset(keep or ()), timing)

    def work() -> int:
        changes = Changes(server.token, suffix)
        what = ReplayOptions(server.url, deadline, only, output, server.tls, changes, server.timeout)
        return carry_out(screen, lambda: replay(capture, what, chosen, screen))

    return carry_out(screen, work)


def _diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A capture (.pxwcap or pcap).")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    ignore: Ignore = None,
    keep: Keep = None,
    timing: Timing = False,
    as_json: o.Json = False,
) -> int:
    """Compare two captures, stream by stream; exit code 1 when they differ.

    Not compared: fields that vary by nature (epoch, etag, seq, timings, ...), how DATA is cut into frames, and frames
    that come by timing alone.

    \b
    Example:
      pixwire wire diff before.pxwcap after.pxwcap --ignore params
    """
    from .commands.compare import compare

    screen = Screen(as_json=as_json)
    chosen = DiffOptions(frozenset(ignore or ()), frozenset(keep or ()), timing)
    return carry_out(screen, lambda: compare(first, second, chosen, screen))


def _lint(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help="A .pxwcap or pcap; - for stdin.")],
    strict: Annotated[bool, Flag("--strict", help="Warnings count, too.")] = False,
    as_json: o.Json = False,
) -> int:
    """Judge a capture by the specification, both sides; exit code 1 with findings.

    \b
    Example:
      pixwire wire lint session.pxwcap
    """
    from .commands.compare import check

    screen = Screen(as_json=as_json)
    return carry_out(screen, lambda: check(capture, screen, strict=strict))


def _describe(
    what: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A message, error, limit, feature or requirement.")
    ] = None,
    as_json: o.Json = False,
) -> int:
    """Explain a message, an error code, a limit or a requirement; without a name, list them.

    \b
    Examples:
      pixwire wire describe SUBMIT
      pixwire wire describe 0x0104
      pixwire wire describe PXW-FLW-003
    """
    from .commands.describe import describe

    screen = Screen(as_json=as_json)
    return carry_out(screen, lambda: describe(what, screen))


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("decode")(_decode)
    app.command("replay")(o.with_server(_replay))
    app.command("diff")(_diff)
    app.command("lint")(_lint)
    app.command("describe")(_describe)
