"""The command `pixwire`. Needs the extra `cli` (typer and rich); this module itself imports neither.

`main` is the entry point. What the commands do is in `generate`, `jobs` and `lists`, how they are called in `app`,
which server they talk to in `target`, how it looks in `show`, what the shell gets back in `exits`.
"""

import io
import os
import sys
from collections.abc import Sequence

from .exits import ExitCode, report, settled
from .serve import serve, token

EXTRAS = ("typer", "rich", "dpkt", "prompt_toolkit", "junitparser", "platformdirs")  # what the extra brings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code (see `ExitCode`)."""
    _ready_streams()
    try:
        return settled(_run(list(sys.argv[1:] if argv is None else argv)))
    except KeyboardInterrupt:  # while modules are loaded; a command that runs has its own words for it
        print("pixwire: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError as error:  # of what is no command here, as `token`
        return settled(report(error, as_json=False))


def _ready_streams() -> None:
    """What was started with a closed stream (`<&-`) finds None there; a name that stdout cannot encode is escaped."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - until the program ends
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from .._version import __version__

        print(f"pixwire {__version__}")
        return ExitCode.OK
    if arguments[:1] == ["serve"]:
        return serve(arguments[1:])
    if arguments[:1] == ["token"]:
        return token(arguments[1:])
    try:
        from . import app

        if arguments[:1] == ["wire"]:  # a world of its own, which the other commands need not load
            from ..wire.cli import app as wire

            return app.run(arguments[1:], wire, "pixwire wire")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        print(f"pixwire: the command line needs {missing}: pip install 'pixwire[cli]'", file=sys.stderr)
        return ExitCode.USAGE
    return app.run(arguments)
