"""The receiving half of a connection (SPEC 3, 6, 7, 8): what frames do.

A frame is judged when its header is there (judging.py). When its body is complete (`on_frame`) it is decoded and takes
effect. Handlers append to `events`; anything the peer did wrong is a RemoteProtocolError that ends up in `feed`, and
nothing else can come out of here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.greeting import make_preface, make_welcome
from pixwire_protocol.header import Buffer
from pixwire_protocol.incoming import AuthNeeded, Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.judging import Judging
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import (
    Admin,
    Auth,
    AuthOk,
    Cancel,
    Credit,
    Data,
    Error,
    Event,
    Fetch,
    GoAway,
    Hello,
    List,
    Message,
    Ping,
    Pong,
    Preview,
    Reset,
    Result,
    Status,
    Submit,
    Watch,
    Welcome,
    encode,
)
from pixwire_protocol.messages import error_message as make_error
from pixwire_protocol.parser import FrameParser
from pixwire_protocol.registry import MAJOR, MAX_STREAM, ErrorCode
from pixwire_protocol.states import REQUEST_KINDS, Input, State, StreamKind, StreamState, UploadState

# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_new: Final = tuple.__new__  # Received(...) without the detour of a named tuple's constructor
_CLOSED: Final = StreamState.CLOSED
_RECV_REQUEST: Final = Input.RECV_REQUEST
_WATCH: Final = StreamKind.WATCH
_UNARY: Final = StreamKind.UNARY
_SENDING: Final = UploadState.SENDING
_ANSWERED: Final = UploadState.ANSWERED


class Receiving(Judging):
    """Drives the parser, changes the machine, reports what happened."""

    def __init__(self, machine: Machine, scratch: memoryview | None = None) -> None:
        super().__init__(machine)
        self.parser = FrameParser(self, scratch)
        self._reported = False

    # ------------------------------------------------------------------ ways in

    def feed(self, take: Callable[[Any], None], argument: Any) -> list[Incoming]:
        """Let the parser take something; what it led to. Failed is the last thing ever reported."""
        machine = self._machine
        events: list[Incoming] = []
        self.events = events
        if not machine.over:
            try:
                take(argument)
            except RemoteProtocolError as error:
                if not machine.over:
                    machine.fail(error)
        if machine.over:
            self.parser.stop()
            return self._report_failure(events)
        return events

    def _report_failure(self, events: list[Incoming]) -> list[Incoming]:
        if self._machine.failure is not None and not self._reported:
            self._reported = True
            events.append(Failed(self._machine.failure))
        return events

    def eof(self) -> list[Incoming]:
        """The peer sends no more."""
        machine = self._machine
        state = machine.inputs.get(Input.RECV_EOF)
        if state is None:
            return []
        failed = machine.state is State.FAILED
        clean = machine.peer is not None and self.parser.between_frames and not machine.streams
        machine.move(state)
        self.parser.stop()
        if failed:
            return self._report_failure([])
        return [*self._unfinished_uploads(), Closed(clean)]

    def _unfinished_uploads(self) -> list[Incoming]:
        """Server, at the end of the client's bytes: uploads that lack some are over, as if they were reset."""
        machine = self._machine
        if not self._is_server:
            return []
        uploads = [stream for stream in machine.streams.values() if stream.upload is _SENDING]
        for stream in uploads:
            machine.finish(stream)
        return [Received(stream.id, Reset(ErrorCode.NO_ERROR, "NO_ERROR"), True) for stream in uploads]

    def abandon(self, stream: int) -> None:
        """Nobody wants the DATA of this stream that may be coming in just now."""
        if self.is_receiving_data(stream):
            self.parser.abandon_body()

    def is_receiving_data(self, stream: int) -> bool:
        """Whether the body under way is DATA of this stream."""
        return self.parser.in_body and self._stream == stream and self._rule.is_data

    # ------------------------------------------------------------------ what the parser reports

    def on_preface(self, min_major: int, max_major: int) -> None:
        machine = self._machine
        if self._is_server:
            if not min_major <= MAJOR <= max_major:
                problem = f"the client speaks versions {min_major} to {max_major}, this server {MAJOR} (SPEC 6)"
                error = RemoteProtocolError(ErrorCode.VERSION_UNSUPPORTED, problem)
                machine.fail(error, make_preface())
                raise error
            refusal = machine.goaway_sent
            if refusal is not None:  # refused before a word was said
                machine.end(make_preface() + b"".join(encode(refusal)))
                return
            machine.outbox.held = False
            machine.outbox.greet(make_preface())
        elif not min_major == max_major == MAJOR:
            problem = f"the server speaks versions {min_major} to {max_major}, this client {MAJOR} (SPEC 6)"
            raise RemoteProtocolError(ErrorCode.VERSION_UNSUPPORTED, problem)
        machine.move(machine.inputs[Input.RECV_PREFACE])

    def on_frame(self, head: bytes, tail: Buffer, placed: bool) -> None:
        rule, stream = self._rule, self._stream
        if rule.is_data:
            self._on_data(Data(tail, placed))
            return
        try:
            message = rule.codec.decode(head, tail, stream)
        except RemoteProtocolError as error:
            if not error.stream:
                raise
            if rule.on_stream is _RECV_REQUEST:
                self._refuse(stream, error.code, error.message, error.details)
            else:
                self._on_stream_fault(error, answer=not rule.ends_stream)
            return
        machine = self._machine
        if machine.state is not self._next_state:
            machine.move(self._next_state)
        _HANDLERS[type(message)](self, message)

    # ------------------------------------------------------------------ frames of the connection

    def _on_hello(self, message: Hello) -> None:
        machine, settings = self._machine, self._machine.settings
        offered = frozenset(message.features)  # in our order, each once, however often the client offers it
        features = tuple(name for name in settings.features if name in offered)
        self._meet(message)
        machine.outbox.greet(machine.encode(make_welcome(settings, features)))
        if settings.auth:
            machine.need_auth()
        else:
            self.be_ready()
            self.events.append(Ready(message))

    def _on_welcome(self, message: Welcome) -> None:
        settings = self._machine.settings
        grease = settings.grease
        offered = {*settings.features, *(() if grease is None else (grease.feature,))}
        if not offered.issuperset(message.features):
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "WELCOME names a feature that was not offered (SPEC 6)")
        self._meet(message)
        self._machine.principal = message.principal
        self._machine.roles = tuple(message.roles)
        if message.auth:
            self._machine.need_auth()
            self.events.append(AuthNeeded(message))
        else:
            self._welcomed(message)

    def _welcomed(self, peer: Welcome) -> None:
        """Client: requests may be sent now."""
        grease = self._machine.settings.grease
        if grease is not None:
            self._machine.outbox.control(grease.frame)
        self.be_ready()
        self.events.append(Ready(peer))

    def _meet(self, peer: Hello | Welcome) -> None:
        """The peer's limits hold from here on, and ours."""
        machine = self._machine
        machine.peer = peer
        machine.limits = peer.limits
        machine.max_frame = peer.limits.max_frame
        machine.outbox.window.available = peer.limits.connection_window
        machine.outbox.chunk = min(machine.settings.data_chunk, peer.limits.max_frame)

    def be_ready(self) -> None:
        """The handshake is done: larger frames may come."""
        self.parser.max_frame = self._machine.settings.max_frame

    def _on_auth(self, message: Auth) -> None:
        machine = self._machine
        if not machine.settings.auth:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "AUTH, although WELCOME named no mechanism (SPEC 6)")
        if machine.auth_pending:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "AUTH before the last one was answered (SPEC 6)")
        machine.auth_pending = True
        self.events.append(Received(0, message, False))

    def _on_auth_ok(self, message: AuthOk) -> None:
        machine = self._machine
        if not machine.auth_pending:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "AUTH_OK answers no AUTH (SPEC 6)")
        first = not machine.authenticated
        machine.auth_pending, machine.authenticated = False, True
        machine.principal = message.principal
        machine.roles = tuple(message.roles)
        self.events.append(Received(0, message, False))
        if first and machine.state is State.READY and isinstance(machine.peer, Welcome):
            self._welcomed(machine.peer)

    def _on_ping(self, message: Ping) -> None:
        self._machine.counts.pings += 1
        self._machine.control(Pong(message.payload))
        self.events.append(Received(0, message, False))

    def _on_pong(self, message: Pong) -> None:
        self.events.append(Received(0, message, False))

    def _on_goaway(self, message: GoAway) -> None:
        machine = self._machine
        before = machine.goaway_received
        if before is not None and message.last_stream > before.last_stream:
            problem = f"last_stream of GOAWAY rose from {before.last_stream} to {message.last_stream} (SPEC 12)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        machine.goaway_received = message
        self.events.append(Received(0, message, False))
        if self._is_server:
            if machine.over or message.code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING):
                machine.end(b"")
            return
        text = message.message or "the server is going away"
        for stream in sorted(stream for stream in machine.streams if stream > message.last_stream):
            error = make_error(ErrorCode.DRAINING, text, processed="no", retry_after_ms=message.reconnect_after_ms)
            if machine.streams[stream].state is not _CLOSED:
                self.events.append(Received(stream, error, True))
                machine.finish(machine.streams[stream])

    def _on_error(self, message: Error) -> None:
        """ERROR ends its stream; on stream 0 the connection, which the peer will close."""
        if self._stream == 0:
            if self._machine.goaway_received is None:
                self._machine.goaway_received = GoAway(MAX_STREAM, message.code, message.name, message.message)
            self.events.append(Received(0, message, True))
            if self._is_server:
                self._machine.end(b"")
        else:
            self._over(message)

    # ------------------------------------------------------------------ frames of streams

    def _on_request(self, message: Any) -> None:
        stream = self._stream
        self._machine.open(stream, REQUEST_KINDS[type(message)])
        self.events.append(_new(Received, (stream, message, True)))

    def _on_submit(self, message: Submit) -> None:
        end = self._rule.end
        if end is not (not message.attachments):
            what = "SUBMIT with attachments and END" if end else "SUBMIT without attachments and without END"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{what} (SPEC 7)")
        stream = self._machine.open(self._stream, _WATCH if message.watch or message.deliver else _UNARY)
        if not end:
            stream.expect_upload(sum(attachment.size for attachment in message.attachments))
        self.events.append(Received(self._stream, message, end))

    def _on_reply(self, message: Message) -> None:
        """Client: RESULT, EVENT or PREVIEW."""
        stream = self._machine.streams.get(self._stream)
        if stream is None or stream.state is _CLOSED:
            return  # reset while its body was under way
        stream.state = self._next_stream_state
        if stream.upload is not None and stream.upload is not _ANSWERED:
            self._machine.answer_upload(stream)
        end = self._rule.end
        self.events.append(_new(Received, (stream.id, message, end)))
        if end:
            self._machine.finish(stream)

    def _on_data(self, message: Data) -> None:
        stream = self._machine.streams.get(self._stream)
        if stream is not None and stream.sink is not None:
            # What did not fit into the sink was not placed, and nothing after it belongs there.
            stream.sink = stream.sink[len(message.tail) :] if message.placed or not message.tail else None
        if not self._is_server:
            self._on_reply(message)
        elif stream is not None and stream.upload is _SENDING and stream.state is not _CLOSED:
            stream.upload = self._next_upload
            self.events.append(Received(stream.id, message, self._rule.end))

    def _on_reset(self, message: Reset) -> None:
        self._over(message)

    def _over(self, message: Message) -> None:
        """The peer ended the stream."""
        stream = self._machine.streams.get(self._stream)
        if stream is None:
            return
        if self._is_server:
            self._machine.counts.aborts += 1
        if stream.state is not _CLOSED or stream.bulk:
            self.events.append(Received(stream.id, message, True))
        self._machine.finish(stream)

    def _on_credit(self, message: Credit) -> None:
        counts = self._machine.counts
        counts.credits += 1
        counts.credit_bytes += message.n
        outbox = self._machine.outbox
        if self._stream == 0:
            outbox.window.grant(message.n)
            return
        stream = self._machine.streams.get(self._stream)
        if stream is not None:
            stream.to_send().grant(message.n)
            outbox.wake(stream)


_HANDLERS: Final[Mapping[type, Callable[[Receiving, Any], None]]] = {
    Hello: Receiving._on_hello,
    Welcome: Receiving._on_welcome,
    Auth: Receiving._on_auth,
    AuthOk: Receiving._on_auth_ok,
    Ping: Receiving._on_ping,
    Pong: Receiving._on_pong,
    GoAway: Receiving._on_goaway,
    Error: Receiving._on_error,
    Credit: Receiving._on_credit,
    Reset: Receiving._on_reset,
    Submit: Receiving._on_submit,
    Status: Receiving._on_request,
    Cancel: Receiving._on_request,
    Watch: Receiving._on_request,
    List: Receiving._on_request,
    Admin: Receiving._on_request,
    Fetch: Receiving._on_request,
    Result: Receiving._on_reply,
    Event: Receiving._on_reply,
    Preview: Receiving._on_reply,
}
