"""Errors of the protocol package (SPEC 10).

    ProtocolError
    +-- LocalProtocolError          this program asked for something the protocol does not allow; nothing was sent
    |   +-- NotReadyError           the handshake is not done, or the connection is over
    |   +-- DrainingError           a GOAWAY was sent or received: open no more streams on this connection
    |   +-- TooManyStreamsError     the peer's max_streams are open: wait for one to end
    |   +-- MessageTooLargeError    the message does not fit into the peer's max_frame, or a field exceeds its limit
    +-- RemoteProtocolError         the peer broke the protocol; carries the code that was sent to it

Connection.receive() never raises RemoteProtocolError: it returns it inside Failed. The functions below the connection
(messages.decode, status.JobStatus.from_map) raise it. Any other exception caused by a peer's bytes is a defect here.
"""

from typing import Any

from pixwire_protocol.registry import ERROR_CLASSES, ERRORS, ErrorCode


class ProtocolError(Exception):
    """Base of all errors of this package."""


class LocalProtocolError(ProtocolError):
    """This program used the protocol wrongly; nothing was sent and the connection is unharmed."""


class NotReadyError(LocalProtocolError):
    """The handshake has not finished, or the connection is over."""


class DrainingError(LocalProtocolError):
    """A GOAWAY was sent or received: streams that are open go on, new ones belong on another connection.

    code, message and reconnect_after_ms are those of the GOAWAY.
    """

    def __init__(self, code: int, message: str = "", reconnect_after_ms: int | None = None) -> None:
        super().__init__(code, message, reconnect_after_ms)
        self.code = code
        self.message = message
        self.reconnect_after_ms = reconnect_after_ms

    def __str__(self) -> str:
        wait = "" if self.reconnect_after_ms is None else f" after {self.reconnect_after_ms} ms"
        said = f": {self.message}" if self.message else ""
        return f"the connection is going away ({error_name(self.code)}){said}; ask on a new connection{wait}"


class TooManyStreamsError(LocalProtocolError):
    """As many streams are open as the peer allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} streams are open, the peer's max_streams; wait for one to end or use a second connection"


class MessageTooLargeError(LocalProtocolError):
    """A message, or a field of it, exceeds what the wire or the peer allows."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    code     what it did wrong, as it was or will be told in GOAWAY, ERROR or RESET
    stream   the only stream concerned, or None when the whole connection is
    details  facts for programs (field, value, allowed), or None
    """

    def __init__(
        self, code: ErrorCode, message: str, stream: int | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message, stream, details)
        self.code = code
        self.message = message
        self.stream = stream
        self.details = details

    def __str__(self) -> str:
        where = "" if self.stream is None else f" on stream {self.stream}"
        return f"{self.code.name}{where}: {self.message}"


def error_name(code: int) -> str:
    """The name of a code; an unknown one is shown with its class, never refused (SPEC 10)."""
    spec = ERRORS.get(code)
    return f"{error_class(code)} error 0x{code:04X}" if spec is None else spec.name


def error_class(code: int) -> str:
    """The class of a code, known or not: none, connection, auth, request, capacity, execution, private or unknown."""
    for first, last, name in ERROR_CLASSES:
        if first <= code <= last:
            return name
    return "unknown"
