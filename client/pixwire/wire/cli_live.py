"""The commands that talk to a server: connect, send, repl, ping, grease."""

from enum import StrEnum
from typing import Annotated

import typer

from . import options as o
from .running import carry_out
from .screen import Screen

Flag = typer.Option
Raw = Annotated[bool, Flag("--raw", help="Send nothing by itself: no PONG, no CREDIT.")]


class Wait(StrEnum):
    """When `send` stops listening."""

    END = "end"
    QUIET = "quiet"
    EOF = "eof"
    NONE = "none"


class Probe(StrEnum):
    """What `ping` sends."""

    PING = "ping"
    STATUS = "status"


def _connect(server: o.Server = o.DEFAULT, as_json: o.Json = False) -> int:  # type: ignore[assignment]
    """Shake hands and print what the server tells: limits, features, identity, TLS, round trip.

    \b
    Examples:
      pixwire wire connect pixwire://127.0.0.1
      pixwire wire connect pixwires://gpu.example --ca ca.pem --json | jq .limits
    """
    from .commands.connect import connect

    screen = Screen(as_json=as_json)
    return carry_out(screen, lambda: connect(server.talk(look=True), screen))


def _send(
    server: o.Server,
    frames: Annotated[
        list[str] | None, typer.Argument(metavar="JSON|@FILE|-", help="Frames as JSON, one per line.")
    ] = None,
    hexes: Annotated[list[str] | None, Flag("--hex", help="Bytes in hex (or @file), as they are.")] = None,
    wait: Annotated[Wait, Flag("--wait", help="When to stop listening.")] = Wait.END,
    deadline: Annotated[float, Flag("--deadline", min=0.001, help="Seconds to listen at most.")] = 10.0,
    handshake: Annotated[bool, Flag("--handshake/--no-handshake", help="Begin as every client does.")] = True,
    raw: Raw = False,
    half_close: Annotated[bool, Flag("--half-close", help="End our byte stream behind the last frame.")] = False,
    echo: Annotated[bool, Flag("--echo", help="Print what is sent, too.")] = False,
    tails: Annotated[bool, Flag("--tails", help="Whole tails in hex.")] = False,
    text: Annotated[bool, Flag("--text", help="Print lines for people instead of JSON.")] = False,
    secrets: o.Secrets = False,
    as_json: o.Json = True,
) -> int:
    """Send frames by hand and print what comes back, as JSON lines.

    A frame: {"type", "stream", "end", "flags", "head", "tail"}; what is left out is what it usually is. A tail is a map
    (msgpack), "hex:..", "@file" or text. {"wait": "end"} between frames waits.

    --wait end lasts until every stream has ended and every PING was answered; quiet until nothing comes any more
    between a PING and its PONG; eof until the server ends the connection. --deadline ends each with exit code 4.

    \b
    Examples:
      pixwire wire send URL '{"type": "STATUS", "head": {"job": "j-1"}}'
      pixwire wire send URL @session.jsonl --wait quiet
      pixwire wire send URL --hex "c2 00 00 00" --text
      pixwire wire send URL --no-handshake --hex @preface.hex --wait eof
    """
    from .commands.send import SendOptions, send

    screen = Screen(as_json=as_json and not text, secrets=secrets, tails=tails)
    what = SendOptions(tuple(frames or ()), tuple(hexes or ()), wait.value, deadline, handshake, half_close, echo)
    return carry_out(screen, lambda: send(server.talk(raw=raw), what, screen))


def _repl(
    server: o.Server = o.DEFAULT,  # type: ignore[assignment]
    raw: Raw = False,
    secrets: o.Secrets = False,
    as_json: o.Json = False,
) -> int:
    """Talk to a server frame by frame: completion, history, types checked. `help` inside says more.

    \b
    Example:
      pixwire wire repl
      > status job=j-1
    """
    from .commands.repl import repl

    screen = Screen(as_json=as_json, secrets=secrets)
    return carry_out(screen, lambda: repl(server.talk(raw=raw), screen))


def _ping(
    server: o.Server = o.DEFAULT,  # type: ignore[assignment]
    count: Annotated[int, Flag("--count", "-c", min=1, help="Round trips.")] = 20,
    probe: Annotated[Probe, Flag("--probe", help="status is a request, and is not paced.")] = Probe.PING,
    under_load: Annotated[bool, Flag("--under-load", help="Once more while images come in.")] = False,
    job: Annotated[str | None, Flag("--job", help="Fetch this job as load. [default: the newest]")] = None,
    as_json: o.Json = False,
) -> int:
    """Measure round trips: p50, p99, max and a histogram; idle, and while images come in.

    Servers count PINGs: beyond 150 they go out one per min_ping_ms.

    \b
    Examples:
      pixwire wire ping -c 100
      pixwire wire ping --under-load --job j-1
    """
    from .commands.ping import PingOptions, ping

    screen = Screen(as_json=as_json)
    what = PingOptions(count, probe.value, under_load or job is not None, job)
    return carry_out(screen, lambda: ping(server.talk(), what, screen))


def _grease(
    server: o.Server = o.DEFAULT,  # type: ignore[assignment]
    rounds: Annotated[int, Flag("--rounds", min=1, help="How often, with other random bytes.")] = 1,
    as_json: o.Json = False,
) -> int:
    """Say reserved nonsense of every kind to a server; exit code 1 when it does not shrug it off.

    \b
    Example:
      pixwire wire grease pixwire://127.0.0.1 --rounds 10
    """
    from .commands.grease import grease

    screen = Screen(as_json=as_json)
    return carry_out(screen, lambda: grease(server.talk(), rounds, screen))


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for name, command in (
        ("connect", _connect),
        ("send", _send),
        ("repl", _repl),
        ("ping", _ping),
        ("grease", _grease),
    ):
        app.command(name)(o.with_server(command))
