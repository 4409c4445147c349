"""What the job layer refuses, and how it says so.

RequestError         one request was refused; carries what a door needs to answer
StartupError         the server cannot start; `str()` is the message for the operator
EngineLostError      the engine died and could not be started again: the server should end (its jobs stay in the
                     journal)
IllegalTransition    a defect: a job was to change in a way the transition table does not know
"""

import logging
import secrets
import time
from typing import Any

from pixwire_protocol.registry import ErrorCode
from pixwire_server.store import StoreError, StoreFullError

_log = logging.getLogger(__name__)

STORE_RETRY_MS = 5_000
"""When a client may try again after the disk refused: room is made by people, not in milliseconds."""
COMPLAIN_EVERY_S = 10.0
"""Every client may meet a full disk at once; the log need not."""
_complained: dict[str, float] = {}


class RequestError(Exception):
    """A request was refused and changed nothing."""

    def __init__(
        self, code: ErrorCode, message: str, details: dict[str, Any] | None = None, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or {}
        """For a bad field: field, value, allowed."""
        self.retry_after_ms = retry_after_ms


class StartupError(Exception):
    """The server cannot start; the text says why and what to do."""


class EngineLostError(Exception):
    """The engine cannot be brought back."""


class IllegalTransition(RuntimeError):  # noqa: N818 - the name of a defect, never caught
    """The transition table has no row for this."""


def invalid(field: str, value: Any, allowed: Any, message: str) -> RequestError:
    """A field of the request is wrong; `message` says what is and what to do."""
    return RequestError(ErrorCode.INVALID_ARGUMENT, message, {"field": field, "value": value, "allowed": allowed})


def from_store(error: StoreError) -> RequestError:
    """What a client is told when the store refused: nothing was kept, come back later. The operator is told, too."""
    _complain(str(error), time.monotonic())
    if isinstance(error, StoreFullError):
        return RequestError(
            ErrorCode.QUEUE_FULL, f"the server has no room on its disk: {error}", retry_after_ms=STORE_RETRY_MS
        )
    return RequestError(ErrorCode.INTERNAL, f"the server's store failed: {error}", retry_after_ms=STORE_RETRY_MS)


def _complain(text: str, now: float) -> None:
    """Log what only the operator can help with; the same thing not more often than every `COMPLAIN_EVERY_S`."""
    if now - _complained.get(text, -COMPLAIN_EVERY_S) >= COMPLAIN_EVERY_S:
        _complained.clear()  # one text is remembered, however many there may be
        _complained[text] = now
        _log.error("a request was refused: %s", text)


def translate(error: BaseException) -> BaseException:
    """`from_store` for errors of the store, the others as they are."""
    return from_store(error) if isinstance(error, StoreError) else error


def incident(defect: BaseException) -> str:
    """Log a defect of this program with its traceback; the sentence to tell those whom it concerns."""
    number = secrets.token_hex(4)
    _log.error("incident %s", number, exc_info=defect)
    return f"the server has a defect (incident {number}, described in its log)"
