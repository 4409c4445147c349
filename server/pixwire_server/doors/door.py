"""The PXW door: its listeners, the connections that came through it, and how all of them are closed in peace."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from functools import partial

from pixwire_server.doors.address import UnixAddress
from pixwire_server.doors.listeners import BACKLOG, Listener
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.reception import Reception
from pixwire_server.doors.settings import DoorSettings
from pixwire_server.doors.tally import Tally
from pixwire_server.doors.tcp import PxwProtocol
from pixwire_server.doors.tls_front import TlsFront
from pixwire_server.doors.tokens import Tokens

log = logging.getLogger(__name__)


class Door:
    """Serves PXW on any number of listeners. Use: `open`, then `begin_drain` and `finish`, or `abort`.

    With `tokens`, clients have to show one (unless their certificate says who they are). `tls` is for the listeners
    whose address says so.
    """

    def __init__(
        self,
        jobs: JobsPort,
        settings: DoorSettings,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._empty = asyncio.Event()
        self._empty.set()
        self._reception = Reception(jobs, settings, tokens, tls, on_empty=self._empty.set, on_first=self._empty.clear)
        self._listeners: list[Listener] = []
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Connections that are open now, those that are being closed included."""
        return len(self._reception.members)

    @property
    def tally(self) -> Tally:
        """What was done since the start."""
        return self._reception.tally

    async def open(self, listeners: Sequence[Listener]) -> None:
        """Accept connections. The door owns the listeners from now on. ListenError: one of them is taken by now."""
        self._listeners += listeners
        for listener in listeners:
            listener.listen()
        loop = asyncio.get_running_loop()
        for listener in listeners:
            # asyncio asks for another call where the family is AF_UNIX; both take a bound socket.
            is_unix = isinstance(listener.address, UnixAddress)
            create = loop.create_unix_server if is_unix else loop.create_server
            make = self._encrypted if listener.address.tls else self._plain
            factory = partial(make, local=listener.address.is_local)
            for sock in listener.sockets:
                self._servers.append(await create(factory, sock=sock, backlog=BACKLOG))
            self._warn(listener)

    def _warn(self, listener: Listener) -> None:
        address, reception = listener.address, self._reception
        if address.is_local:
            return
        if not address.tls:
            log.warning("%s can be reached from other machines and is not encrypted", address.url)
        if reception.asks_nobody:
            log.warning("%s can be reached from other machines, and there is no authentication", address.url)

    def _plain(self, *, local: bool) -> PxwProtocol:
        return PxwProtocol(self._reception, local=local)

    def _encrypted(self, *, local: bool) -> TlsFront:
        return TlsFront(self._reception, partial(PxwProtocol, local=local))

    # ------------------------------------------------------------------ while it is open

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Serve connections that begin from now on with this context."""
        self._reception.tls = context

    def recheck(self) -> None:
        """The tokens have changed: end the connections whose credentials hold no more."""
        for member in list(self._reception.members):
            member.recheck()

    # ------------------------------------------------------------------ closing

    def begin_drain(self, grace_s: float) -> None:
        """Accept nobody new and announce the end to everybody; open streams go on."""
        self._stop_listening()
        for member in list(self._reception.members):
            member.begin_drain(grace_s)

    async def finish(self, timeout_s: float) -> None:
        """Let answers and images that are on their way arrive, then close; what is open after `timeout_s` is cut."""
        for member in list(self._reception.members):
            member.close_when_idle()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d connections were cut: their images were not taken in time", self.connections)
            await self.abort()

    async def abort(self) -> None:
        """Close everything at once."""
        self._stop_listening()
        for member in list(self._reception.members):
            member.abort()
        await self._empty.wait()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self._servers.clear()
        self._listeners.clear()
