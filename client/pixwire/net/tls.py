"""TLS for `pixwires://`: which certificates are trusted and which one is shown. SPEC 3.1, 14.

Python's `ssl` is loaded when it is needed: it takes longer than the rest of a client without asyncio.
"""

import os
from typing import TYPE_CHECKING, Literal

from pixwire_protocol.record import record
from pixwire_protocol.registry import ALPN

from ..errors import invalid
from ..url import Endpoint

if TYPE_CHECKING:
    from ssl import SSLContext

Path = str | os.PathLike[str]


@record
class TlsOptions:
    """What the user says about TLS.

    context: a ready `ssl.SSLContext`; then nothing else is taken. Its ALPN protocols are set to PXW's.
    cafile: certificates (PEM) to trust instead of the system's.
    certfile, keyfile: a certificate (PEM, with its chain) and its key, to show to the server; without keyfile the key
        is in certfile too.
    """

    context: "SSLContext | None" = None
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None


def make_context(endpoint: Endpoint, options: TlsOptions) -> "SSLContext | None":
    """The context for a connection to this endpoint; None for cleartext.

    Raises InvalidArgument when options do not fit together or to the URL, or a file cannot be used.
    """
    if not endpoint.tls:
        if options != TlsOptions():
            allowed = "with a pixwires:// URL only"
            raise invalid("ssl", None, allowed, f"TLS options need a pixwires:// URL, not {endpoint.url}")
        return None
    if options.context is not None:
        if options.cafile or options.certfile or options.keyfile:
            allowed = "ssl, or cafile, certfile and keyfile"
            raise invalid("ssl", None, allowed, "an ssl context has its certificates already; leave cafile & co. out")
        options.context.set_alpn_protocols([ALPN])
        return options.context
    import ssl

    context = ssl.create_default_context() if options.cafile is None else _trusting(options.cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if options.keyfile is not None and options.certfile is None:
        raise invalid("keyfile", str(options.keyfile), "with certfile only", "a key needs its certificate: certfile")
    if options.certfile is not None:
        _show_certificate(context, options.certfile, options.keyfile)
    return context


def wanted(error: OSError) -> Literal["read", "write"] | None:
    """What a TLS socket that does not block must be able to do first; None: something else is wrong."""
    import ssl

    if isinstance(error, ssl.SSLWantReadError):
        return "read"
    return "write" if isinstance(error, ssl.SSLWantWriteError) else None


def _trusting(cafile: Path) -> "SSLContext":
    import ssl

    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        raise _unusable("cafile", cafile, error) from None


def _show_certificate(context: "SSLContext", certfile: Path, keyfile: Path | None) -> None:
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except (OSError, ValueError) as error:
        raise _unusable("certfile", certfile, error) from None


def _no_password() -> str:
    """Instead of a question on the terminal that nobody answers."""
    raise ValueError("the key is protected by a password; pass an ssl context that has it loaded")


def _unusable(field: str, path: Path, error: Exception) -> Exception:
    import ssl

    reasons = {
        "NO_CERTIFICATE_OR_CRL_FOUND": "it holds no certificate",
        "KEY_VALUES_MISMATCH": "key and certificate differ",
    }
    reason = reasons.get(getattr(error, "reason", None) or "") or getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLError) and error.reason not in reasons:
        reason = "it is not a PEM file with what is needed"
    return invalid(field, str(path), "a PEM file", f"{field} {str(path)!r} cannot be used: {reason}")
