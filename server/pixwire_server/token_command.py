"""`python -m pixwire_server token PRINCIPAL`: makes a token and the lines of the tokens file that let it in."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pixwire_server.doors.tokens import ADMIN, MAX_PRINCIPAL, entry_for, new_token

PROGRAM = "pixwire token"
MAX_DAYS = 36_500
_DESCRIPTION = """\
Make a token for PRINCIPAL. The lines for the server's tokens file (--tokens) go to stdout; they hold the SHA-256 of the
token only. The token itself goes to stderr, once: it is kept nowhere.
"""
_EPILOG = """\
example, which tells a running server about alice and shows her token:
  pixwire token alice >> tokens.toml && kill -HUP SERVER
"""


def _principal(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text.encode()) <= MAX_PRINCIPAL or text != text.strip():
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be used; allowed: 1 to {MAX_PRINCIPAL} bytes of printable text without spaces around it"
        )
    return text


def _days(text: str) -> timedelta:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= MAX_DAYS:
            return timedelta(days=float(text))
    raise argparse.ArgumentTypeError(f"{text!r} cannot be used; allowed: a number above 0, up to {MAX_DAYS}")


def main(argv: Sequence[str]) -> int:
    """Print a token and its entry; returns the process's exit code."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("principal", metavar="PRINCIPAL", type=_principal, help="Whose jobs the bearer may see.")
    parser.add_argument("--days", metavar="N", type=_days, help="Let it expire so many days from now. Default: never.")
    parser.add_argument(
        "--admin", action="store_true", help="Let the bearer look after the server: pixwire top, pixwire admin."
    )
    options = parser.parse_args(argv)
    if sys.stdout is None or sys.stderr is None:  # `>&-`: print would be silent, or take one for the other
        sys.exit(f"{PROGRAM}: stdout takes the entry and stderr the token, and one of them is closed; open both")
    token = new_token()
    expires = None if options.days is None else datetime.now(UTC) + options.days
    roles = (ADMIN,) if options.admin else ()
    try:
        print(f"\n{entry_for(options.principal, token, expires, roles)}", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again when Python ends
        print(f"{PROGRAM}: the entry cannot be written: {error.strerror}; no token was made", file=sys.stderr)
        return 1
    print(token, file=sys.stderr)
    return 0
