"""The shell of one PXW connection: moves bytes between a socket and the sans-IO `Connection`, and keeps its clock.

Writes are corked: whatever is queued during one turn of the event loop leaves in one `writelines`. The transport's high
water is 0, so "not paused" means "the kernel has everything": we never serialise ahead of the socket, a control frame
waits behind one DATA chunk at most, and an image may be unmapped as soon as its last byte was taken. A connection with
DATA to send takes one chunk per loop turn and lets everybody else run in between.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

from pixwire_protocol.connection import Failed, Incoming, Ready, Received, State
from pixwire_protocol.messages import Pong
from pixwire_protocol.registry import MAX_STREAM, ErrorCode
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.replies import Replies
from pixwire_server.doors.session import Session
from pixwire_server.doors.settings import DoorSettings

log = logging.getLogger(__name__)

NOTSENT_LOWAT = 128 * 1024
"""Unsent bytes the kernel takes ahead: beyond the bandwidth-delay product they only delay the next control frame."""
RECONNECT_MS = 200, 2000
"""Between these a drained client is asked to wait before it connects again."""
PROBE = b"pxwdrain"
"""The PING whose PONG shows that the client has read the first GOAWAY of a drain."""
_SCRATCH = 64 * 1024


def tune(listener: socket.socket) -> None:
    """Set on a listening TCP socket what its accepted connections inherit."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, NOTSENT_LOWAT)


class PxwProtocol(asyncio.BufferedProtocol):
    """One connection, from accept to close. `admit` says whether there is room for it, `gone` is called at its end."""

    def __init__(
        self,
        settings: DoorSettings,
        jobs: JobsPort,
        admit: "Callable[[PxwProtocol], bool]",
        gone: "Callable[[PxwProtocol], None]",
    ) -> None:
        self._settings = settings
        self._admit = admit
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._connection = settings.make_connection()
        self._keepalive = settings.make_keepalive(self._loop.time())
        self._replies = Replies(self._connection, self._wake)
        self._session = Session(self._replies, jobs)
        self._peer = "?"
        self._transport: asyncio.Transport | None = None
        self._flush_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        self._paused_size = 0
        self._frame_since: float | None = None  # a frame is begun and not complete
        self._receiving = False  # a received batch is being handled
        self._broken = False  # the connection has failed, and that was dealt with
        self._ending = False  # close when nothing is owed any more
        self._eof = False  # the peer sends nothing any more
        self._said_all = False  # our side of the socket is shut
        self._linger_until: float | None = None
        self._scratch: memoryview | None = None
        self._goodbye: Callable[..., bool] | None = None  # the second GOAWAY of a drain

    # ------------------------------------------------------------------ life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._peer = _name(transport)
        if self._admit(self):
            log.debug("%s connected", self._peer)
        else:
            log.warning("%s refused: %d connections are open", self._peer, self._settings.max_connections)
            # Said when the peer has shown that it speaks PXW; until then the handshake's deadline holds.
            self._connection.goaway(ErrorCode.EXCESSIVE_LOAD, "too many connections")
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("%s disconnected%s", self._peer, f": {exc}" if exc else "")
        self._transport = None
        for handle in (self._flush_handle, self._timer):
            if handle is not None:
                handle.cancel()
        self._flush_handle = self._timer = None
        self._replies.drop_all()
        self._gone(self)

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        if not self._said_all:
            return self._connection.get_buffer(sizehint)
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_SCRATCH))
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self._said_all:
            return  # read and forget: closing with unread bytes would reset the connection under our last words
        now = self._loop.time()
        self._keepalive.on_receive(now)
        incoming = self._connection.buffer_updated(nbytes)
        self._note_frame(now, bool(incoming))
        self._receiving = True
        try:
            self._take(incoming)
        finally:
            self._receiving = False
        if self._flush_handle is None:
            self._flush()  # the answers to all that was read, at once; a scheduled flush takes them along otherwise

    def _note_frame(self, now: float, completed: bool) -> None:
        """Remember since when a frame is begun and not complete."""
        if not self._connection.mid_frame:
            self._frame_since = None
        elif self._frame_since is None or completed:
            self._frame_since = now
            self._arm()

    def eof_received(self) -> bool:
        """The peer sends no more: answer what was asked, end the watches, close. True keeps our side open for that."""
        self._eof = True
        if self._said_all:
            return False
        self._take(self._connection.receive_eof())
        self._end(self._settings.write_stall_s)
        self._wake()
        return True

    def _take(self, incoming: list[Incoming]) -> None:
        for item in incoming:
            if isinstance(item, Received):
                if isinstance(item.message, Pong):
                    self._on_pong(item.message)
                else:
                    self._session.handle(item)
            elif isinstance(item, Ready):
                self._keepalive.on_ready(self._loop.time())
                self._arm()
                log.debug("%s is ready: %s", self._peer, item.peer)
            elif isinstance(item, Failed):
                log.info("%s broke the protocol: %s", self._peer, item.error)

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
        if self._connection.state >= State.FAILED and not self._broken:
            self._broken = True
            self._replies.drop_all()  # the GOAWAY that says why is all that is left to send
            self._end(self._settings.linger_s)
        if self._is_paused():
            return
        self._write(transport)
        if self._is_paused():
            return
        self._replies.advance()
        if self._connection.has_output:
            self._wake()
        elif self._ending and not self._owes():
            self._say_no_more(transport)

    def _write(self, transport: asyncio.Transport) -> None:
        """Hand over what is to be sent now; may pause us. Keeps no reference: an image is unmapped right after this."""
        buffers = self._connection.data_to_send()
        if buffers:
            transport.writelines(buffers)

    def pause_writing(self) -> None:
        """The kernel takes no more; `resume_writing` comes when it has taken everything."""
        self._paused_at = self._loop.time()
        self._paused_size = self._waiting_bytes()
        self._arm()

    def resume_writing(self) -> None:
        self._paused_at = None
        self._wake()

    def _is_paused(self) -> bool:
        return self._paused_at is not None

    def _waiting_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # ------------------------------------------------------------------ ending

    def begin_drain(self, grace_s: float) -> None:
        """Tell the client to open no new streams; once it has surely read that, tell it the last one that counts."""
        # Everybody in a different moment: a server that comes back is not met by all its clients at once.
        pause_ms = random.randint(*RECONNECT_MS)
        self._goodbye = partial(
            self._connection.goaway,
            ErrorCode.DRAINING,
            "the server is stopping",
            grace_ms=int(grace_s * 1000),
            reconnect_after_ms=pause_ms,
        )
        self._goodbye(last_stream=MAX_STREAM)
        if self._connection.state is not State.START:  # who has said nothing yet is refused when its preface comes
            self._connection.ping(PROBE)
        self._wake()

    def _on_pong(self, pong: Pong) -> None:
        if self._goodbye is not None and pong.payload == PROBE:
            self._goodbye()
            self._goodbye = None
            self._wake()

    def close_when_idle(self) -> None:
        """Close as soon as no answer and no image is owed; watches end with the connection."""
        self._ending = True
        self._wake()

    def _end(self, within_s: float) -> None:
        """Close when nothing is owed, at the latest after `within_s` seconds."""
        self._ending = True
        self._linger_until = self._loop.time() + within_s
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
        deadline = self._next_deadline()
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _next_deadline(self) -> float:
        if self._linger_until is not None:
            return self._linger_until  # the end is near: nothing else matters any more
        deadline = self._keepalive.next_deadline(self._loop.time())
        if self._paused_at is not None:
            deadline = min(deadline, self._paused_at + self._settings.write_stall_s)
        if self._frame_since is not None:
            deadline = min(deadline, self._frame_since + self._settings.frame_timeout_s)
        return deadline

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.abort()
        elif self._stalled(now):
            log.info("%s reads nothing: closed after %g s", self._peer, self._settings.write_stall_s)
            self.abort()
        else:
            self._check_life(now)
        self._arm()

    def _stalled(self, now: float) -> bool:
        """Whether the kernel took not one byte during the whole stall time."""
        if self._paused_at is None or now < self._paused_at + self._settings.write_stall_s:
            return False
        size = self._waiting_bytes()
        stalled = size == self._paused_size
        self._paused_at, self._paused_size = now, size
        return stalled

    def _check_life(self, now: float) -> None:
        """Ask a silent peer whether it lives; give up one that is dead, slow to shake hands or slow to end a frame."""
        if self._frame_since is not None and now >= self._frame_since + self._settings.frame_timeout_s:
            self._give_up(ErrorCode.EXCESSIVE_LOAD, "a frame took too long")
            return
        verdict = self._keepalive.poll(now)
        if verdict == "ping":
            self._connection.ping(b"pxwalive")
            self._wake()
        elif verdict == "dead" and self._connection.state < State.READY:
            self._give_up(ErrorCode.HANDSHAKE_TIMEOUT, "the handshake took too long")
        elif verdict == "dead":
            self._give_up(ErrorCode.IDLE_TIMEOUT, "nothing was received, not even a PONG")

    def _give_up(self, code: ErrorCode, why: str) -> None:
        log.info("%s: closed, %s", self._peer, why)
        self._connection.goaway(code, why)
        self._replies.drop_all()
        self._end(self._settings.linger_s)
        self._wake()


def _name(transport: asyncio.BaseTransport) -> str:
    """The peer as log lines call it."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a local program"
