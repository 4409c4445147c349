"""One HTTP connection: uvicorn's protocol, and the limits that it lacks: size and time of a head, bodies that stall,
clients that do not read, how many may connect.
"""

import asyncio
import logging
from typing import Any, Final, Protocol, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.auth import Identity
from pixwire_server.doors.http.callers import Caller
from pixwire_server.doors.http.cork import Cork
from pixwire_server.doors.http.problems import MEDIA_TYPE, Problem, http_error
from pixwire_server.doors.http.settings import HttpSettings
from pixwire_server.doors.peers import Headcount, peer_of
from pixwire_server.doors.tls import TlsError, identity_of

log = logging.getLogger(__name__)

LINGER_S: Final = 2.0
"""How long a connection that has said its last word waits for the peer to read it."""
DISCARDED: Final = 64 << 20
"""So much of a body that nobody wants any more is read and forgotten: who closes earlier is not heard."""
CALLER: Final = "caller"
"""Where the requests of a connection find who it is, in their state."""


class House(Protocol):
    """What the connections of one door share."""

    settings: HttpSettings
    headcount: Headcount

    def came(self, connection: "HttpConnection") -> None:
        """A connection has been accepted."""
        ...

    def left(self, connection: "HttpConnection") -> None:
        """It is gone."""
        ...

    def received(self, size: int) -> None:
        """So many bytes have come."""
        ...


class _HeadTooLargeError(Exception):
    pass


class HttpConnection(HttpToolsProtocol):
    """From accept to close. `local`: its listener is for this machine."""

    def __init__(self, house: House, config: Config, state: ServerState, *, local: bool) -> None:
        super().__init__(config, state, {})
        self._house = house
        self._settings = house.settings
        self._local = local
        self._in_head = self._in_body = False
        self._head_size = self._discarded = 0
        self._refused = False  # told that it may not stay, or cut: nothing that comes counts
        self._answering: RequestResponseCycle | None = None  # whose turn it is; `cycle` is the latest that came
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unwritten = 0

    # ------------------------------------------------------------------ life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.arrive(cast("asyncio.Transport", transport))
        self.begin()

    def arrive(self, transport: asyncio.Transport) -> None:
        """It was accepted: from now on it has a seat, or none. One that needs no answer is closed at once."""
        self._cork = Cork(transport, self.loop)
        self.transport = cast("asyncio.Transport", self._cork)
        self.peer = peer_of(transport.get_extra_info("peername"), spare_loopback=True)
        self._refusal = self._house.headcount.enter(self.peer)
        self._house.came(self)
        if self._refusal is not None and not self._refusal.tell:
            transport.abort()

    def begin(self) -> None:
        """What comes from now on is HTTP."""
        super().connection_made(self.transport)
        if self.transport.is_closing():
            return
        if self._refusal is not None:
            message = f"too many connections: {self._refusal.why}"
            self._refuse(http_error(503, ErrorCode.EXCESSIVE_LOAD, message).problem)
            return
        try:
            certificate = _identity(self.transport)
        except TlsError as error:
            log.info("%s: closed, %s", self.peer.name, error)
            self.transport.abort()
            return
        self.app_state[CALLER] = Caller(self.peer.name, certificate, self._local)
        self._arm(self._settings.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._write_timer = None
        super().connection_lost(exc)
        self._forsake()
        self._cork.lost()
        self._house.headcount.leave(self.peer, self._refusal)
        self._house.left(self)

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self.transport.abort()

    # ------------------------------------------------------------------ receiving

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._house.received(len(data))
        was_in_head = self._in_head
        if was_in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_body and self.cycle.response_complete:
            self._discarded += len(data)
            if self._discarded > DISCARDED:
                self.abort()
                return
        if self._in_head:
            if self._head_size > self._settings.max_head:  # one field, so long that the parser still waits for its end
                self.send_400_response("")
            elif not was_in_head:  # later bytes give it no more time
                self._arm(self._settings.head_timeout_s)
        elif self._in_body:
            self._arm(self._settings.body_stall_s)
        elif self.cycle is not None and self.cycle.response_complete:  # it was answered before all of it had come
            self._arm(self._settings.idle_timeout_s)
        else:
            self._disarm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_size, self._discarded = True, 0, 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._measure(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what follows a body says nothing of its request: that is being answered already
            super().on_header(name, value)
        self._measure(len(name) + len(value) + 4)

    def _measure(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._settings.max_head:
            raise _HeadTooLargeError  # the parser makes a 400 of it: send_400_response

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()  # refuses targets that it cannot read
        self._in_body = True

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too much of it."""
        if self._head_size > self._settings.max_head:
            message = f"the request line and the header fields have more than {self._settings.max_head} bytes"
            self._refuse(http_error(431, ErrorCode.INVALID_ARGUMENT, message).problem)
        else:
            self._refuse(http_error(400, ErrorCode.PROTOCOL_ERROR, "this is no HTTP/1.1 request").problem)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    # ------------------------------------------------------------------ time

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """The client has sent nothing of what it owes."""
        self._timer = None
        if self._refused:
            self.transport.abort()
        elif self.flow.read_paused:  # it could not: we do not read
            self._arm(self._settings.body_stall_s if self._in_body else self._settings.head_timeout_s)
        elif self._in_body:
            why = f"no byte of the body has come for {self._settings.body_stall_s:g} s"
            self._refuse(http_error(408, ErrorCode.UPLOAD_STALLED, why).problem)
        elif self._in_head:
            why = f"the request's head took longer than {self._settings.head_timeout_s:g} s"
            self._refuse(http_error(408, ErrorCode.HANDSHAKE_TIMEOUT, why).problem)
        else:
            self.transport.close()  # it says nothing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._settings.write_stall_s, self._check_reader)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _check_reader(self) -> None:
        """Whether it has read anything since the last look."""
        unwritten = self.transport.get_write_buffer_size()
        if unwritten >= self._unwritten:
            log.info("%s: closed, it reads nothing of its answer", self.peer.name)
            self.abort()
            return
        self._unwritten = unwritten
        self._write_timer = self.loop.call_later(self._settings.write_stall_s, self._check_reader)

    # ------------------------------------------------------------------ refusing

    def _refuse(self, problem: Problem) -> None:
        """Say why and close; if an answer is on its way already, only close."""
        self._refused = True
        if self._may_answer:
            body = problem.body()
            head = {
                **problem.headers,
                "content-type": MEDIA_TYPE,
                "content-length": str(len(body)),
                "connection": "close",
            }
            lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in head.items())
            self.transport.write(STATUS_LINE[problem.status] + lines + b"\r\n" + body)
        self._forsake()
        self._say_no_more()

    def _forsake(self) -> None:
        """Tell those who answer that nobody listens: whose turn it is, and the latest, which may still be coming."""
        for cycle in (self._answering, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _say_no_more(self) -> None:
        """Close, a moment after the peer could read our last words: unread bytes of it would reset the connection under
        them.
        """
        if self.transport.is_closing():
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._arm(LINGER_S)

    @property
    def _may_answer(self) -> bool:
        """Whether the request that is at fault is the one whose turn it is to be answered."""
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request, which its type conceals
        if cycle is None:
            return True
        if self._in_body:
            return not cycle.response_started and not self.pipeline
        return cycle.response_complete


def _identity(transport: asyncio.Transport) -> Identity | None:
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    return identity_of(certificate) if certificate else None
