"""What it means when a server says that a connection ends, or refuses a request because of it. Pure. SPEC 10, 12."""

from pixwire_protocol.errors import error_name
from pixwire_protocol.messages import GoAway
from pixwire_protocol.registry import ERRORS, ErrorCode

from ..errors import PixwireError, request_failed
from .channel_updates import Lost

ORDERLY = (ErrorCode.NO_ERROR, ErrorCode.DRAINING)  # a GOAWAY with any other code is the end
ELSEWHERE = (ErrorCode.DRAINING, ErrorCode.TOO_MANY_STREAMS)  # an ERROR that is about the connection, not the request
DEFECTS = tuple(code for code, spec in ERRORS.items() if code >> 8 == 0x01 and spec.retry == "no")


def ended_by_server(code: int, message: str) -> Lost:
    """The server ended the connection, and said why."""
    reason = f"the server ended it with {error_name(code)}{_said(message)}"
    return Lost(reason, code, message, final=code == ErrorCode.VERSION_UNSUPPORTED)


def with_goaway(reason: str, goaway: GoAway | None) -> str:
    """The reason, with what the server said about it, if it said something."""
    if goaway is None:
        return reason
    return f"{reason} after it announced {error_name(goaway.code)}{_said(goaway.message)}"


def draining(goaway: GoAway) -> PixwireError:
    """The error for what cannot be sent on a connection that goes away."""
    return request_failed(
        ErrorCode.DRAINING,
        ErrorCode.DRAINING.name,
        goaway.message or "the server takes no new requests on this connection",
        retry="after",
        processed="no",
        retry_after_ms=goaway.reconnect_after_ms,
    )


def _said(message: str) -> str:
    return f": {message}" if message else ""
