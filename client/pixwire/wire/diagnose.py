"""What a stranger on the other end probably is, judged by its first bytes or by how the connection failed. Pure."""

import errno
import re
import socket
import ssl
from typing import Final

_HTTP: Final = re.compile(rb"HTTP/\d(\.\d)? \d{3}[^\r\n]{0,80}")
_HTTP_REQUEST: Final = re.compile(rb"(GET|POST|HEAD|PUT|OPTIONS|DELETE|PRI|CONNECT) ")
_TLS_ALERT, _TLS_HANDSHAKE = 0x15, 0x16
_ALERTS: Final = {
    0: "close notify",
    10: "unexpected message",
    40: "handshake failure",
    50: "decode error",
    70: "protocol version",
    80: "internal error",
    116: "certificate required",
    120: "no application protocol",
}


def what_speaks(data: bytes) -> str | None:
    """Who begins like this; None when nobody known does."""
    if found := _HTTP.match(data):
        return f"this is an HTTP server: it answered {found[0].decode('latin-1')!r}"
    if _HTTP_REQUEST.match(data):
        return f"this is an HTTP client: it asks {_line(data)!r}"
    if len(data) >= 3 and data[0] == _TLS_ALERT and data[1] == 3:
        alert = _ALERTS.get(data[6], f"alert {data[6]}") if len(data) >= 7 else "an alert"
        return f"this is TLS ({alert}): use a pixwires:// URL"
    if len(data) >= 3 and data[0] == _TLS_HANDSHAKE and data[1] == 3:
        return "this is TLS: only somebody who has the keys can read it"
    if data[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "this is an HTTP server: it answered with a page"
    if data.startswith(b"SSH-"):
        return f"this is an SSH server: it says {_line(data)!r}"
    if data[:1] in (b"-", b"+") and b"\r\n" in data[:128]:
        return f"this looks like Redis: it answered {_line(data)!r}"
    if data[:4] in (b"220 ", b"220-"):
        return f"this is a mail or FTP server: it says {_line(data)!r}"
    if len(data) >= 6 and data[3:6] == b"\0\0\0" and data[:3] != b"\0\0\0":
        return None
    if len(data) >= 9 and data[3] == 0x04 and data[5:9] == b"\0\0\0\0":
        return "this is an HTTP/2 server"
    return None


def _line(data: bytes) -> str:
    return data[:80].splitlines()[0].decode("latin-1")


def why_not_connected(error: OSError, where: str) -> tuple[str, str]:
    """What happened, and what to do, when a transport could not be made (TLS included)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or str(error)
        return (
            f"{where} shows a certificate that is not trusted: {reason}",
            "name its authority with --ca FILE, or look without trust with --insecure",
        )
    if isinstance(error, ssl.SSLError):
        return _tls(error, where)
    if isinstance(error, socket.gaierror):
        return f"the name of {where} is not known: {error.strerror}", "check the host in the URL"
    match error.errno:
        case errno.ECONNREFUSED:
            return f"nobody listens on {where} (connection refused)", "start a server, or check the port"
        case errno.ENOENT:
            return f"there is no socket {where}", "check the path in the URL, and that the server runs"
        case errno.EACCES | errno.EPERM:
            return f"no permission to connect to {where}", "check who may use the socket"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return f"there is no way to {where}: {error.strerror}", "check the network"
        case errno.ETIMEDOUT:
            return f"{where} does not answer", "check the host, the port and the firewall between"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return f"{where} cut the connection while it was being made", "if it has no TLS, use a pixwire:// URL"
    return f"cannot connect to {where}: {error}", "check the URL"


def _tls(error: ssl.SSLError, where: str) -> tuple[str, str]:
    text = (error.reason or str(error)).replace("_", " ").lower()
    plain = ("wrong version number", "record layer failure", "http request", "unexpected eof", "packet length too long")
    if any(word in text for word in plain):
        return f"{where} does not answer with TLS ({text})", "if it has no TLS, use a pixwire:// URL"
    if "certificate required" in text or "bad certificate" in text:
        return f"{where} wants a client certificate ({text})", "name one with --cert FILE and --key FILE"
    if "no application protocol" in text:
        return f"{where} speaks TLS, but not for PXW/1: it refuses the ALPN name pxw/1", "check host and port"
    return f"TLS with {where} failed: {text}", "check the URL and the certificates"


def why_no_welcome(received: bytes, where: str, *, over_tls: bool) -> tuple[str, str]:
    """What a server is that ended the connection, or fell silent, before it had shown a preface."""
    if said := what_speaks(received):
        return f"{where} does not speak PXW: {said}", "check the port"
    if received:
        return f"{where} does not speak PXW: it began with {received[:16].hex(' ')}", "check the port"
    hint = "it may not speak PXW, be full, or expect " + ("cleartext: pixwire://" if over_tls else "TLS: pixwires://")
    return f"{where} closed the connection without a word", hint
