"""`pixwire serve` and `pixwire token`: the one place where the client's distribution reaches for the server's."""

import sys

from .exits import ExitCode


def serve(arguments: list[str]) -> int:
    """Hands the command line on to `pixwire-server`, if that is installed. Returns the exit code."""
    return _hand_over(arguments, "serving")


def token(arguments: list[str]) -> int:
    """Hands `token PRINCIPAL` on in the same way."""
    return _hand_over(["token", *arguments], "making a token")


def _hand_over(arguments: list[str], work: str) -> int:
    try:
        from pixwire_server.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pixwire_server":
            raise
        print(f"pixwire: {work} needs the server: pip install pixwire-server", file=sys.stderr)
        return ExitCode.USAGE
    return main(arguments)
