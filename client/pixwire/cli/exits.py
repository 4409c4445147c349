"""What the shell gets back: one exit code per class of error, and errors as one line or as JSON."""

import contextlib
import json
import os
import sys
from enum import IntEnum
from typing import Any

from ..errors import (
    AccessDenied,
    ArtifactChanged,
    ArtifactNotFound,
    CapacityError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArgument,
    InvalidURL,
    JobConflict,
    JobEnded,
    JobGone,
    JobNotFound,
    PixwireError,
    ProtocolViolation,
    RequestTimeout,
)


class ExitCode(IntEnum):
    """The exit codes of `pixwire`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONNECTION = 3
    TIMEOUT = 4
    CAPACITY = 5
    NOT_FOUND = 6
    ACCESS = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the job failed, was cancelled, or missed its deadline; or a file could not be read or written",
    ExitCode.USAGE: "wrong usage or an argument the server does not allow",
    ExitCode.CONNECTION: "cannot connect, or the connection was lost",
    ExitCode.TIMEOUT: "--timeout passed",
    ExitCode.CAPACITY: "the server is full, paused or about to stop: try again later",
    ExitCode.NOT_FOUND: "no such job or image (any more), or the job id is taken",
    ExitCode.ACCESS: "the server wants a token (--token-file), does not accept this one, or wants the role admin",
    ExitCode.INTERRUPTED: "Ctrl-C",
}

# The first row whose class fits counts.
_CODES: tuple[tuple[tuple[type[BaseException], ...], ExitCode], ...] = (
    ((KeyboardInterrupt,), ExitCode.INTERRUPTED),
    ((InvalidURL, InvalidArgument), ExitCode.USAGE),
    ((ConnectError, ConnectionLost, ProtocolViolation), ExitCode.CONNECTION),
    ((RequestTimeout,), ExitCode.TIMEOUT),
    ((CapacityError,), ExitCode.CAPACITY),
    ((AccessDenied,), ExitCode.ACCESS),
    ((JobNotFound, JobConflict, JobGone, ArtifactNotFound, ArtifactChanged), ExitCode.NOT_FOUND),
    ((JobEnded, DeadlineExceeded), ExitCode.FAILED),
)
_FIELDS = ("code", "name", "retry", "processed", "retry_after_ms", "details", "job", "state")


def exit_code(error: BaseException) -> ExitCode:
    """The exit code for an error."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.FAILED)


def error_map(error: BaseException) -> dict[str, Any]:
    """An error as a JSON object: class, message, exit code, and what else it knows."""
    known = {name: getattr(error, name) for name in _FIELDS if getattr(error, name, None) not in (None, {})}
    return {"class": type(error).__name__, "message": str(error), "exit_code": int(exit_code(error)), **known}


def report(error: BaseException, *, as_json: bool) -> ExitCode:
    """Says what went wrong, in one line on stderr and with `as_json` as an object on stdout. Returns the exit code.

    Nothing is said when the reader of our output has seen enough (`| head`).
    """
    if isinstance(error, BrokenPipeError):
        return exit_code(error)
    print(f"pixwire: {' '.join(printable(_text(error)).split())}{_hint(error)}", file=sys.stderr)
    if as_json:
        with contextlib.suppress(OSError):  # stdout itself may be what cannot be written
            print_json({"error": error_map(error)})
    return exit_code(error)


def settled(code: int) -> int:
    """The exit code when all output is written, which may turn out here to be impossible."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it fails again when Python ends
        if code == ExitCode.OK and not isinstance(error, BrokenPipeError):
            print(f"pixwire: the output cannot be written: {error.strerror}", file=sys.stderr)
        return code or ExitCode.FAILED
    return code


def _hint(error: BaseException) -> str:
    """What to do when nobody answered."""
    if not isinstance(error, ConnectError) or error.reached:
        return ""
    from .contexts import load  # which needs more than the standard library

    with contextlib.suppress(PixwireError, OSError):  # a list that cannot be read has named no server
        contexts = load()
        if contexts.used is not None and error.url in str(contexts.get(contexts.used).get("url")):
            return f" (the server of the context {contexts.used!r}, which is in use: --url and --context name another)"
    return " (start a server with `pixwire serve`, or name one with --url or PIXWIRE_URL)"


def _text(error: BaseException) -> str:
    """What it says; of a file that cannot be used, which one and why."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def printable(text: str) -> str:
    """Text of a peer without the control characters that would act on a terminal."""
    return "".join(char if char.isprintable() or char in "\n " else repr(char)[1:-1] for char in text)
