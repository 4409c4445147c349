"""Server URLs: `pixwire://host[:port]` for TCP, `pixwire+unix:///path` for a Unix socket. SPEC 3."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pixwire_protocol.registry import PORT

from .errors import InvalidURL

DEFAULT_URL = f"pixwire://127.0.0.1:{PORT}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens: `host` and `port`, or the `path` of a Unix socket."""

    url: str
    host: str = ""
    port: int = PORT
    path: str | None = None


def parse_url(url: str) -> Endpoint:
    """Reads a server URL.

    Raises:
        InvalidURL: it names another protocol, no host, or something that this version does not do (TLS, credentials).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidURL(url, str(error)) from None
    match parts.scheme:
        case "pixwire":
            return _tcp(url, parts.hostname, port, parts.username, parts.path.strip("/") + parts.query + parts.fragment)
        case "pixwire+unix":
            return _unix(url, parts.netloc, unquote(parts.path))
        case "pixwires":
            advice = "use pixwire:// inside a trusted network or through a tunnel (ssh -L, WireGuard)"
            raise InvalidURL(url, f"TLS is not available yet; {advice}")
        case "http" | "https":
            raise InvalidURL(url, "this client speaks PXW/1, not HTTP; write pixwire://host:port")
    raise InvalidURL(url, "write pixwire://host[:port] or pixwire+unix:///path/to/socket")


def _tcp(url: str, host: str | None, port: int | None, user: str | None, rest: str) -> Endpoint:
    if not host:
        raise InvalidURL(url, "the host is missing; write pixwire://host[:port]")
    if user is not None:
        raise InvalidURL(
            url, "it holds credentials, and authentication is not available yet; remove the part before '@'"
        )
    if rest:
        raise InvalidURL(url, f"nothing may follow the port, but {rest!r} does; write pixwire://{host}:{port or PORT}")
    if port == 0:
        raise InvalidURL(url, "port 0 is not a port to connect to; write the one that the server printed")
    return Endpoint(url, host, PORT if port is None else port)


def _unix(url: str, netloc: str, path: str) -> Endpoint:
    if netloc:
        raise InvalidURL(url, f"the path needs three slashes: pixwire+unix:///{netloc}{path}")
    if path in ("", "/"):
        raise InvalidURL(url, "the path of the socket is missing; write pixwire+unix:///path/to/socket")
    return Endpoint(url, path=path)
