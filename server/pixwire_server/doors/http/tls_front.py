"""An https connection: the handshake, and then HTTP on what was decrypted. It has its seat from accept on: a crowd that
never finishes its handshake counts for the limits like everybody (the loop's own TLS tells of nobody before that).
"""

import asyncio
import logging
import ssl
from typing import Final, cast

from pixwire_server.doors.http.protocol import LINGER_S, HttpConnection
from pixwire_server.doors.tls import reason
from pixwire_server.doors.tls_transport import TlsTransport

log = logging.getLogger(__name__)

_RECORD: Final = 16 << 10
"""The most that TLS decrypts at once."""


class HttpsFront(asyncio.Protocol):
    """Stands between the socket and its HTTP connection. `within_s`: how long the handshake may take."""

    def __init__(self, http: HttpConnection, context: ssl.SSLContext, within_s: float) -> None:
        self._http = http
        self._context = context
        self._within_s = within_s
        self._begun = False

    # ------------------------------------------------------------------ life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = TlsTransport(cast("asyncio.Transport", transport), self._context)
        self._close_after(self._within_s)
        self._http.arrive(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._http.connection_lost(exc)

    def _close_after(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    # ------------------------------------------------------------------ receiving

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport.silent or transport.is_closing():
            return  # read and forget: closing with unread bytes would reset the connection under our last words
        transport.arriving.write(data)
        if self._begun or self._shake_hands():
            self._decrypt()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done, and HTTP has begun."""
        transport = self._transport
        try:
            transport.tls.do_handshake()
        except ssl.SSLWantReadError:
            transport.flush()
            return False
        except ssl.SSLError as error:
            log.info("%s: closed, the TLS handshake failed: %s", self._http.peer.name, reason(error))
            transport.flush()  # the alert that tells the client
            transport.silent = True
            transport.raw.write_eof()
            self._deadline.cancel()
            self._close_after(LINGER_S)
            return False
        transport.flush()
        self._deadline.cancel()
        self._begun = True
        self._http.begin()
        return True

    def _decrypt(self) -> None:
        transport = self._transport
        while not transport.silent and not transport.is_closing():
            try:
                data = transport.tls.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                log.info("%s broke TLS: %s", self._http.peer.name, reason(error))
                transport.abort()
                return
            if not data:  # the peer has ended TLS in order
                transport.close()
                return
            self._http.data_received(data)
        transport.flush()  # what TLS itself has to answer

    # ------------------------------------------------------------------ sending

    def pause_writing(self) -> None:
        if self._begun:  # a handshake waits for nobody
            self._http.pause_writing()

    def resume_writing(self) -> None:
        if self._begun:
            self._http.resume_writing()
