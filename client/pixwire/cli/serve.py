"""`pixwire serve`: the one place where the client's distribution reaches for the server's."""

import sys

from .exits import ExitCode


def serve(arguments: list[str]) -> int:
    """Hands the command line on to `pixwire-server`, if that is installed. Returns the exit code."""
    try:
        from pixwire_server.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pixwire_server":
            raise
        print("pixwire: serving needs the server: pip install pixwire-server", file=sys.stderr)
        return ExitCode.USAGE
    return main(arguments)
