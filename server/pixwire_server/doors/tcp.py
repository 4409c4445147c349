"""The shell of one PXW connection: moves bytes between a socket and the sans-IO `Connection`, and keeps its clock.

Over TLS the transport is a TlsTransport, which behaves like the socket's. Writes are corked: whatever is queued during
one turn of the event loop leaves in one `writelines`. The transport's high water is 0, so "not paused" means "the
kernel has everything": we never serialise ahead of the socket, a control frame waits behind one DATA chunk at most, and
an image may be closed as soon as its last byte was taken. A connection with DATA to send takes one chunk per loop
turn and lets everybody else run in between.
"""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from pixwire_protocol.connection import Failed, Incoming, Ready, Received, State
from pixwire_protocol.header import Buffer
from pixwire_protocol.messages import Auth, Message, Pong
from pixwire_protocol.rates import Rates
from pixwire_protocol.registry import MAGIC, MAX_STREAM, ErrorCode
from pixwire_protocol.source import Source
from pixwire_server.doors.auth import Identity, Refused
from pixwire_server.doors.clocks import Clocks, Due
from pixwire_server.doors.outlet import Outlet
from pixwire_server.doors.reception import Reception, Visit
from pixwire_server.doors.replies import Replies
from pixwire_server.doors.session import Session
from pixwire_server.doors.strangers import LOOK_AT, describe
from pixwire_server.jobs import RequestError
from pixwire_server.store import StoreError

log = logging.getLogger(__name__)

NOTSENT_LOWAT = 128 * 1024
"""Unsent bytes the kernel takes ahead: beyond the bandwidth-delay product they only delay the next control frame."""
JOINED = 64 * 1024
"""Output up to this is copied into one buffer: the kernel takes that sooner than many small ones."""
RECONNECT_MS = 200, 2000
"""Between these a drained client is asked to wait before it connects again."""
PROBE = b"pxwdrain"
"""The PING whose PONG shows that the client has read the first GOAWAY of a drain."""
GOODBYE_S = 2.0
"""How long that PONG is waited for, at most (and half of the grace): then the second GOAWAY goes out without it."""


def tune(listener: socket.socket) -> None:
    """Set on a listening TCP socket what its accepted connections inherit."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)


class PxwProtocol(asyncio.BufferedProtocol):
    """One connection, from accept to close.

    `visit` and `certificate` come from the TLS handshake, if there was one. `local`: its listener is for this machine.
    """

    def __init__(
        self,
        reception: Reception,
        visit: Visit | None = None,
        certificate: Identity | None = None,
        *,
        local: bool = False,
    ) -> None:
        self._reception = reception
        self._settings = reception.settings
        self._loop = asyncio.get_running_loop()
        self._guard = reception.guard(certificate, local=local)
        self._connection = self._settings.make_connection(self._guard, reception.scratch)
        self._tally = reception.tally
        self._replies = Replies(self._connection, self._wake, self._tally)
        self._rates = Rates(reception.limits, self._loop.time())
        self._session = Session(self._replies, reception.jobs, self._rates.open, self._settings.upload_stall_s)
        self._visit: Visit | None = visit
        self._transport: asyncio.Transport | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0  # of our own: for a time that has come, uvloop gives a handle that does not know it
        self._receiving = False  # a received batch is being handled
        self._broken = False  # the connection has failed, and that was dealt with
        self._given_up = False  # we have ended it: nothing that comes counts any more
        self._ending = False  # close when nothing is owed any more
        self._eof = False  # the peer sends nothing any more
        self._said_all = False  # our side of the socket is shut
        self._outlet: Outlet | None = None
        self._opening: bytearray | None = bytearray()  # the first bytes, until they are a preface
        self._lent: memoryview | None = None
        self._goodbye: Callable[..., bool] | None = None  # the second GOAWAY of a drain
        self._reconnect_ms = 0

    # ------------------------------------------------------------------ life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        if self._visit is None:
            self._visit = self._reception.arrive(self, transport)
            self._where = "on a cleartext port"
        else:
            self._visit.hand_over(self)
            self._where = "inside TLS"
        self._peer = self._visit.peer.name
        self._clocks = Clocks(self._settings, self._visit.arrived)
        self._know(self._guard.identity)
        refusal = self._visit.refusal
        if refusal is not None:
            if not refusal.tell:
                self.abort()
                return
            # Said when the peer has shown that it speaks PXW; until then the handshake's deadline holds.
            self._connection.goaway(ErrorCode.EXCESSIVE_LOAD, f"too many connections: {refusal.why}")
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for handle in (self._flush_handle, self._timer):
            if handle is not None:
                handle.cancel()
        self._flush_handle = self._timer = None
        self._replies.drop_all()
        if self._outlet is not None:
            self._outlet.close()
        if self._visit is not None:
            self._visit.leave()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._said_all or self._given_up:
            return self._reception.scratch
        buffer = self._connection.get_buffer()
        if self._opening is not None:
            self._lent = buffer
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._said_all or self._given_up:
            return  # read and forget: closing with unread bytes would reset the connection under our last words
        now = self._loop.time()  # once for all that was read
        connection = self._connection
        self._tally.received += nbytes
        if self._opening is not None:
            self._note_opening(nbytes)
        incoming = connection.buffer_updated(nbytes)
        if self._clocks.on_receive(now, mid_frame=connection.mid_frame, completed=bool(incoming)):
            self._arm()
        verdict = self._rates.check(connection.counts, now)
        if verdict is not None and not (connection.over or self._given_up):
            self._give_up(*verdict)  # first: what came too fast is not begun
        self._receiving = True
        try:
            self._take(incoming, now)
        finally:
            self._receiving = False
        if self._flush_handle is None:
            self._flush()  # the answers to all that was read, at once; a scheduled flush takes them along otherwise

    def _note_opening(self, nbytes: int) -> None:
        """Keep the first bytes as long as they may turn out to be no preface."""
        if self._connection.state is not State.START:
            self._opening = self._lent = None
        elif self._opening is not None and self._lent is not None:
            self._opening += self._lent[: min(nbytes, LOOK_AT)]

    def eof_received(self) -> bool:
        """The peer sends no more: answer what was asked, end the watches, close. True keeps our side open for that."""
        self._eof = True
        if self._said_all:
            return False
        self._take(self._connection.receive_eof(), self._loop.time())
        self._end(self._settings.write_stall_s)
        self._wake()
        return True

    def _take(self, incoming: list[Incoming], now: float) -> None:
        handle = self._session.handle
        for item in incoming:
            if self._given_up:
                return
            if isinstance(item, Received):
                if item.stream:
                    handle(item, now)
                else:
                    self._take_about_connection(item.message)
            elif isinstance(item, Ready):
                log.debug("%s is ready: %s", self._peer, item.peer)
                self._note_ready()
            elif isinstance(item, Failed):
                self._note_failure(item)

    def _take_about_connection(self, message: Message) -> None:
        handler = _ABOUT_CONNECTION.get(type(message))
        if handler is not None:
            handler(self, message)

    def _note_ready(self) -> None:
        self._clocks.on_ready(self._loop.time())
        self._arm()

    def _note_failure(self, failed: Failed) -> None:
        self._tally.ended[failed.error.code.name] += 1
        first = bytes(self._opening or MAGIC)
        if first.startswith(MAGIC):
            log.info("%s broke the protocol: %s", self._peer, failed.error)
        else:
            log.info("%s: closed, %s %s", self._peer, describe(first), self._where)

    # ------------------------------------------------------------------ who it is, and what it may do

    def _on_auth(self, request: Auth) -> None:
        verdict = self._guard.check(request, time.time())
        if isinstance(verdict, Refused):
            self._give_up(verdict.code, verdict.why)
            return
        left_ms = verdict.left_ms(time.time())
        self._connection.accept_auth(verdict.principal, expires_ms=left_ms, roles=verdict.roles)
        log.debug("%s is %s", self._peer, verdict.principal)
        self._know(verdict)
        self._note_ready()

    def _know(self, identity: Identity | None) -> None:
        """From now on the jobs of this principal are meant, as long as its credentials hold."""
        if identity is not None:
            self._session.know(identity)
            left_ms = identity.left_ms(time.time())
            self._clocks.watch_credentials(self._loop.time(), None if left_ms is None else left_ms / 1000)

    def recheck(self) -> None:
        """End the connection if its credentials do not hold any more."""
        refused = self._guard.recheck(time.time())
        if refused is not None:
            self._give_up(refused.code, refused.why)
        else:
            self._know(self._guard.identity)
            self._arm()

    # ------------------------------------------------------------------ sending

    def _wake(self) -> None:
        """Something is to be sent: flush once, at the end of this turn (of this batch, while one is being handled)."""
        if self._flush_handle is None and not self._receiving and self._transport is not None:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_handle = None
        transport = self._transport
        if transport is None or transport.is_closing() or self._said_all:
            return
        connection, replies = self._connection, self._replies
        if connection.over and not self._broken:
            self._broken = True
            replies.drop_all()  # the GOAWAY that says why is all that is left to send
            self._end(self._settings.linger_s)
        if self._clocks.paused:
            return
        if self._ending:
            replies.settle()
        if not self._write(transport):
            return
        if replies.sending:
            replies.advance()
        if connection.has_output:
            self._wake()
        elif self._ending and not self._owes():
            self._say_no_more(transport)

    def _write(self, transport: asyncio.Transport) -> bool:
        """Hand over what is to be sent now. Keeps no reference. False: that has paused us."""
        buffers = self._connection.data_to_send()
        if buffers:
            size = sum(map(len, buffers))
            self._tally.sent += size
            source = self._connection.take_source()
            if source is not None:
                self._write_source(transport, buffers, source)
            elif size <= JOINED:
                transport.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))
            else:
                transport.writelines(buffers)
        return not self._clocks.paused

    def _write_source(self, transport: asyncio.Transport, buffers: list[Buffer], source: Source) -> None:
        """A frame whose bytes lie in a file."""
        if self._outlet is None:
            self._outlet = Outlet(transport)
        try:
            self._outlet.send(buffers, source)
        except StoreError as error:  # the frame is begun and cannot be ended
            log.error("%s: closed, %s", self._peer, str(error))
            self.abort()
        else:
            self._tally.sent += source.nbytes

    def pause_writing(self) -> None:
        """The kernel takes no more; `resume_writing` comes when it has taken everything."""
        self._clocks.on_pause(self._loop.time(), self._waiting_bytes())
        self._arm()

    def resume_writing(self) -> None:
        self._clocks.on_resume()
        self._wake()

    def _waiting_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # ------------------------------------------------------------------ ending

    def begin_drain(self, grace_s: float) -> None:
        """Tell the client to open no new streams; once it has surely read that, tell it the last one that counts."""
        # Everybody in a different moment: a server that comes back is not met by all its clients at once.
        self._reconnect_ms = random.randint(*RECONNECT_MS)
        self._goodbye = partial(
            self._connection.goaway,
            ErrorCode.DRAINING,
            "the server is stopping",
            grace_ms=int(grace_s * 1000),
            reconnect_after_ms=self._reconnect_ms,
        )
        self._goodbye(last_stream=MAX_STREAM)
        # Who has said nothing yet is refused when its preface comes.
        if self._connection.state is not State.START and self._connection.ping(PROBE):
            self._clocks.say_goodbye_by(self._loop.time() + min(grace_s / 2, GOODBYE_S))
            self._arm()
        self._wake()

    def _on_pong(self, pong: Pong) -> None:
        if pong.payload == PROBE:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """The second GOAWAY: what came until now counts, nothing after it does."""
        if self._goodbye is not None:
            self._goodbye()
            self._goodbye = None
            self._clocks.say_goodbye_by(None)
            self._wake()

    def close_when_idle(self) -> None:
        """Close as soon as no answer and no image is owed; streams that follow a job are told to come back later."""
        self._ending = True
        following, uploading = (
            RequestError(ErrorCode.DRAINING, f"the server is stopping; {what}", retry_after_ms=self._reconnect_ms)
            for what in (
                "the job goes on: watch it on the next connection",
                "nothing was submitted: send the job again, with the same id, on the next connection",
            )
        )
        self._replies.dismiss(following, uploading)
        self._wake()

    def _give_up(self, code: ErrorCode, why: str) -> None:
        """End the connection with an error: a GOAWAY is the last word, and nothing more is taken."""
        log.info("%s: closed, %s", self._peer, why)
        self._given_up = True
        self._tally.ended[code.name] += 1
        self._connection.goaway(code, why)
        self._replies.drop_all()
        self._end(self._settings.linger_s)
        self._wake()

    def _end(self, within_s: float) -> None:
        """Close when nothing is owed, at the latest after `within_s` seconds."""
        self._ending = True
        self._clocks.end_by(self._loop.time() + within_s)
        self._arm()

    def _owes(self) -> bool:
        # After the peer's end of file no credit comes: an image that is stuck now stays stuck.
        return self._replies.awaited or (self._replies.sending and not self._eof)

    def _say_no_more(self, transport: asyncio.Transport) -> None:
        """Everything is sent. Shut our side and wait a little for the peer's, so that it reads our last frame."""
        self._said_all = True
        self._replies.drop_all()
        if self._eof:
            transport.close()
        else:
            transport.write_eof()
            self._end(self._settings.linger_s)

    # ------------------------------------------------------------------ time

    def _arm(self) -> None:
        """One timer for the nearest of all deadlines. A later deadline waits for it to fire: moving it costs more."""
        if self._transport is None:
            return
        deadline = self._clocks.next_deadline(self._loop.time())
        if self._timer is not None:
            if self._timer_due <= deadline:
                return
            self._timer.cancel()
        self._timer, self._timer_due = self._loop.call_at(deadline, self._tick), deadline

    def _tick(self) -> None:
        self._timer = None
        due = self._clocks.poll(self._loop.time(), self._waiting_bytes())
        if due is not None:
            _WHEN_DUE[due](self, due)
        self._arm()

    def _cut(self, due: Due) -> None:
        if due is Due.STALLED:
            log.info("%s: closed, %s", self._peer, due.value)
        self.abort()

    def _ask(self, due: Due) -> None:
        self._connection.ping(b"pxwalive")
        self._wake()


_ABOUT_CONNECTION: Final[Mapping[type, Callable[[PxwProtocol, Any], None]]] = {
    Auth: PxwProtocol._on_auth,
    Pong: PxwProtocol._on_pong,
}

_WHEN_DUE: Final[Mapping[Due, Callable[[PxwProtocol, Due], None]]] = {
    Due.CUT: PxwProtocol._cut,
    Due.STALLED: PxwProtocol._cut,
    Due.FRAME: lambda self, due: self._give_up(ErrorCode.EXCESSIVE_LOAD, due.value),
    Due.PING: PxwProtocol._ask,
    Due.HANDSHAKE: lambda self, due: self._give_up(ErrorCode.HANDSHAKE_TIMEOUT, due.value),
    Due.DEAD: lambda self, due: self._give_up(ErrorCode.IDLE_TIMEOUT, due.value),
    Due.GOODBYE: lambda self, due: self._say_goodbye(),
    Due.CREDENTIALS: lambda self, due: self.recheck(),
}
