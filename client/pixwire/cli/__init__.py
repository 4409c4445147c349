"""The command `pixwire`. Needs the extra `cli` (typer and rich); this module itself imports neither.

`main` is the entry point. What the commands do is in `generate`, `jobs` and `lists`, how they are called in `app`,
which server they talk to in `target`, how it looks in `show`, what the shell gets back in `exits`.
"""

import sys
from collections.abc import Sequence

from .exits import ExitCode
from .serve import serve, token

EXTRAS = ("typer", "rich", "dpkt", "prompt_toolkit", "junitparser", "platformdirs")  # what the extra brings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code (see `ExitCode`)."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # while modules are loaded; a command that runs has its own words for it
        print("pixwire: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED


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
