"""`connect`: from a URL and the user's wishes to a client that is ready. SPEC 3, 6."""

import asyncio
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from ..core.auth import TokenSource
from ..core.calls import MAX_IMAGE_BYTES
from ..core.observe import CallListener
from ..core.plan import ConnectionListener, OnDisconnect, Plan, make_plan, several
from ..core.policy import PATIENCE
from ..net.tls import Path, TlsOptions
from ..url import DEFAULT_URL
from .link import Link
from .scratch import scratch_of

if TYPE_CHECKING:
    from ssl import SSLContext

    from .client import AsyncClient
    from .several import Several


class Connecting:
    """What `connect` returns: await it for a client, or enter it with `async with`. Nothing happens before that."""

    def __init__(self, plans: tuple[Plan, ...]) -> None:
        self._plans = plans
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

        link, client = self._link(), None
        try:
            link.open()
            await link.ready()
            client = AsyncClient(link)
        finally:
            if client is None:  # also when it is cancelled in the very turn in which it is ready
                link.abort()
                await link.ended()
        return client

    def _link(self) -> "Link | Several":
        loop = asyncio.get_running_loop()
        if len(self._plans) > 1:
            from .several import Several

            return Several(self._plans, loop)
        return Link(self._plans[0].new_session(scratch_of(loop)), self._plans[0], loop)


def connect(
    url: str | Sequence[str] = DEFAULT_URL,
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
    connections: int = 1,
    on_call: CallListener | None = None,
) -> Connecting:
    """Connects to a server: `client = await pixwire.connect(url)`, or `async with pixwire.connect(url) as client:`.

    Args:
        url: `pixwires://host[:port]` (TLS), `pixwire://host[:port]` or `pixwire+unix:///path/to/socket`. A list of them
            spreads the calls over several servers: see `docs/clusters.md`.
        token: for a server that asks who we are. A function (also an async one) is asked at every connect and before
            the token expires; it must not block. In cleartext a token is sent to loopback and Unix sockets only,
            unless `allow_insecure_auth`.
        allow_insecure_auth: send the token in cleartext to other machines as well, where others may read it.
        cafile: certificates (PEM) to trust instead of the system's.
        certfile: a certificate (PEM, with its chain) to show to the server.
        keyfile: its private key (PEM); None: it is in `certfile`, too.
        ssl: an `ssl.SSLContext` instead of these three; its ALPN names become PXW's.
        on_disconnect: what calls do while there is no connection: "wait" for the next one and go on there, at most
            `patience` seconds and their own timeout; or "fail" with ConnectionLost. The client reconnects either way.
        patience: seconds that a call waits for the next connection.
        on_connection: called in the loop with a reason when the connection (of several, the last one) is lost, and with
            None when there is one again.
        timeout: seconds for making a connection: transport, TLS, handshake and authentication together.
        stream_window: how many bytes of images the server may send ahead, for each call. A larger one helps when the
            round trip is long: throughput is at most window / round trip. SPEC 7.4.
        connection_window: the same for all calls together.
        max_image_bytes: a larger image is not received; the call that waits for it fails with ProtocolViolation.
        connections: how many connections to make to each server. One is enough but for many large images at once.
        on_call: gets a `pixwire.CallRecord` when a call ends, for metrics; it must not block.

    Cancelling the await closes what was opened so far.

    Raises:
        InvalidURL: the URL cannot be understood; at once, before anything is awaited.
        InvalidArgument: a window out of range, a file that cannot be used, a token in cleartext; at once, too.
        ConnectError: nobody listens, the certificate is not accepted, the handshake failed or took too long. SPEC 6.
        AuthRequired, AuthFailed, AuthExpired: the server wants a token, or another one.
    """
    tls = TlsOptions(ssl, cafile, certfile, keyfile)
    windows = stream_window, connection_window, max_image_bytes
    behaviour = on_disconnect, patience, on_connection, timeout
    how = token, allow_insecure_auth, tls, *behaviour, *windows, on_call
    return Connecting(several(url, connections, lambda one: make_plan(one, *how)))
