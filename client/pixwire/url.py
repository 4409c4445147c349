"""Server URLs: `pixwires://host[:port]` for TLS, `pixwire://host[:port]` for TCP, `pixwire+unix:///path`. SPEC 3."""

import os
import re
from urllib.parse import unquote_to_bytes, urlsplit

from pixwire_protocol.record import record
from pixwire_protocol.registry import PORT

from .errors import InvalidURL

DEFAULT_URL = f"pixwire://127.0.0.1:{PORT}"
MOST_SOCKET_PATH = 107  # bytes, on Linux; libuv would cut a longer one off and connect to something else


@record
class Endpoint:
    """Where a server listens: `host` and `port`, with `tls` or in cleartext, or the `path` of a Unix socket."""

    url: str
    host: str = ""
    port: int = PORT
    path: str | None = None
    tls: bool = False


def parse_url(url: str) -> Endpoint:
    """Reads a server URL.

    Raises:
        InvalidURL: it names another protocol, no host, or holds credentials.
    """
    shown = re.sub("^([^/]*//)[^/@]*@", r"\1", url)  # credentials, if there are any, show in no error
    if shown != url:
        raise InvalidURL(shown, "a URL holds no credentials; pass them as connect(url, token=...)")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidURL(url, str(error)) from None
    try:
        port = parts.port
    except ValueError:
        given = parts.netloc.rpartition(":")[2]
        raise InvalidURL(url, f"the port {given!r} is not a number from 1 to 65535") from None
    match parts.scheme:
        case "pixwire" | "pixwires" as scheme:
            path = "" if parts.path == "/" else parts.path
            return _tcp(url, scheme, parts.hostname, port, path + parts.query + parts.fragment)
        case "pixwire+unix":
            return _unix(url, parts.netloc, os.fsdecode(unquote_to_bytes(parts.path)), parts.query + parts.fragment)
        case "http" | "https":
            raise InvalidURL(url, "this client speaks PXW/1, not HTTP; write pixwire://host:port")
    raise InvalidURL(url, "write pixwires://host[:port], pixwire://host[:port] or pixwire+unix:///path/to/socket")


def _tcp(url: str, scheme: str, host: str | None, port: int | None, rest: str) -> Endpoint:
    if not host:
        raise InvalidURL(url, f"the host is missing; write {scheme}://host[:port]")
    if rest:
        raise InvalidURL(url, f"nothing may follow the port, but {rest!r} does; write {scheme}://{host}:{port or PORT}")
    if port == 0:
        raise InvalidURL(url, "port 0 is not a port to connect to; write the one that the server printed")
    return Endpoint(url, host, PORT if port is None else port, tls=scheme == "pixwires")


def _unix(url: str, netloc: str, path: str, rest: str) -> Endpoint:
    if netloc:
        raise InvalidURL(url, f"the path needs three slashes: {url.replace('//', '///', 1)}")
    if path in ("", "/"):
        raise InvalidURL(url, "the path of the socket is missing; write pixwire+unix:///path/to/socket")
    if rest:
        raise InvalidURL(
            url, f"nothing may follow the path, but {rest!r} does; in a path write %3F for ? and %23 for #"
        )
    if "\0" in path:
        raise InvalidURL(url, "no path has a zero byte (%00) in it")
    if (size := len(os.fsencode(path))) > MOST_SOCKET_PATH:
        takes = f"the address of a Unix socket has room for {MOST_SOCKET_PATH}"
        raise InvalidURL(url, f"the path has {size} bytes, and {takes}; use a shorter one, or a symbolic link")
    return Endpoint(url, path=path)
