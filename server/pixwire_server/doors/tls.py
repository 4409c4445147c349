"""TLS of a door: the context its connections use, and whose a client certificate is (SPEC 3.1, 6.4)."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pixwire_server.doors.auth import Identity
from pixwire_server.doors.tokens import MAX_PRINCIPAL

ALPN: Final = "pxw/1"
_MISMATCH: Final = "key values mismatch"


class TlsError(Exception):
    """TLS cannot be served as configured, or a certificate cannot be used. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate (with its chain) and key; `client_ca` signs the clients' certificates."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def server_context(files: TlsFiles, *, certificates_needed: bool, protocol: str = ALPN) -> ssl.SSLContext:
    """The context for connections that come in and speak `protocol`. Raises TlsError.

    With a `client_ca`, clients may show a certificate, and have to when `certificates_needed`. No session is ever
    resumed: connections live long, and each certificate is verified each time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols([protocol])
    for path in (files.certificate, files.key, files.client_ca):
        if path is not None:
            _check_readable(path)
    _check_holds(files.certificate, "CERTIFICATE", "certificate")
    _check_holds(files.key, "PRIVATE KEY", "private key")
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        why = reason(error)
        if why == _MISMATCH:
            raise TlsError(f"{files.key} is not the key of the certificate in {files.certificate}") from None
        raise TlsError(f"{files.certificate} and {files.key} cannot be used: {why}") from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as error:
            raise TlsError(f"{files.client_ca} holds no certificates in PEM form: {reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED if certificates_needed else ssl.CERT_OPTIONAL
    return context


def identity_of(certificate: Mapping[str, Any]) -> Identity:
    """Whose a verified client certificate is: its first URI, else its first DNS name, else its common name.

    `certificate` is what `getpeercert()` gives. TlsError when it has no name, or one that is too long.
    """
    alternatives = certificate.get("subjectAltName", ())
    names = [value for wanted in ("URI", "DNS") for kind, value in alternatives if kind == wanted]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    if not names:
        raise TlsError("the client certificate has neither a URI, a DNS name nor a common name")
    if not 1 <= len(names[0].encode()) <= MAX_PRINCIPAL:
        raise TlsError(f"the client certificate's name has not 1 to {MAX_PRINCIPAL} bytes")
    expires = certificate.get("notAfter")
    return Identity(names[0], None if expires is None else float(ssl.cert_time_to_seconds(expires)))


def reason(error: Exception) -> str:
    """What OpenSSL says, without its source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    text = getattr(error, "reason", None)
    return text.lower().replace("_", " ") if text else str(error)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}") from None


def _check_holds(path: Path, label: str, what: str) -> None:
    """OpenSSL would only say that something is wrong with one of two files."""
    if not re.search(rf"^-----BEGIN [A-Z ]*{label}-----".encode(), path.read_bytes(), re.MULTILINE):
        raise TlsError(f"{path} holds no {what} in PEM form (-----BEGIN ... {label}-----)")


def _no_password() -> str:
    raise TlsError("the key is protected by a password; a server has nobody to ask: store it without one")
