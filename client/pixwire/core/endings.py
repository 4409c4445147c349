"""What the end of a connection means: the server's words for it, and the errors of the calls. Pure. SPEC 10, 12."""

from pixwire_protocol.errors import error_name
from pixwire_protocol.messages import GoAway
from pixwire_protocol.registry import ERRORS, ErrorCode

from ..errors import ConnectionLost, PixwireError, RequestFailed, request_failed
from .calls import AnyCall
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


def too_late(over: PixwireError, call: AnyCall) -> PixwireError:
    """The error for a call when the session is over, for this reason."""
    match over:
        case ConnectionLost(reason=reason):
            return ConnectionLost(reason, processed="no", job=call.job, status=call.status)
        case RequestFailed(code=code, message=message):
            return request_failed(code, error_name(code), message)
        case _:
            raise AssertionError(f"the session is not over: {over!r}")


def unreached(call: AnyCall, patience: float) -> PixwireError:
    """The error for a call that has waited for a connection for so many seconds."""
    processed = "yes" if call.status is not None else "maybe" if call.tries else "no"
    text = f"no connection came about within {patience:g} s"
    return ConnectionLost(text, processed=processed, job=call.job, status=call.status)


def _said(message: str) -> str:
    return f": {message}" if message else ""
