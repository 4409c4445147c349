"""The receiving half of a connection (SPEC 3, 7, 8): what headers and frames mean.

A frame is judged when its header is there (`on_header`): shape, state, stream, credit, in this order, before a byte of
its body is stored. When the body is complete (`on_frame`) it is decoded and takes effect. Handlers append to `events`;
anything the peer did wrong is a RemoteProtocolError that ends up in `feed`, and nothing else can come out of here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pixwire_protocol.errors import RemoteProtocolError, error_name
from pixwire_protocol.greeting import make_preface, make_welcome
from pixwire_protocol.header import Buffer
from pixwire_protocol.incoming import Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import (
    Cancel,
    Credit,
    Data,
    Error,
    Event,
    Fetch,
    GoAway,
    Hello,
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
from pixwire_protocol.parser import SKIP, FrameParser, Place
from pixwire_protocol.registry import HEADER_SIZE, MAJOR, MAX_STREAM, ErrorCode, Flag
from pixwire_protocol.rules import EXTENSIONS, KNOWN_TYPES, RULES, Rule
from pixwire_protocol.states import Input, Role, State, StreamState, kind_of
from pixwire_protocol.streams import Stream

# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED
_RECV_STREAM: Final = Input.RECV_STREAM
_RECV_REQUEST: Final = Input.RECV_REQUEST

SMALL_DATA: Final = 1024
"""DATA below this, without END, counts towards small_data_run."""


class Receiving:
    """Drives the parser, changes the machine, reports what happened."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_server = machine.role is Role.SERVER
        self._rules = RULES[machine.role]
        self.parser = FrameParser(self)
        self.events: list[Incoming] = []
        self._reported = False
        # The frame whose body is under way:
        self._rule: Rule = next(iter(self._rules.values()))
        self._stream = 0
        self._next_state = State.START
        self._next_stream_state = StreamState.OPEN
        self._small_run = 0
        self._small = min(SMALL_DATA, machine.settings.stream_window // 4)

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
        if not failed:
            return [Closed(clean)]
        return self._report_failure([])

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
                machine.fail(error, [make_preface()])
                raise error
            refusal = machine.goaway_sent
            if refusal is not None:  # refused before a word was said
                machine.end([make_preface() + b"".join(encode(refusal))])
                return
            machine.outbox.held = False
            machine.outbox.greet([make_preface()])
        elif not min_major == max_major == MAJOR:
            problem = f"the server speaks versions {min_major} to {max_major}, this client {MAJOR} (SPEC 6)"
            raise RemoteProtocolError(ErrorCode.VERSION_UNSUPPORTED, problem)
        machine.move(machine.inputs[Input.RECV_PREFACE])

    def on_header(self, frame_type: int, flags: int, head_size: int, stream: int, length: int) -> Place:
        if stream > MAX_STREAM:
            raise RemoteProtocolError(ErrorCode.STREAM_ID, f"stream id 0x{stream:08X} has its top bit set (SPEC 4)")
        rule = self._rules.get(frame_type << 8 | flags)  # rule_key()
        if rule is None:
            return self._on_unknown(frame_type, flags, stream)
        if rule.has_head is not (head_size > 0) or (
            rule.tail_size is not None and length - head_size != rule.tail_size
        ):
            raise _wrong_shape(rule, head_size, length)
        happened = rule.on_stream if stream else rule.on_zero
        if happened is None:
            flag = f" with{'' if rule.end else 'out'} END" if rule.codec.spec.end == "stream" else ""
            problem = f"{rule.codec.spec.name}{flag} is not allowed on stream {stream} (SPEC 4)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        state = self._machine.inputs.get(happened)
        if state is None:
            problem = f"{rule.codec.spec.name} is not allowed in state {self._machine.state.name} (SPEC 3)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        self._rule, self._stream, self._next_state = rule, stream, state
        if happened is _RECV_STREAM:
            return self._on_stream_header(rule, stream, length)
        if happened is _RECV_REQUEST:
            return self._on_request_header(stream)
        return None

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
        if self._machine.state is not self._next_state:
            self._machine.move(self._next_state)
        _HANDLERS[type(message)](self, message)

    # ------------------------------------------------------------------ judging headers

    def _on_request_header(self, stream: int) -> Place:
        """Server: a new stream, if its id is right; refused at once when there is no room for it."""
        machine = self._machine
        if not stream & 1 or stream <= machine.last_stream:
            problem = f"stream {stream} cannot be opened: ids are odd and rise, the last was {machine.last_stream}"
            raise RemoteProtocolError(ErrorCode.STREAM_ID, problem)
        goaway = machine.goaway_sent
        if goaway is not None and stream > goaway.last_stream:
            self._refuse(
                stream, ErrorCode.DRAINING, goaway.message or "the server is going away; use another connection"
            )
        elif len(machine.streams) >= machine.settings.max_streams:
            problem = f"{machine.settings.max_streams} streams are open (max_streams); wait for one to end"
            self._refuse(stream, ErrorCode.TOO_MANY_STREAMS, problem)
        else:
            machine.last_stream = stream
            return None
        machine.last_stream = stream
        return SKIP

    def _on_stream_header(self, rule: Rule, stream: int, length: int) -> Place:
        machine = self._machine
        found = machine.streams.get(stream)
        # A server's stream takes CREDIT and RESET until its last frame has left.
        if found is None or (found.state is _CLOSED and not self._is_server):
            self._check_opened(stream)
            if rule.is_data:
                # Late DATA is thrown away, but it was under way and is paid for: take the credit and give it back.
                machine.window.receive(length, "the connection")
                credit = machine.window.consume(length)
                if credit:
                    machine.outbox.credit(0, credit)
            return SKIP
        if rule.stream_input is None or self._is_server:
            return None
        state = found.table[found.state].get(rule.stream_input)
        if state is None:
            problem = f"{rule.stream_input.name} is not allowed on stream {stream} in state {found.state.name} (SPEC 7)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        self._next_stream_state = state
        return self._on_data_header(rule, found, length) if rule.is_data else None

    def _on_data_header(self, rule: Rule, stream: Stream, length: int) -> Place:
        machine = self._machine
        stream.to_receive().receive(length, "the stream")
        machine.window.receive(length, "the connection")
        if length < self._small and not rule.end:
            if length == 0:
                raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "DATA without bytes and without END (SPEC 8)")
            self._small_run += 1
            if self._small_run > machine.settings.small_data_run:
                problem = f"{self._small_run} DATA frames under {self._small} bytes in a row (SPEC 14)"
                raise RemoteProtocolError(ErrorCode.EXCESSIVE_LOAD, problem)
        else:
            self._small_run = 0
        sink = stream.sink
        if sink is None or len(sink) < length:
            return None
        return sink[: length + HEADER_SIZE]

    def _on_unknown(self, frame_type: int, flags: int, stream: int) -> Place:
        """A pair of type and flags that is in no rule."""
        name = KNOWN_TYPES.get(frame_type)
        if name is not None:
            problem = f"{name} with flags 0x{flags:02X} is not what a {self._peer_name} may send (SPEC 4, 8)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        if Input.RECV_EXTENSION not in self._machine.inputs:
            problem = f"frame type 0x{frame_type:02X} in state {self._machine.state.name} (SPEC 3)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        if frame_type not in EXTENSIONS:
            problem = f"frame type 0x{frame_type:02X} is unknown (SPEC 13)"
            if stream == 0:
                raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{problem}, on stream 0")
            self._refuse_unknown(stream, problem)
        return SKIP

    def _refuse_unknown(self, stream: int, problem: str) -> None:
        machine = self._machine
        if stream in machine.streams:
            self._on_stream_fault(RemoteProtocolError(ErrorCode.UNKNOWN_FRAME, problem, stream))
        elif self._is_server and stream > machine.last_stream and stream & 1:
            machine.last_stream = stream
            self._refuse(stream, ErrorCode.UNKNOWN_FRAME, problem)
        else:
            self._check_opened(stream)

    def _check_opened(self, stream: int) -> None:
        """A stream that is not open must at least have been."""
        if stream > self._machine.last_stream or not stream & 1:
            raise RemoteProtocolError(ErrorCode.STREAM_ID, f"stream {stream} was never opened (SPEC 7)")

    # ------------------------------------------------------------------ faults of one stream

    def _refuse(self, stream: int, code: ErrorCode, problem: str, details: Mapping[str, Any] | None = None) -> None:
        """Server: answer ERROR for a stream that was not opened."""
        self._machine.control(make_error(code, problem, processed="no", details=details), stream, Flag.END)

    def _on_stream_fault(self, error: RemoteProtocolError, answer: bool = True) -> None:
        """Something is wrong with an open stream, and only with it: it ends for both sides."""
        machine = self._machine
        stream = error.stream or 0
        found = machine.streams.get(stream)
        if found is None or found.state is _CLOSED:
            return  # ended while the frame was coming in
        if self._is_server:
            # The application has the request already, and once it has answered, the request had its effect.
            processed = "maybe" if found.state is StreamState.OPEN else "yes"
            frame = make_error(error.code, error.message, details=error.details, processed=processed)
            buffers = machine.encode(frame, stream, Flag.END)
            self.events.append(Received(stream, Reset(error.code, error_name(error.code)), True))
        else:
            buffers = machine.encode(Reset(error.code, error_name(error.code)), stream)
            self.events.append(Received(stream, make_error(error.code, error.message, details=error.details), True))
        machine.outbox.drop_stream(found)
        if answer:  # ERROR and RESET are not, lest two sides go on for ever
            machine.outbox.reply(found, buffers)
        machine.finish(found)

    # ------------------------------------------------------------------ frames of the connection

    def _on_hello(self, message: Hello) -> None:
        machine, settings = self._machine, self._machine.settings
        features = tuple(name for name in message.features if name in settings.features)
        self._meet(message)
        machine.outbox.greet(machine.encode(make_welcome(settings, features))[0])
        self.events.append(Ready(message))

    def _on_welcome(self, message: Welcome) -> None:
        settings = self._machine.settings
        grease = settings.grease
        offered = {*settings.features, *(() if grease is None else (grease.feature,))}
        if not offered.issuperset(message.features):
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "WELCOME names a feature that was not offered (SPEC 6)")
        self._meet(message)
        if grease is not None:
            self._machine.outbox.control(([grease.frame], len(grease.frame)))
        self.events.append(Ready(message))

    def _meet(self, peer: Hello | Welcome) -> None:
        """The peer's limits hold from here on, and ours."""
        machine = self._machine
        machine.peer = peer
        machine.limits = peer.limits
        machine.max_frame = peer.limits.max_frame
        machine.outbox.window.available = peer.limits.connection_window
        machine.outbox.chunk = min(machine.settings.data_chunk, peer.limits.max_frame)
        self.parser.max_frame = machine.settings.max_frame

    def _on_ping(self, message: Ping) -> None:
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
            if machine.peer is None or message.code not in (ErrorCode.NO_ERROR, ErrorCode.DRAINING):
                machine.end([])
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
                self._machine.end([])
        else:
            self._over(message)

    # ------------------------------------------------------------------ frames of streams

    def _on_request(self, message: Any) -> None:
        self._machine.open(self._stream, kind_of(message))
        self.events.append(Received(self._stream, message, True))

    def _on_reply(self, message: Message) -> None:
        """Client: RESULT, EVENT or PREVIEW."""
        stream = self._machine.streams.get(self._stream)
        if stream is None or stream.state is _CLOSED:
            return  # reset while its body was under way
        stream.state = self._next_stream_state
        end = self._rule.end
        self.events.append(Received(stream.id, message, end))
        if end:
            self._machine.finish(stream)

    def _on_data(self, message: Data) -> None:
        stream = self._machine.streams.get(self._stream)
        if stream is not None and stream.sink is not None:
            # What did not fit into the sink was not placed, and nothing after it belongs there.
            stream.sink = stream.sink[len(message.tail) :] if message.placed or not message.tail else None
        self._on_reply(message)

    def _on_reset(self, message: Reset) -> None:
        self._over(message)

    def _over(self, message: Message) -> None:
        """The peer ended the stream."""
        stream = self._machine.streams.get(self._stream)
        if stream is None:
            return
        if stream.state is not _CLOSED or stream.bulk:
            self.events.append(Received(stream.id, message, True))
        self._machine.finish(stream)

    def _on_credit(self, message: Credit) -> None:
        outbox = self._machine.outbox
        if self._stream == 0:
            outbox.window.grant(message.n)
            return
        stream = self._machine.streams.get(self._stream)
        if stream is not None:
            stream.to_send().grant(message.n)
            outbox.wake(stream)

    @property
    def _peer_name(self) -> str:
        return "client" if self._is_server else "server"


def _wrong_shape(rule: Rule, head_size: int, length: int) -> RemoteProtocolError:
    """Head or tail are not where this message has them (SPEC 8)."""
    name = rule.codec.spec.name
    if rule.has_head and head_size == 0:
        return RemoteProtocolError(ErrorCode.BAD_HEAD, f"{name} without a head (SPEC 8)")
    if not rule.has_head and head_size:
        return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{name} with a head of {head_size} bytes (SPEC 8)")
    problem = f"{name} with a tail of {length - head_size} bytes instead of {rule.tail_size} (SPEC 8)"
    return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)


_HANDLERS: Final[Mapping[type, Callable[[Receiving, Any], None]]] = {
    Hello: Receiving._on_hello,
    Welcome: Receiving._on_welcome,
    Ping: Receiving._on_ping,
    Pong: Receiving._on_pong,
    GoAway: Receiving._on_goaway,
    Error: Receiving._on_error,
    Credit: Receiving._on_credit,
    Reset: Receiving._on_reset,
    Submit: Receiving._on_request,
    Status: Receiving._on_request,
    Cancel: Receiving._on_request,
    Watch: Receiving._on_request,
    Fetch: Receiving._on_request,
    Result: Receiving._on_reply,
    Event: Receiving._on_reply,
    Preview: Receiving._on_reply,
}
