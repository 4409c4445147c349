"""The commands in the middle: tap and proxy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o
from .cli_files import From
from .running import carry_out
from .screen import Screen

Flag = typer.Option
Upstream = Annotated[str, Flag("--upstream", "-u", envvar="PIXWIRE_URL", help="URL of the server.")]
Listen = Annotated[str, Flag("--listen", "-l", help="host:port (port 0: any) or the path of a Unix socket.")]
Output = Annotated[Path | None, Flag("--output", "-o", help="Record into this file (.pxwcap).")]
Connections = Annotated[int, Flag("--connections", min=0, help="End after so many. [default: at Ctrl-C]")]
Quiet = Annotated[bool, Flag("--quiet", "-q", help="Do not print frames.")]
TlsCert = Annotated[Path | None, Flag("--listen-cert", help="TLS towards the clients: our certificate (PEM).")]
TlsKey = Annotated[Path | None, Flag("--listen-key", help="The key of --listen-cert (PEM).")]
_ANY = "127.0.0.1:0"


def _tap(
    upstream: Upstream = o.DEFAULT,
    listen: Listen = _ANY,
    output: Output = None,
    connections: Connections = 0,
    quiet: Quiet = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ca: o.Ca = None,
    insecure: o.Insecure = False,
    secrets: o.Secrets = False,
    as_json: o.Json = False,
) -> int:
    """Stand between clients and a server; print every frame as it passes, and record.

    Tokens are masked in the recording, unless --show-secrets.

    \b
    Example:
      pixwire wire tap -l 127.0.0.1:7500 -u pixwire://127.0.0.1 -o session.pxwcap
      pixwire generate "a red circle" --url pixwire://127.0.0.1:7500
    """
    values = {"upstream": upstream, "listen": listen, "output": output, "connections": connections, "quiet": quiet}
    return _run(values, {}, (tls_cert, tls_key), (ca, insecure), Screen(as_json=as_json, secrets=secrets))


def _proxy(
    upstream: Upstream = o.DEFAULT,
    listen: Listen = _ANY,
    delay: Annotated[float, Flag("--delay", min=0.0, help="Milliseconds that every byte is late.")] = 0.0,
    rate: Annotated[int | None, Flag("--rate", min=1, help="Bytes per second, each direction.")] = None,
    cut_after: Annotated[int | None, Flag("--cut-after", min=0, help="Cut the connection after so many bytes.")] = None,
    direction: Annotated[
        From | None, Flag("--direction", help="Whose bytes --cut-after counts. [default: both]")
    ] = None,
    cut_eof: Annotated[bool, Flag("--cut-eof", help="Cut by an orderly end instead of a reset.")] = False,
    stall_reader: Annotated[
        int | None, Flag("--stall-reader", min=0, help="Stop reading from the server after so many bytes.")
    ] = None,
    flips: Annotated[
        list[str] | None, Flag("--flip", help="OFFSET/BIT of the server's bytes (C:OFFSET/BIT: the client's).")
    ] = None,
    output: Output = None,
    connections: Connections = 0,
    quiet: Quiet = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ca: o.Ca = None,
    insecure: o.Insecure = False,
    secrets: o.Secrets = False,
    as_json: o.Json = False,
) -> int:
    """The same, with faults: late, slow, cut, stalled, flipped. What is recorded is what arrives.

    \b
    Examples:
      pixwire wire proxy -l 127.0.0.1:7500 --delay 80 --rate 100000
      pixwire wire proxy -l 127.0.0.1:7500 --cut-after 5000 --direction S
      pixwire wire proxy -l 127.0.0.1:7500 --flip 20/7
    """
    values = {"upstream": upstream, "listen": listen, "output": output, "connections": connections, "quiet": quiet}
    faults = {
        "delay_ms": delay,
        "rate": rate,
        "cut_after": cut_after,
        "cut_side": None if direction is None else direction.value,
        "cut_how": "eof" if cut_eof else "reset",
        "stall_after": stall_reader,
        "flips": tuple(flips or ()),
    }
    return _run(values, faults, (tls_cert, tls_key), (ca, insecure), Screen(as_json=as_json, secrets=secrets))


def _run(
    values: dict[str, Any],
    faults: dict[str, Any],
    ours: tuple[Path | None, Path | None],
    theirs: tuple[Path | None, bool],
    screen: Screen,
) -> int:
    from .commands.tap import TapOptions, faults_from, parse_flip, tap
    from .transport import TlsOptions

    def work() -> int:
        parsed = {**faults, "flips": tuple(map(parse_flip, faults.get("flips", ())))}
        what = TapOptions(
            **values,
            faults=faults_from(parsed),
            tls=TlsOptions(ca=theirs[0], insecure=theirs[1]),
            tls_cert=ours[0],
            tls_key=ours[1],
        )
        return carry_out(screen, lambda: tap(what, screen))

    return carry_out(screen, work)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("tap")(_tap)
    app.command("proxy")(_proxy)
