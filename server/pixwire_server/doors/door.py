"""The PXW door: its listeners, the connections that came through it, and how all of them are closed in peace."""

import asyncio
import logging
from collections.abc import Sequence

from pixwire_server.doors.address import UnixAddress
from pixwire_server.doors.listeners import Listener
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tcp import PxwProtocol

log = logging.getLogger(__name__)

BACKLOG = 1024


class Door:
    """Serves PXW on any number of listeners. Use: `open`, then `begin_drain` and `finish`, or `abort`."""

    def __init__(self, jobs: JobsPort, settings: DoorSettings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[PxwProtocol] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """Connections that are open now, those that are being closed included."""
        return len(self._connections)

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Accept connections. The door owns the listeners from now on."""
        self._listeners += listeners
        loop = asyncio.get_running_loop()
        for listener in listeners:
            # asyncio asks for another call where the family is AF_UNIX; both take a bound socket.
            is_unix = isinstance(listener.address, UnixAddress)
            create = loop.create_unix_server if is_unix else loop.create_server
            for sock in listener.sockets:
                self._servers.append(await create(self._protocol, sock=sock, backlog=BACKLOG))
            if not listener.address.is_local:
                log.warning(
                    "%s can be reached from other machines, and there is no authentication yet", listener.address.url
                )

    def begin_drain(self, grace_s: float) -> None:
        """Accept nobody new and announce the end to everybody; open streams go on."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.begin_drain(grace_s)

    async def finish(self, timeout_s: float) -> None:
        """Let answers and images that are on their way arrive, then close; what is open after `timeout_s` is cut."""
        for connection in list(self._connections):
            connection.close_when_idle()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d connections were cut: their images were not taken in time", len(self._connections))
            await self.abort()

    async def abort(self) -> None:
        """Close everything at once."""
        self._stop_listening()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self._servers.clear()
        self._listeners.clear()

    # ------------------------------------------------------------------ connections

    def _protocol(self) -> PxwProtocol:
        return PxwProtocol(self._settings, self._jobs, self._admit, self._gone)

    def _admit(self, connection: PxwProtocol) -> bool:
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self._settings.max_connections

    def _gone(self, connection: PxwProtocol) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
