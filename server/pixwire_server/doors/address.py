"""Where a door listens: `[pixwire://]host[:port]`, `pixwires://host[:port]` or `pixwire+unix:///path`; read and written
the same way.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from pixwire_protocol.registry import PORT

SYNTAX = "host, host:port, [ipv6]:port, pixwire://host[:port], pixwires://host[:port] (TLS) or pixwire+unix:///path"
_TCP_SCHEME = "pixwire://"
_TLS_SCHEME = "pixwires://"
_UNIX_SCHEME = "pixwire+unix://"
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\[\]:/@\s]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address; port 0 means any free port. `tls`: everything on it is encrypted, from the first byte."""

    host: str
    port: int = PORT
    tls: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_TLS_SCHEME if self.tls else _TCP_SCHEME}{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` counts as reachable from outside."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix stream socket at an absolute path."""

    path: str

    @property
    def url(self) -> str:
        return f"{_UNIX_SCHEME}{quote(self.path)}"

    @property
    def is_local(self) -> bool:
        return True

    @property
    def tls(self) -> bool:
        return False


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """The address that `text` names; ValueError says what is wrong with it and what would be right."""
    text = text.strip()
    if text.startswith(_UNIX_SCHEME):
        path = unquote(text.removeprefix(_UNIX_SCHEME))
        if not path.startswith("/") or path == "/":
            raise ValueError(f"{text!r} needs an absolute path: pixwire+unix:///run/pixwire.sock")
        if "\0" in path:
            raise ValueError(f"{text!r} has a zero byte, which no path has")
        return UnixAddress(path)
    tls = text.startswith(_TLS_SCHEME)
    rest = text.removeprefix(_TLS_SCHEME if tls else _TCP_SCHEME).removesuffix("/")
    if "://" in rest:
        raise ValueError(
            f"{text!r} has a scheme this door does not speak; use pixwire://, pixwires:// or pixwire+unix://"
        )
    match = _HOST_PORT.fullmatch(rest)
    if match is None:
        raise ValueError(f"{text!r} is not an address; use {SYNTAX}")
    port = PORT if match["port"] is None else int(match["port"])
    if port > 65535:
        raise ValueError(f"{text!r} has port {port}; a port is 0 (any free one) to 65535")
    return TcpAddress(match["v6"] or match["host"], port, tls)
