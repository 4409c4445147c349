"""What can go wrong in the wire tool, in words and with an exit code."""

import sys
from collections.abc import Mapping
from typing import Any

from pixwire_protocol.errors import error_class, error_name
from pixwire_protocol.registry import ErrorCode

from ..cli.exits import ExitCode, print_json, printable

# Class of an error code (SPEC 10.2) -> exit code; single codes that mean something else come first.
_BY_CODE: Mapping[int, ExitCode] = {
    ErrorCode.NO_ERROR: ExitCode.OK,
    ErrorCode.INVALID_ARGUMENT: ExitCode.USAGE,
    ErrorCode.UNSUPPORTED: ExitCode.USAGE,
    ErrorCode.UNKNOWN_FRAME: ExitCode.USAGE,
}
_BY_CLASS: Mapping[str, ExitCode] = {
    "none": ExitCode.OK,
    "connection": ExitCode.CONNECTION,
    "auth": ExitCode.ACCESS,
    "request": ExitCode.NOT_FOUND,
    "capacity": ExitCode.CAPACITY,
    "execution": ExitCode.FAILED,
}


class WireError(Exception):
    """Something to tell the user: what happened, what to do next, and the exit code.

    Attributes: `message`, `hint` (may be empty), `exit_code`, `facts` (more for --json).
    """

    def __init__(
        self, message: str, hint: str = "", *, exit_code: ExitCode = ExitCode.CONNECTION, **facts: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.facts = facts

    def to_map(self) -> dict[str, Any]:
        """For --json."""
        hint = {"hint": self.hint} if self.hint else {}
        return {"message": self.message, **hint, "exit_code": int(self.exit_code), **self.facts}


class InputError(WireError):
    """A file or an argument that cannot be used."""

    def __init__(self, message: str, hint: str = "", **facts: Any) -> None:
        super().__init__(message, hint, exit_code=ExitCode.USAGE, **facts)


def exit_of_code(code: Any) -> ExitCode:
    """The exit code for an error code of the protocol, or for whatever a server gave as one."""
    if not isinstance(code, int) or isinstance(code, bool):
        return ExitCode.FAILED
    return _BY_CODE.get(code) or _BY_CLASS.get(error_class(code), ExitCode.FAILED)


def refused(code: int, message: str, what: str) -> WireError:
    """The peer ended something with an error code."""
    said = f": {message}" if message else ""
    return WireError(
        f"{what} with {error_name(code)}{said}", exit_code=exit_of_code(code), code=code, name=error_name(code)
    )


def report(error: WireError, *, as_json: bool) -> ExitCode:
    """Says it, in one line on stderr and with as_json as an object on stdout too."""
    hint = f" ({error.hint})" if error.hint else ""
    print(f"pixwire wire: {printable(' '.join((error.message + hint).split()))}", file=sys.stderr)
    if as_json:
        print_json({"error": error.to_map()})
    return error.exit_code
