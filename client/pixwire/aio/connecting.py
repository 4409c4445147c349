"""`connect`: from a URL and the user's wishes to a client that is ready. SPEC 3, 6."""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING

from ..core.auth import TokenSource
from ..core.calls import MAX_IMAGE_BYTES
from ..core.plan import ConnectionListener, OnDisconnect, Plan, make_plan
from ..core.policy import PATIENCE
from ..errors import ConnectError, ConnectionLost
from ..net.tls import Path, TlsOptions
from ..url import DEFAULT_URL
from .link import Link

if TYPE_CHECKING:
    from ssl import SSLContext

    from .client import AsyncClient


class Connecting:
    """What `connect` returns: await it for a client, or enter it with `async with`. Nothing happens before that."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
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

        plan = self._plan
        link = Link(plan.new_session(), plan, asyncio.get_running_loop())
        client = None
        try:
            link.open()
            await link.opened
            client = AsyncClient(plan.endpoint, link)
        except ConnectionLost as error:
            hint = plan.hint(connected=link.was_connected, received=link.bytes_received)
            raise ConnectError(plan.endpoint.url, error.reason + hint, reached=link.reached) from error
        finally:
            if client is None:  # also when it is cancelled in the very turn in which it is ready
                link.abort()
                await link.ended()
        return client


def connect(
    url: str = DEFAULT_URL,
    *,
    token: TokenSource | None = None,
    allow_insecure_auth: bool = False,
    ssl: "SSLContext | None" = None,
    cafile: Path | None = None,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    on_disconnect: OnDisconnect = "wait",
    patience: float = PATIENCE,
    on_connection: ConnectionListener | None = None,
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
    tls = TlsOptions(ssl, cafile, certfile, keyfile)
    windows = stream_window, connection_window, max_image_bytes
    return Connecting(
        make_plan(url, token, allow_insecure_auth, tls, on_disconnect, patience, on_connection, timeout, *windows)
    )
