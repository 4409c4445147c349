"""Where the HTTP door listens: `[http://][host:]port` or `https://[host:]port`, read and written the same way."""

import re
from dataclasses import dataclass

from pixwire_server.doors.address import TcpAddress

SYNTAX = "port, host:port, [ipv6]:port, http://host:port or https://host:port (TLS)"
_LOCAL = "127.0.0.1"
_SCHEMES = {"http://": False, "https://": True}
_FORM = re.compile(r"(?:(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\[\]:/@\s]+)):)?(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class HttpAddress(TcpAddress):
    """A TCP address that speaks HTTP; port 0 means any free port. `tls`: https."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def parse_http_address(text: str) -> HttpAddress:
    """The address that `text` names, 127.0.0.1 when it names no host; ValueError says what would be right."""
    text = text.strip()
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), None)
    rest = text.removeprefix(scheme or "").removesuffix("/")
    if "://" in rest:
        raise ValueError(f"{text!r} has a scheme this door does not speak; use http:// or https://")
    match = _FORM.fullmatch(rest)
    if match is None:
        raise ValueError(f"{text!r} is not an address with a port; use {SYNTAX}")
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"{text!r} has port {port}; a port is 0 (any free one) to 65535")
    return HttpAddress(match["v6"] or match["host"] or _LOCAL, port, _SCHEMES.get(scheme or "", False))
