"""From when until when the certificate of a server is good.

OpenSSL tells that of a certificate it has verified: so it shakes hands with itself, in memory, its dates left aside.
"""

import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

SOON_S: Final = 7 * 86_400.0
"""A certificate that expires within this time is worth a warning."""
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which the module ssl has no name."""


@dataclass(frozen=True, slots=True)
class Validity:
    """Seconds since 1970."""

    begins: float
    ends: float

    def warning(self, wall: float) -> str | None:
        """What an operator has to know at `wall`, if anything."""
        if wall >= self.ends:
            return f"expired on {_day(self.ends)}: clients that verify it do not connect"
        if wall < self.begins:
            return f"is not valid before {_day(self.begins)}: clients that verify it do not connect"
        if wall >= self.ends - SOON_S:
            return f"expires on {_day(self.ends)}"
        return None


def validity(shown: ssl.SSLContext, certificate: Path) -> Validity | None:
    """That of the certificate which the server context `shown` shows; `certificate` is the file it was read from.

    None when OpenSSL does not accept it as a server's certificate at all.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = context.wrap_bio(back, there), shown.wrap_bio(there, back, server_side=True)
    try:
        context.load_verify_locations(certificate)
        for side in (client, server, client):
            _go_on(side)
    except (ssl.SSLError, OSError):
        return None
    found = client.getpeercert() or {}
    try:
        begins, ends = (ssl.cert_time_to_seconds(str(found[name])) for name in ("notBefore", "notAfter"))
    except KeyError:
        return None
    return Validity(float(begins), float(ends))


def _go_on(side: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
