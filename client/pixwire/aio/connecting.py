"""`connect`: from a URL and the user's wishes to a client that is ready. SPEC 3, 6."""

import asyncio
import os
import random
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from pixwire_protocol.grease import RANDOM_BYTES as GREASE_BYTES
from pixwire_protocol.grease import make_grease
from pixwire_protocol.settings import Settings

from .._version import __version__
from ..core.auth import Credentials, Kind, TokenSource, check_transport
from ..core.calls import MAX_IMAGE_BYTES
from ..core.policy import PATIENCE, Policy
from ..core.session import ClientSession
from ..errors import ConnectError, ConnectionLost, invalid
from ..net.tls import Path, TlsOptions, make_context
from ..url import DEFAULT_URL, Endpoint, parse_url
from .link import Link

if TYPE_CHECKING:
    from ssl import SSLContext

    from .client import AsyncClient


class Connecting:
    """What `connect` returns: await it for a client, or enter it with `async with`. Nothing happens before that."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        policy: Policy,
        context: "SSLContext | None",
        credentials: Credentials | None,
        on_connection: Callable[[str | None], object] | None,
    ) -> None:
        self._on_connection = on_connection
        self._endpoint = endpoint
        self._settings = settings
        self._policy = policy
        self._context = context
        self._credentials = credentials
        self._client: AsyncClient | None = None

    def __await__(self) -> "Generator[None, None, AsyncClient]":
        return self._connect().__await__()

    async def __aenter__(self) -> "AsyncClient":
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connect(self) -> "AsyncClient":
        from .client import AsyncClient

        session = ClientSession(self._settings, self._policy, random.random)
        loop = asyncio.get_running_loop()
        link = Link(session, self._endpoint, self._context, self._credentials, self._on_connection, loop)
        try:
            link.open()
            await link.opened
        except ConnectionLost as error:
            reason = error.reason + self._hint(link)
            raise ConnectError(self._endpoint.url, reason, reached=link.reached) from error
        finally:
            if session.welcome is None:
                link.abort()
        return AsyncClient(self._endpoint, link)

    def _hint(self, link: Link) -> str:
        """What a server may mean that just hangs up, without having said anything."""
        if link.bytes_received or not link.was_connected or self._endpoint.path is not None:
            return ""
        if self._endpoint.tls:  # TLS 1.3: the client thinks that all is well by then
            return "; perhaps it wants a client certificate (certfile, keyfile)"
        return "; perhaps it is a TLS server (pixwires://)"


def connect(
    url: str = DEFAULT_URL,
    *,
    token: TokenSource | None = None,
    allow_insecure_auth: bool = False,
    ssl: "SSLContext | None" = None,
    cafile: Path | None = None,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    on_disconnect: Literal["wait", "fail"] = "wait",
    patience: float = PATIENCE,
    on_connection: Callable[[str | None], object] | None = None,
    timeout: float = 10.0,
    stream_window: int = 1 << 20,
    connection_window: int = 4 << 20,
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Connecting:
    """Connects to a server: `client = await pixwire.connect(url)`, or `async with pixwire.connect(url) as client:`.

    Args:
        url: `pixwires://host[:port]` (TLS), `pixwire://host[:port]` or `pixwire+unix:///path/to/socket`.
        token: for a server that asks who we are. A function (also an async one) is asked at every connect and before
            the token expires; it must not block. In cleartext a token is sent to loopback and Unix sockets only,
            unless `allow_insecure_auth`.
        cafile: certificates (PEM) to trust instead of the system's. certfile, keyfile: a certificate to show.
        ssl: an `ssl.SSLContext` instead of those three; its ALPN names become PXW's.
        on_disconnect: what calls do while there is no connection: "wait" for the next one and go on there, at most
            `patience` seconds and their own timeout; or "fail" with ConnectionLost. The client reconnects either way.
        on_connection: called in the loop with a reason when the connection is lost, and with None when there is one
            again.
        timeout: seconds for making a connection: transport, TLS, handshake and authentication together.
        stream_window, connection_window: how many bytes of images the server may send ahead, per call and in all.
            Larger ones help when the round trip is long (throughput is at most window / round trip).
        max_image_bytes: a larger image is not received; the call that waits for it fails with ProtocolViolation.

    Cancelling the await closes what was opened so far.

    Raises:
        InvalidURL, InvalidArgument (a window out of range, a file that cannot be used, a token in cleartext): at once.
        ConnectError: nobody listens, the certificate is not accepted, the handshake failed or took too long. SPEC 6.
        AuthRequired, AuthFailed, AuthExpired: the server wants a token, or another one.
    """
    endpoint = parse_url(url)
    if on_disconnect not in ("wait", "fail"):
        raise invalid("on_disconnect", on_disconnect, "wait or fail", "on_disconnect must be 'wait' or 'fail'")
    context = make_context(endpoint, TlsOptions(ssl, cafile, certfile, keyfile))
    credentials = None
    if token is not None:
        check_transport(endpoint, allow_insecure_auth)
        credentials = Credentials(token)
    kind: Kind = "none"
    if credentials is not None:
        kind = "renewable" if credentials.renewable else "fixed"
    policy = Policy(on_disconnect == "wait", patience, timeout, max_image_bytes, kind)
    settings = _settings(stream_window, connection_window)
    return Connecting(endpoint, settings, policy, context, credentials, on_connection)


def _settings(stream_window: int, connection_window: int) -> Settings:
    try:
        return Settings(
            agent=f"pixwire-python/{__version__}",
            stream_window=stream_window,
            connection_window=connection_window,
            grease=make_grease(os.urandom(GREASE_BYTES)),
        )
    except ValueError as error:
        raise invalid("window", None, None, str(error)) from None
