"""Servers that are none: what the first bytes of a peer look like that speaks no PXW/1."""

from pixwire_protocol.registry import PORT

# How a stranger begins, and what it probably is.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/", f"this looks like an HTTP server; a pixwire server usually listens on port {PORT}"),
    (b"<", f"this looks like an HTTP server; a pixwire server usually listens on port {PORT}"),
    (b"\x15\x03", "this looks like a TLS server; write pixwires:// instead of pixwire://"),
    (b"\x00\x00", "this looks like an HTTP/2 or gRPC server"),
    (b"SSH-", "this looks like an SSH server"),
    (b"220 ", "this looks like a mail or FTP server"),
    (b"-ERR", "this looks like a Redis or mail server"),
)


def stranger(first: bytes) -> str | None:
    """What the first bytes of a peer look like, or None."""
    return next((text for start, text in _STRANGERS if first.startswith(start)), None)
