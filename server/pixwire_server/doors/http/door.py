"""The HTTP door: its listeners, the connections that came through it, and how all of them are closed in peace."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from pixwire_server.doors.address import TcpAddress
from pixwire_server.doors.door import Door
from pixwire_server.doors.http.app import make_app
from pixwire_server.doors.http.callers import Porter
from pixwire_server.doors.http.console.feed import Feed
from pixwire_server.doors.http.desk import Desk
from pixwire_server.doors.http.metrics import Metrics
from pixwire_server.doors.http.operations import look
from pixwire_server.doors.http.protocol import HttpConnection
from pixwire_server.doors.http.settings import HttpSettings
from pixwire_server.doors.http.tls_front import HttpsFront
from pixwire_server.doors.listeners import BACKLOG, Listener
from pixwire_server.doors.peers import Headcount
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.tally import Tally
from pixwire_server.doors.tokens import Tokens
from pixwire_server.jobs import Gauges

log = logging.getLogger(__name__)

TASKS_S = 5.0
"""How long requests may take to notice that their connection is gone."""


class HttpDoor:
    """Serves HTTP on any number of listeners. Use: `open`, then `begin_drain` and `finish`, or `abort`.

    `tls` is for the listeners whose address says so; `wrap` may put something around the application.
    """

    def __init__(
        self,
        jobs: JobsPort,
        gauges: Gauges,
        settings: HttpSettings,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
        wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self.settings = settings
        self.headcount = Headcount(settings.max_connections, settings.max_connections_per_address)
        self.pxw: Door | None = None
        """The other door, whose counts /metrics has, too."""
        self._tls = tls
        self._desk = Desk(jobs, settings, Porter(tokens, tls, settings.admins))
        self._metrics = Metrics(gauges, partial(look, self._desk), jobs.models, self._by_door, self._of_pxw)
        self._counts = self._metrics.http
        self._feed = Feed(jobs, partial(look, self._desk))
        gauges.on_pass.append(self._feed.history.passed)
        self._names: set[str] = set()
        self._config = Config(
            wrap(make_app(self._desk, self._metrics, self._feed, self._names)),
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=round(settings.idle_timeout_s),
        )
        # What clients do wrong is no news; what this program does wrong never gets there (app.py).
        for name in ("uvicorn.error", "python_multipart"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._config.load()
        self._state = ServerState()
        self._empty = asyncio.Event()
        self._empty.set()
        self._connections: set[HttpConnection] = set()
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    def _by_door(self) -> Mapping[str, tuple[int, int]]:
        ours = {"http": (self.connections, self._counts.accepted)}
        return ours if self.pxw is None else {**ours, "pxw": (self.pxw.connections, self.pxw.tally.accepted)}

    def _of_pxw(self) -> Tally | None:
        return None if self.pxw is None else self.pxw.tally

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Accept connections. The door owns the listeners from now on. ListenError: one of them is taken by now."""
        self._listeners += listeners
        for listener in listeners:
            listener.listen()
            if isinstance(listener.address, TcpAddress):
                self._names.add(listener.address.host.lower())
            self._warn(listener)
        await self._serve()
        self._feed.start()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            make = partial(self._encrypted if listener.address.tls else self._plain, local=listener.address.is_local)
            for sock in listener.sockets:
                self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def _plain(self, *, local: bool) -> HttpConnection:
        return HttpConnection(self, self._config, self._state, local=local)

    def _encrypted(self, *, local: bool) -> HttpsFront:
        assert self._tls is not None  # noqa: S101 - no TLS port is opened without one
        return HttpsFront(self._plain(local=local), self._tls, self.settings.head_timeout_s)

    def _warn(self, listener: Listener) -> None:
        address = listener.address
        if not address.is_local and not address.tls:
            log.warning("%s can be reached from other machines and is not encrypted", address.url)
        if not address.is_local and self._desk.porter.asks_nobody:
            log.warning("%s can be reached from other machines, and there is no authentication", address.url)

    # ------------------------------------------------------------------ what the connections need

    def came(self, connection: HttpConnection) -> None:
        self._counts.accepted += 1
        self._connections.add(connection)
        self._empty.clear()

    def left(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def received(self, size: int) -> None:
        self._counts.received += size

    # ------------------------------------------------------------------ while it is open

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Serve connections that begin from now on with this context."""
        self._tls = context

    # ------------------------------------------------------------------ closing

    def begin_drain(self) -> None:
        """Accept nobody new. Requests that are being answered go on, the last one of their connection."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.shutdown()

    async def finish(self, timeout_s: float) -> None:
        """End what still waits for jobs, let answers on their way arrive; what is open after `timeout_s` is cut."""
        self._desk.dismiss()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d HTTP connections were cut: their answers were not taken in time", self.connections)
        await self.abort()

    async def abort(self) -> None:
        """Close everything at once. Returns when no request is being answered any more."""
        self._stop_listening()
        self._feed.stop()
        self._desk.dismiss()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()
        tasks = set(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=TASKS_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self._servers.clear()
        self._listeners.clear()
