"""One connection of a client: its handshake, its streams, its liveness. Sans-IO: no socket, no clock.

The calls on it come from a `session.ClientSession`, which keeps their deadlines and decides what becomes of them when
this connection does not bring the outcome.

Invariants: a call that was sent is finished, returned or dropped, never forgotten, whatever happens to the connection;
stream ids are never reused, so a frame that comes late for a dropped call finds nobody; more calls than the server
allows at once wait here, oldest first. SPEC 3, 6, 7.
"""

from collections import deque
from collections.abc import Sequence

from pixwire_protocol import messages
from pixwire_protocol.connection import Connection
from pixwire_protocol.errors import MessageTooLargeError, RemoteProtocolError
from pixwire_protocol.incoming import AuthNeeded, Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.messages import Data, Error, Reset
from pixwire_protocol.registry import MAGIC, ErrorCode
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role

from ..errors import ConnectionLost, PixwireError, ProtocolViolation, request_failed
from ..net.strangers import stranger
from .calls import ANOTHER, DONE, AnyCall, ServerName, error_of
from .channel_updates import (
    Authenticated,
    AuthWanted,
    ChannelUpdate,
    Emitted,
    Finished,
    GoingAway,
    Lost,
    Opened,
    Returned,
)
from .endings import DEFECTS, ELSEWHERE, ORDERLY, draining, ended_by_server, with_goaway
from .liveness import Liveness
from .pings import Pings
from .sending import Sending, check_upload
from .uploads import Upload

Buffer = bytes | bytearray | memoryview

MOST_REFUSALS = 5
"""How often a call is sent again because the server saw the end of other streams later than we did (SPEC 7.3)."""
FIRST_BYTES = 8  # as many as tell what kind of server this is


class Channel:
    """One connection, from before its transport is made.

    Args:
        settings: what HELLO says (agent, limits, features).
        now: the time of the shell's clock, in seconds.
        timeout: seconds until the server must be ready, the making of the transport included.
        probe: seconds of silence after which to ask by PING whether the server is well; None: as SPEC 12 has it.
        scratch: where to receive, for a shell that lends it to one channel at a time (see `Connection`).
    """

    def __init__(
        self,
        settings: Settings,
        now: float,
        timeout: float,
        probe: float | None = None,
        scratch: memoryview | None = None,
    ) -> None:
        self._connection = Connection(Role.CLIENT, settings, scratch)
        self._timeout = timeout
        self.liveness = Liveness(now, timeout, probe)
        self._calls: dict[int, AnyCall] = {}
        self._waiting: deque[AnyCall] = deque()
        self._unsent: list[AnyCall] = []
        self._sending = Sending(self._connection)
        self._pings = Pings(self._connection)
        self._first = b""
        self._lent: memoryview | None = None
        self._server: ServerName | None = None
        self._most = 0  # streams at once
        self.updates: list[ChannelUpdate] = []
        """What happened since `take_updates` was asked last."""
        self.accepts = False
        """Whether calls may be sent here."""
        self.welcome: messages.Welcome | None = None
        self.goaway: messages.GoAway | None = None
        self.lost: Lost | None = None
        self.ready_since: float | None = None

    @property
    def principal(self) -> str | None:
        """Whose jobs these are, when the server says it."""
        return self._connection.principal

    @property
    def roles(self) -> tuple[str, ...]:
        """What we may do beside our own jobs, as the server says."""
        return tuple(self._connection.roles)

    @property
    def is_new(self) -> bool:
        """Whether it is not ready yet, and may become so."""
        return self.ready_since is None and self.lost is None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for something here."""
        return bool(self._calls or self._waiting or self._pings)

    # --- calls

    def send(self, call: AnyCall, now: float) -> None:
        """Takes a call on, when the channel `accepts`. Raises RateLimited for a ping too many (SPEC 12)."""
        call.server = self._server
        if call.request is None:
            self._pings.send(call, now)
            self._unsent.append(call)
        else:
            self._waiting.append(call)
            self._open_waiting()

    def drop(self, call: AnyCall, *, broken: bool = False) -> None:
        """Nobody waits for the call any more: its stream is reset and late frames go nowhere."""
        if call.stream is not None and self._calls.get(call.stream) is call:
            self._release(call.stream)
            if self.lost is None:
                self._connection.reset(call.stream, ErrorCode.PROTOCOL_ERROR if broken else ErrorCode.NO_ERROR)
        elif call in self._waiting:
            self._waiting.remove(call)
        else:
            self._pings.drop(call)
        self._open_waiting()

    def authenticate(self, mechanism: str, token: str) -> None:
        """Says who we are, in answer to AuthWanted or, later, to renew it. Nothing happens when the channel is over."""
        if self.lost is None:
            self._connection.authenticate(mechanism, token)

    def _release(self, stream: int) -> None:
        if self._calls.pop(stream).upload is not None:
            self._sending.stop(stream)

    def _open_waiting(self) -> None:
        if not self.accepts:
            return
        connection = self._connection
        while self._waiting and connection.open_streams < self._most:
            call = self._waiting.popleft()
            try:
                if call.upload is None:
                    stream = call.stream = connection.open(call.request)  # type: ignore[arg-type]  # PING waits nowhere
                    self._calls[stream] = call
                    self._unsent.append(call)
                else:
                    self._open_upload(call, call.upload)
            except MessageTooLargeError as error:  # the server takes less than the parameters need
                self._refuse(call, request_failed(ErrorCode.FRAME_TOO_LARGE, "FRAME_TOO_LARGE", str(error)))
            except PixwireError as error:
                self._refuse(call, error)

    def _open_upload(self, call: AnyCall, upload: Upload) -> None:
        check_upload(upload, 0 if self.welcome is None else self.welcome.limits.max_upload)
        stream = call.stream = self._connection.open(call.request)  # type: ignore[arg-type]  # it is a SUBMIT, or more
        self._calls[stream] = call
        self._unsent.append(call)
        if isinstance(call.request, messages.Submit):
            self._sending.start(stream, upload)

    def _refuse(self, call: AnyCall, error: PixwireError) -> None:
        """The call cannot be sent, or not to its end."""
        call.fail(error)
        self.drop(call)
        self.updates.append(Finished(call))

    # --- bytes in

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes of the socket go."""
        buffer = self._connection.get_buffer(sizehint)
        if len(self._first) < FIRST_BYTES:
            self._lent = buffer
        return buffer

    def buffer_updated(self, count: int, now: float) -> None:
        """`count` bytes were put into the buffer."""
        if self._lent is not None:
            self._first += bytes(self._lent[: min(count, FIRST_BYTES - len(self._first))])
            self._lent = None
        self._take(self._connection.buffer_updated(count), now)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the socket, for a shell that does not use `get_buffer`."""
        self._first += data[: FIRST_BYTES - len(self._first)]
        self._take(self._connection.receive(data), now)

    def receive_eof(self, now: float) -> None:
        """The server will send no more."""
        self._take(self._connection.receive_eof(), now)

    def _take(self, incoming: Sequence[Incoming], now: float) -> None:
        self.liveness.heard(now)
        if not incoming:  # a part of an image, mostly
            return
        filling: list[AnyCall] = []
        for item in incoming:
            if type(item) is not Received:
                self._on_event(item, now)
                continue
            stream, message, end = item
            if stream == 0:
                self._on_connection_message(message, now)
            else:
                call = self._calls.get(stream)
                if call is not None:
                    self._on_stream_message(stream, call, message, end)
                    if call.filling is not None:
                        filling.append(call)
        for call in filling:  # only now: bytes that came in the same read are not a sink's business any more
            self._set_sink(call)

    def _on_event(self, event: Incoming, now: float) -> None:
        match event:
            case AuthNeeded(welcome):
                self.updates.append(AuthWanted(tuple(welcome.auth)))
            case Ready(messages.Welcome() as welcome):
                self._on_ready(welcome, now)
            case Closed():
                self._end(with_goaway("the server closed the connection", self.goaway))
            case Failed(error):
                self._on_failed(error)

    def _on_failed(self, error: RemoteProtocolError) -> None:
        """The server broke the protocol, or speaks another one."""
        text = f"the server does not keep to PXW/1: {error}"
        if not self._first.startswith(MAGIC):
            self._end(stranger(self._first) or text, final=True)
        else:
            self._end(text, suspect=True, final=error.code == ErrorCode.VERSION_UNSUPPORTED)

    def _on_ready(self, welcome: messages.Welcome, now: float) -> None:
        self.welcome, self.ready_since = welcome, now
        self.accepts, self._most = self.goaway is None and self.lost is None, welcome.limits.max_streams
        self._server = ServerName(welcome.server_id, welcome.epoch)
        self._pings.set_pace(welcome.limits.min_ping_ms / 1000)
        self.liveness.on_ready(welcome.limits, now)
        self.updates.append(Opened(welcome))

    def _on_connection_message(self, message: messages.Message, now: float) -> None:
        match message:
            case messages.Pong(payload):
                if (call := self._pings.answered(bytes(payload), now)) is not None:
                    self.updates.append(Finished(call))
            case messages.AuthOk(_, expires_ms):
                self.updates.append(Authenticated(expires_ms))
            case messages.GoAway():
                self._on_goaway(message)
            case Error():  # on stream 0 it says what a GOAWAY would
                self.updates.append(GoingAway(message.retry_after_ms))
                self._end_by_server(message.code, message.message)

    def _on_goaway(self, message: messages.GoAway) -> None:
        """No call may begin any more, and those without a stream go back. Streams that may still finish go on.

        The others, those that the server did not process, get an error from the connection.
        """
        self.goaway, self.accepts = message, False
        self.updates.append(GoingAway(message.reconnect_after_ms))
        if message.code not in ORDERLY or self.ready_since is None:
            self._end_by_server(message.code, message.message)
            return
        for call in tuple(self._waiting):
            self._waiting.remove(call)
            after = message.reconnect_after_ms
            self.updates.append(Returned(call, draining(message), sent=False, retry_after_ms=after))

    def _on_stream_message(self, stream: int, call: AnyCall, message: messages.Message, end: bool) -> None:
        kind = type(message)
        if kind is Data:
            self._connection.consumed(stream, len(message.tail))  # type: ignore[union-attr]
        elif isinstance(message, Error) and message.code in ELSEWHERE and call.refusals < MOST_REFUSALS:
            self._on_refusal(stream, call, message)
            return
        if call.upload is not None:
            self._sending.stop(stream)
        filling = call.filling
        event = call.receive(message, end)
        if event is not None:
            self.updates.append(Emitted(call, event))
        if filling is not None and call.tells_bytes and kind is not Error:
            self.updates.append(Emitted(call, filling.progress))
        phase = call.phase
        if phase is not DONE and phase is not ANOTHER:
            return
        if end or kind is Reset:
            self._release(stream)
            if self._waiting:
                self._open_waiting()
        else:
            self.drop(call, broken=isinstance(call.error, ProtocolViolation))
        if phase is DONE:
            self.updates.append(Finished(call))
        else:
            call.stream = None
            self.updates.append(Returned(call, ConnectionLost("", processed="maybe"), sent=False, here=True))

    def _on_refusal(self, stream: int, call: AnyCall, message: Error) -> None:
        """The server has done nothing for this call: there was no room for its stream, or it is about to stop."""
        call.refusals += 1
        call.stream = None
        self._release(stream)
        here = message.code == ErrorCode.TOO_MANY_STREAMS
        if here and message.retry_after_ms is None and self.accepts:
            self._waiting.appendleft(call)
        else:
            error, after = error_of(message), message.retry_after_ms
            self.updates.append(Returned(call, error, sent=False, retry_after_ms=after, here=here))
        self._open_waiting()

    def _set_sink(self, call: AnyCall) -> None:
        filling = call.filling
        if filling is not None and call.stream in self._calls and not filling.has_sink:
            filling.has_sink = True
            self._connection.set_sink(call.stream, filling.rest)

    # --- time

    def next_deadline(self, now: float) -> float | None:
        """When `handle_timeout` wants to be called, or None. It may move with every call of any other method."""
        return None if self.lost is not None else self.liveness.next_deadline(now)

    def handle_timeout(self, now: float) -> None:
        """Does what is due: asks a silent server for a sign, gives up on a dead one."""
        if self.lost is not None:
            return
        match self.liveness.poll(now):
            case "ping":
                self._pings.keep_alive(now)
            case "dead" if self.ready_since is None:
                self._end(f"no answer within {self._timeout:g} s")
            case "dead":
                self._end("the server has gone silent and did not answer a ping")

    # --- the end

    def lose(self, reason: str, *, final: bool = False) -> None:
        """The transport is gone, or did not come about; with `final`, another one would not either."""
        self._end(with_goaway(reason, self.goaway), final=final)

    def close(self, reason: str) -> None:
        """We want it no more: the server is told."""
        if self.lost is None and self._connection.peer is not None:
            self._connection.goaway(ErrorCode.NO_ERROR, reason, last_stream=0)
        self._end(reason)

    def _end_by_server(self, code: int, message: str) -> None:
        self._over(ended_by_server(code, message), suspect=code in DEFECTS)

    def _end(self, reason: str, *, suspect: bool = False, final: bool = False) -> None:
        self._over(Lost(reason, final=final), suspect=suspect)

    def _over(self, lost: Lost, *, suspect: bool) -> None:
        if self.lost is not None:
            return
        self.lost, self.accepts = lost, False
        for call in [*self._calls.values(), *self._waiting, *self._pings.calls()]:
            processed = self._processed(call)
            error = ConnectionLost(lost.reason, processed=processed, job=call.job, status=call.status)
            sent = processed != "no"
            self.updates.append(Returned(call, error, sent, suspect=suspect and sent))
        self._calls.clear()
        self._waiting.clear()
        self._pings.clear()
        self._sending.clear()
        self.updates.append(lost)

    def _processed(self, call: AnyCall) -> str:
        """What is known about a call that the connection did not survive. SPEC 3.5, 12."""
        if call.status is not None:
            return "yes"
        never_left = call.stream is None or call in self._unsent
        refused = self.goaway is not None and (call.stream or 0) > self.goaway.last_stream
        incomplete = call.stream is not None and self._sending.is_incomplete(call.stream)
        return "no" if never_left or refused or incomplete else "maybe"

    # --- bytes out

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` has something."""
        return self._connection.has_output

    def data_to_send(self, max_bytes: int = 1 << 18) -> list[Buffer]:
        """The next bytes for the socket; what is returned counts as sent."""
        buffers = self._connection.data_to_send(max_bytes)
        if buffers:
            self._unsent.clear()  # whether all of them are in there does not matter: they may have been sent
        if self._sending.uploads:
            for stream, problem in self._sending.advance():
                self._on_upload(stream, problem)
        if self._waiting:
            self._open_waiting()  # a stream that was reset is free once its RESET has left
        return buffers

    def _on_upload(self, stream: int, problem: PixwireError | None) -> None:
        call = self._calls[stream]
        if problem is not None:
            self._refuse(call, problem)
        elif call.upload is not None:
            self.updates.append(Emitted(call, self._sending.progress(call)))

    def take_updates(self) -> list[ChannelUpdate]:
        """What happened since it was asked last."""
        updates, self.updates = self.updates, []
        return updates
