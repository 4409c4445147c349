"""A connection on a TLS port: who may try, the handshake, and then the bytes of its application (SPEC 3.1)."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, cast

from pixwire_server.doors.auth import Identity
from pixwire_server.doors.reception import Reception, Visit
from pixwire_server.doors.strangers import TLS_MARK, describe, may_be_tls
from pixwire_server.doors.tls import ALPN, TlsError, identity_of, reason
from pixwire_server.doors.tls_transport import TlsTransport

log = logging.getLogger(__name__)

MakeApp = Callable[[Reception, Visit, Identity | None], asyncio.BufferedProtocol]
"""Makes what speaks PXW on a connection whose handshake is done; the identity is that of its client certificate."""


class TlsFront(asyncio.Protocol):
    """Stands between the socket and the shell of one connection.

    Until the handshake is done it is a member of the door like the others: with a seat, a deadline and a name.
    """

    def __init__(self, reception: Reception, make_app: MakeApp) -> None:
        self._reception = reception
        self._make_app = make_app
        self._app: asyncio.BufferedProtocol | None = None
        self._first: bytes | None = b""  # what came before it could be TLS; None: it is
        self._deadline: asyncio.TimerHandle | None = None
        self._paused = False
        self._ended: bool | None = None  # the peer sends no more; True: our side stays open for what is owed

    # ------------------------------------------------------------------ life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = cast("asyncio.Transport", transport)
        raw.set_write_buffer_limits(high=0)
        context = self._reception.tls
        assert context is not None  # noqa: S101 - no TLS port is opened without one
        self._transport = TlsTransport(raw, context)
        self._visit = self._reception.arrive(self, transport)
        if self._visit.refusal is not None and not self._visit.refusal.tell:
            raw.abort()
            return
        within_s = self._reception.settings.handshake_timeout_s
        self._deadline = asyncio.get_running_loop().call_later(within_s, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._app is not None:
            self._app.connection_lost(exc)
        else:
            self._visit.leave()

    def _too_late(self) -> None:
        log.info("%s: closed, the TLS handshake took too long", self._visit.peer.name)
        self.abort()

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # ------------------------------------------------------------------ a member of the door, until the handshake

    def begin_drain(self, grace_s: float) -> None:
        self.abort()  # it has not shown that it speaks PXW: there is nothing to say

    def close_when_idle(self) -> None:
        self.abort()

    def recheck(self) -> None:
        pass  # it has shown no credentials yet

    def abort(self) -> None:
        self._transport.abort()

    # ------------------------------------------------------------------ receiving

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport.silent or transport.is_closing():
            return  # read and forget: closing with unread bytes would reset the connection under our last words
        if self._first is not None:
            self._first += data
            if not may_be_tls(self._first):
                self._turn_away(f"{describe(self._first)} on a TLS port")
                return
            if len(self._first) < len(TLS_MARK):
                return
            data, self._first = self._first, None
        transport.arriving.write(data)
        if self._app is None:
            self._shake_hands()
        if self._app is not None:
            self._decrypt(self._app)

    def _decrypt(self, app: asyncio.BufferedProtocol) -> None:
        """Everything that has come, straight into the buffers of the application."""
        transport = self._transport
        while self._ended is None and not transport.silent and not transport.is_closing():
            buffer: Any = app.get_buffer(-1)
            try:
                count = cast("int", transport.tls.read(len(buffer), buffer))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                log.info("%s broke TLS: %s", self._visit.peer.name, reason(error))
                transport.abort()
                return
            if count:
                app.buffer_updated(count)
            elif not self._hear_end(app):
                transport.close()
        transport.flush()  # what TLS itself has to answer

    def eof_received(self) -> bool:
        """TCP ends; TLS may have ended before, in order."""
        return self._app is not None and self._hear_end(self._app)

    def _hear_end(self, app: asyncio.BufferedProtocol) -> bool:
        if self._ended is None:
            self._ended = bool(app.eof_received())
        return self._ended

    # ------------------------------------------------------------------ handshake

    def _shake_hands(self) -> None:
        """Go on with the handshake; when it is done, the application begins."""
        transport = self._transport
        try:
            transport.tls.do_handshake()
        except ssl.SSLWantReadError:
            transport.flush()
            return
        except ssl.SSLError as error:
            transport.flush()  # the alert that tells the client
            self._turn_away(f"the TLS handshake failed: {reason(error)}", linger=True)
            return
        transport.flush()
        if transport.tls.selected_alpn_protocol() != ALPN:
            self._turn_away(f"a TLS client that does not offer ALPN {ALPN}")
            return
        try:
            certificate = transport.tls.getpeercert()
            identity = identity_of(certificate) if certificate else None
        except TlsError as error:
            self._turn_away(str(error))
            return
        self._stop_timer()
        self._app = self._make_app(self._reception, self._visit, identity)
        self._app.connection_made(transport)
        if self._paused:
            self._app.pause_writing()

    def _turn_away(self, why: str, *, linger: bool = False) -> None:
        """Say no more. `linger`: read and forget a little, lest a reset destroys the alert on its way to the client."""
        log.info("%s: closed, %s", self._visit.peer.name, why)
        self._transport.silent = True
        if not linger:
            self._transport.close()
            return
        self._transport.raw.write_eof()
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._reception.settings.linger_s, self.abort)

    # ------------------------------------------------------------------ sending

    def pause_writing(self) -> None:
        self._paused = True
        if self._app is not None:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        self._paused = False
        if self._app is not None:
            self._app.resume_writing()
