"""What went wrong while connecting, in the words of a person: errors of sockets and of TLS."""

import errno
import os
import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pixwire_protocol.registry import ALPN

from ..url import Endpoint

if TYPE_CHECKING:
    from ssl import SSLError

# OpenSSL's X509_V_ERR_*: what a certificate can lack.
_CERTIFICATE: Mapping[int, str] = {
    9: "it is not valid yet (is a clock wrong?)",
    10: "it has expired",
    18: "it is signed by itself; name that certificate as cafile if you trust it",
    19: "it comes from an authority that is not trusted here; name the authority's certificate as cafile",
    20: "it comes from an authority that is not known here; name the authority's certificate as cafile",
    21: "it comes from an authority that is not known here; name the authority's certificate as cafile",
    62: "it is for another host name than the URL's",
    64: "it is not for the IP address of the URL; write the name that the certificate has",
}
_NO_TLS = frozenset(["WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST"])
_WANTS_CERTIFICATE = frozenset(["TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"])
_BAD_CERTIFICATE = frozenset(
    ["TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED"]
)


def no_alpn() -> str:
    """Why a TLS connection without the right ALPN is no use."""
    return f"the TLS server does not speak PXW/1 (it did not choose ALPN {ALPN!r}); is it a web server?"


def describe(error: Exception, endpoint: Endpoint | None = None) -> str:
    """An error of the socket or of TLS in words; with the endpoint, also what to do about it."""
    import ssl  # here: what has failed may take a millisecond more, and without TLS nothing else needs it

    if isinstance(error, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(error.verify_code, error.verify_message)
        return f"the server's certificate is not accepted: {why}"
    if isinstance(error, ssl.SSLError):
        return _tls(error)
    if endpoint is not None and isinstance(error, UnicodeError):
        return f"{endpoint.host!r} cannot be the name of a host: a part between two dots is empty or too long"
    if endpoint is not None and isinstance(error, socket.gaierror):
        return f"the host name {endpoint.host!r} is not known ({(error.strerror or '').lower()})"
    if endpoint is not None and endpoint.tls and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return "the server does not answer in TLS; is it a cleartext server (pixwire://)?"
    if not isinstance(error, OSError):
        return repr(error)
    text = _words(error)
    if endpoint is not None and endpoint.host and "refused" in text:
        return f"{text}: nobody listens on port {endpoint.port} there"
    return text


def _tls(error: "SSLError") -> str:
    import ssl

    reason = error.reason or ""
    if reason in _NO_TLS or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server does not answer in TLS; is it a cleartext server (pixwire://) or another kind of server?"
    if "NO_APPLICATION_PROTOCOL" in reason:
        return no_alpn()
    if reason in _WANTS_CERTIFICATE:
        return "the server refuses the TLS handshake; it probably wants a client certificate"
    if reason in _BAD_CERTIFICATE:
        return "the server does not accept our certificate; is it from the authority that the server trusts?"
    return f"TLS failed: {reason.replace('_', ' ').lower() or error}"


def _words(error: OSError) -> str:
    text = error.strerror or str(error) or type(error).__name__
    number = error.errno or next((int(n) for n in re.findall(r"\[Errno (\d+)\]", text)), 0)
    if number > 0 and number in errno.errorcode:  # asyncio puts its own words, or a list of addresses, into strerror
        text = os.strerror(number)
    return text[0].lower() + text[1:]
