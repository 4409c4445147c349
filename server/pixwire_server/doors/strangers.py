"""Who knocks at the wrong door: what the first bytes of a connection are when they are not what they should be."""

from typing import Final

from pixwire_protocol.registry import MAGIC

LOOK_AT: Final = 16
"""First bytes worth keeping; no answer below needs more."""

TLS_MARK: Final = b"\x16\x03"
"""A TLS record that carries a handshake message, of any version that is spoken today."""

# First bytes -> what sends them. Compared with as many bytes as there are, the shortest is two bytes long.
_KNOWN: Final = (
    (TLS_MARK, "a TLS client hello"),
    (MAGIC, "a cleartext PXW preface"),
    (b"PRI * HTTP/2", "an HTTP/2 request"),
    *((f"{verb} ".encode(), "an HTTP request") for verb in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")),
    *((f"{verb} ".encode(), "an HTTP request") for verb in ("PATCH", "TRACE", "CONNECT")),
    (b"SSH-", "an SSH greeting"),
)


def describe(first: bytes) -> str:
    """What the bytes at the beginning of a connection are, in words for a log line."""
    if not first:
        return "nothing"
    for mark, what in _KNOWN:
        if first.startswith(mark):
            return what
    return f"no PXW preface but {first[:8].hex(' ')}"


def may_be_tls(first: bytes) -> bool:
    """Whether `first` (one byte or more) can be the beginning of a TLS connection."""
    return first.startswith(TLS_MARK[: len(first)])
