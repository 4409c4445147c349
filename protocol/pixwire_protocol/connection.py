"""A PXW connection without I/O (SPEC 3-8): bytes in, events out; messages in, bytes out. For both roles.

    connection = Connection(Role.CLIENT, Settings(agent="me/1"))
    loop:   send everything in connection.data_to_send() while connection.has_output
            for incoming in connection.receive(bytes_from_the_peer): ...
    end:    connection.receive_eof() when the peer sends no more

Not thread-safe; one owner calls everything. Nothing here blocks, sleeps, or knows the time (see keepalive.py).
Illegal calls raise LocalProtocolError and change nothing. What the peer does wrong never raises: it is reported as
Failed, the last item ever, with a GOAWAY for the peer waiting in data_to_send(). A client's ERROR on stream 0 or GOAWAY
with an error code is reported as what it is and ends the server's side too. After that (and after both sides are done)
all calls that send are harmless and do nothing, so that callers need not race with the peer.

Not here: deadlines and rates (keepalive.py and the program around), what a job is, TLS, reconnecting.
"""

from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.errors import (
    DrainingError,
    LocalProtocolError,
    NotReadyError,
    RemoteProtocolError,
    TooManyStreamsError,
    error_name,
)
from pixwire_protocol.greeting import check_welcome, make_hello
from pixwire_protocol.header import Buffer
from pixwire_protocol.incoming import Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.limits import Limits
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import (
    Event,
    Hello,
    Message,
    Ping,
    Preview,
    Request,
    Reset,
    Result,
    Welcome,
    clip,
    encode_within,
    error_message,
)
from pixwire_protocol.receiving import Receiving
from pixwire_protocol.registry import HEADER_SIZE, MAX_STREAM, ErrorCode, Flag
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Input, Role, State, StreamInput, StreamState, kind_of
from pixwire_protocol.streams import Frames, Stream

__all__ = ["Closed", "Connection", "Failed", "Incoming", "Ready", "Received", "Role", "Settings", "State"]

# Message class -> what sending it does to a stream, without and with END. None: not possible.
_SENDABLE: Mapping[type, tuple[StreamInput | None, StreamInput | None]] = {
    Result: (StreamInput.RESULT, StreamInput.RESULT_END),
    Event: (StreamInput.EVENT, StreamInput.EVENT_END),
    Preview: (StreamInput.PREVIEW, None),
}
_NOT_SENDABLE = (None, None)


# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED
_SEND_REPLY: Final = Input.SEND_REPLY
_SEND_REQUEST: Final = Input.SEND_REQUEST
_END: Final = Flag.END


class Connection:
    """One side of one connection. See the module's text for how to drive it."""

    def __init__(self, role: Role, settings: Settings) -> None:
        """A connection whose transport was just made. A client has its preface and HELLO ready to send.

        Raises LocalProtocolError (MessageTooLargeError) when the settings do not fit into HELLO or WELCOME.
        """
        self._role = role
        self._machine = Machine(role, settings)
        self._receiving = Receiving(self._machine)
        if role is Role.SERVER:
            check_welcome(settings)
        else:
            self._machine.outbox.greet([make_hello(settings)])

    def __repr__(self) -> str:
        streams = len(self._machine.streams)
        return f"<Connection {self._role.value} {self.state.name} streams={streams} output={self.has_output}>"

    # ------------------------------------------------------------------ facts

    @property
    def state(self) -> State:
        """Where the connection is in its life (SPEC 3)."""
        return self._machine.state

    @property
    def failure(self) -> RemoteProtocolError | None:
        """Why the connection failed; also reported by the next receiving call as Failed."""
        return self._machine.failure

    @property
    def peer_limits(self) -> Limits:
        """What the peer accepts; the defaults until its HELLO or WELCOME was received."""
        return self._machine.limits

    @property
    def peer(self) -> Hello | Welcome | None:
        """The peer's HELLO or WELCOME, once received."""
        return self._machine.peer

    @property
    def draining(self) -> bool:
        """Whether GOAWAY was sent or received (or the peer sends no more): open streams go on, new ones cannot."""
        return self._machine.state is State.DRAINING or self._machine.goaway_sent is not None

    @property
    def open_streams(self) -> int:
        """Streams that are not over; on the server also those whose last frame has not left."""
        return len(self._machine.streams)

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has been received in part: what the deadline `frame_ms` is about. False in the preface."""
        return self._receiving.parser.mid_frame

    # ------------------------------------------------------------------ receiving

    def receive(self, data: bytes | bytearray | memoryview) -> list[Incoming]:
        """Take bytes from the peer, any number; returns what they mean, in order. Never raises for what they contain.

        Anything but bytes is copied first. The result does not depend on how the stream was cut into calls.
        """
        receiving = self._receiving
        return receiving.feed(receiving.parser.feed, data if type(data) is bytes else bytes(data))

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive next (BufferedProtocol, recv_into): an artifact's own place while one is coming in.

        sizehint is ignored. Every call must be followed by buffer_updated() before any other receiving call.
        """
        return self._receiving.parser.get_buffer()

    def buffer_updated(self, n: int) -> list[Incoming]:
        """n bytes were received into the buffer of get_buffer(). Like receive()."""
        receiving = self._receiving
        return receiving.feed(receiving.parser.buffer_updated, n)

    def receive_eof(self) -> list[Incoming]:
        """The peer sends no more. A server may still answer what was asked; a client's connection is over."""
        return self._receiving.eof()

    def set_sink(self, stream: int, place: memoryview) -> None:
        """Receive the following DATA of this stream straight into `place`, from its beginning (SPEC 7).

        Call it after the whole list returned by receive() was handled, with the place of the stream's next byte; DATA
        that has come in part is moved there (if that is not possible, because its buffer is lent by get_buffer() or it
        does not fit, nothing changes). Data.placed tells which frames lie in it: a frame that does not fit is reported
        unplaced, and the sink is forgotten. The part of `place` behind the received bytes may be scribbled on until it
        is filled. Does nothing when the stream is over; LocalProtocolError when `place` is read-only.
        """
        found = self._machine.find(stream)
        if place.readonly:
            raise LocalProtocolError("a sink must be writable, this memoryview is read-only")
        if found is None:
            return
        sink = place.cast("B") if place.nbytes else place
        receiving = self._receiving
        if receiving.is_receiving_data(stream) and not receiving.parser.move_body(sink, HEADER_SIZE):
            return
        found.sink = sink

    def consumed(self, stream: int, n: int) -> None:
        """n bytes of this stream's DATA are done with: the peer may send more (SPEC 7).

        Credit leaves in batches of half a window. Bytes of a stream that is over went back when it ended: nothing
        happens. LocalProtocolError for more than was received.
        """
        machine = self._machine
        found = machine.find(stream)
        if found is None or machine.over:
            return
        credit = found.to_receive().consume(n)
        if credit:
            machine.outbox.credit(stream, credit)
        credit = machine.window.consume(n)
        if credit:
            machine.outbox.credit(0, credit)

    # ------------------------------------------------------------------ sending

    def open(self, message: Request) -> int:
        """Client: send a request on a new stream; returns its id (SPEC 7).

        Raises NotReadyError, DrainingError, TooManyStreamsError, MessageTooLargeError, or LocalProtocolError naming
        the field that cannot be sent. Nothing was sent then.
        """
        machine = self._machine
        try:
            kind = kind_of(message)
        except KeyError:
            raise LocalProtocolError(
                f"{type(message).__name__} is not a request and opens no stream (SPEC 7)"
            ) from None
        if _SEND_REQUEST not in machine.inputs:
            raise self._cannot_open()
        limit = machine.limits.max_streams
        if len(machine.streams) >= limit:
            raise TooManyStreamsError(limit)
        stream = machine.last_stream + 2 if machine.last_stream else 1
        if stream > MAX_STREAM:
            raise DrainingError(ErrorCode.NO_ERROR, "all stream ids are used up")
        frames = machine.encode(message, stream, _END)
        if frames[1] > machine.outbox.room:
            raise LocalProtocolError(
                f"{machine.settings.reply_bytes} bytes of requests wait to be sent; send them first"
            )
        machine.last_stream = stream
        machine.outbox.reply(machine.open(stream, kind), frames)
        return stream

    def _cannot_open(self) -> LocalProtocolError:
        machine = self._machine
        if self._role is Role.SERVER:
            return LocalProtocolError("only clients open streams (SPEC 7)")
        goaway = machine.goaway_received or machine.goaway_sent
        if machine.state is State.DRAINING and goaway is not None:
            return DrainingError(goaway.code, goaway.message, goaway.reconnect_after_ms)
        reasons = {State.FAILED: f"it has failed: {machine.failure}", State.CLOSED: "it is closed"}
        reason = reasons.get(machine.state, "the handshake is not done; wait for Ready")
        return NotReadyError(f"no stream can be opened on this connection: {reason}")

    def send(self, stream: int, message: Message, end: bool = False) -> bool:
        """Server: send RESULT, EVENT or PREVIEW on a stream; end: nothing follows on it (SPEC 7).

        PREVIEW and EVENT "progress" are lossy: they replace an unsent older one of the same stream, and are dropped
        when a lossless message follows. Returns False when the stream is over or the lossy message found no room.
        Raises LocalProtocolError when the stream's state does not allow it, MessageTooLargeError when it does not fit.
        """
        machine = self._machine
        found = machine.streams.get(stream)
        if found is None or found.state is _CLOSED or _SEND_REPLY not in machine.inputs:
            self._sendable(stream)  # says what is wrong, if anything is
            return False
        kind = type(message)
        happened = _SENDABLE.get(kind, _NOT_SENDABLE)[end]
        lossy = kind is Preview or (type(message) is Event and message.body.get("event") == "progress")
        if happened is None or (lossy and end):
            raise LocalProtocolError(f"{kind.__name__}{' with END' if end else ''} cannot be sent on a stream (SPEC 7)")
        state = self._next(found, happened)
        frames = encode_within(message, stream, _END if end else 0, machine.max_frame)
        found.state = state
        if lossy:
            return machine.outbox.lossy(found, kind, frames)
        return self._reply(found, frames)

    def send_data(self, stream: int, data: Buffer, end: bool = False) -> bool:
        """Server: send DATA after a RESULT that announced it (SPEC 7). May be called again to send more.

        `data` is kept by reference and cut into frames when it leaves, as credit allows: do not change it until
        unsent() says that it has left and the transport has taken it. Returns False when the stream is over.
        """
        found = self._sendable(stream)
        if found is None:
            return False
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        if not view.nbytes and not end:
            return True
        found.state = self._next(found, StreamInput.DATA_END if end else StreamInput.DATA)
        self._machine.outbox.data(found, view, end)
        return True

    def send_error(
        self,
        stream: int,
        code: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after_ms: int | None = None,
        *,
        retry: str | None = None,
        processed: str | None = None,
    ) -> bool:
        """Server: the request failed; the stream is over. DATA of it that has not left is dropped (SPEC 10).

        retry and processed come from the registry unless given; with retry_after_ms, retry is "after". Returns False
        when the stream is over.
        """
        machine = self._machine
        found = self._sendable(stream)
        if found is None:
            return False
        facts = None if details is None else dict(details)
        frame = error_message(
            code, message, details=facts, retry_after_ms=retry_after_ms, retry=retry, processed=processed
        )
        self._next(found, StreamInput.ERROR)
        return self._end_stream(found, machine.encode(frame, stream, _END))

    def reset(self, stream: int, code: int = ErrorCode.NO_ERROR) -> bool:
        """End a stream at once, in both directions (SPEC 7). The job goes on; CANCEL stops it.

        Buffers of the stream are dropped, a body under way is thrown away. False when the stream is over already.
        """
        machine = self._machine
        found = machine.find(stream) or machine.streams.get(stream)
        if found is None or machine.over or (found.state is _CLOSED and not found.bulk):
            return False
        if self._receiving.is_receiving_data(stream):
            self._receiving.parser.abandon_body()
        return self._end_stream(found, machine.encode(Reset(code, error_name(code)), stream))

    def ping(self, payload: bytes) -> bool:
        """Send PING with 8 bytes; the answer is Received(0, Pong(payload)). False when the connection is over."""
        if self._machine.over:
            return False
        frames = self._machine.encode(Ping(bytes(payload)))
        self._machine.local(Input.SEND_PING)
        return self._control(frames)

    def goaway(
        self,
        code: int = ErrorCode.NO_ERROR,
        message: str = "",
        *,
        last_stream: int | None = None,
        grace_ms: int | None = None,
        reconnect_after_ms: int | None = None,
    ) -> bool:
        """Announce the end (SPEC 12). Streams above last_stream are refused (default: everything seen goes on).

        A drain has two steps: last_stream=2**31-1 ("open no more"), and after a round trip the true value (leave it
        out). Before the handshake is done it refuses the connection: a server's GOAWAY waits for the client's preface
        and is the last thing sent. False when the connection is over.
        """
        machine = self._machine
        if machine.over:
            return False
        message = clip(message)
        frame = machine.goaway(code, message, last_stream, grace_ms=grace_ms, reconnect_after_ms=reconnect_after_ms)
        frames = machine.encode(frame)
        machine.goaway_sent = frame
        if machine.state is State.START and self._role is Role.SERVER:
            return True  # sent when the preface has shown that somebody there understands it
        if Input.SEND_GOAWAY not in machine.inputs:
            if self._role is Role.SERVER:
                machine.end(frames[0])
            else:
                machine.end([])
            return True
        machine.local(Input.SEND_GOAWAY)
        return self._control(frames)

    def unsent(self, stream: int) -> int:
        """Bytes given to send_data() that data_to_send() has not returned yet; 0 for a stream that is over."""
        found = self._machine.streams.get(stream)
        return 0 if found is None else found.unsent

    @property
    def has_output(self) -> bool:
        """Whether data_to_send() would return something now."""
        return bool(self._machine.outbox)

    def data_to_send(self, max_bytes: int = 256 * 1024) -> list[Buffer]:
        """The next buffers to write, in order, none of them empty; [] when there is nothing to send.

        Control frames, replies and lossy frames up to about max_bytes (at least one frame), then at most one DATA
        frame of at most data_chunk bytes: call again when the transport has room. Buffers may be views of what was
        given to send_data(); what is returned here counts as sent.
        """
        machine = self._machine
        out = machine.outbox.take(max_bytes)
        if machine.outbox.done:
            machine.reap()
        return out

    # ------------------------------------------------------------------ helpers

    def _sendable(self, stream: int) -> Stream | None:
        """The open stream a server wants to send on; None when it is over."""
        machine = self._machine
        if machine.over:
            return None
        if _SEND_REPLY not in machine.inputs:
            who = f"the {self._role.value} in state {machine.state.name}"
            raise LocalProtocolError(f"{who} sends nothing on streams but requests, CREDIT and RESET (SPEC 3)")
        return machine.find(stream)

    def _next(self, stream: Stream, happened: StreamInput) -> StreamState:
        state = stream.table[stream.state].get(happened)
        if state is None:
            problem = f"{happened.name} is not possible on stream {stream.id} in state {stream.state.name} (SPEC 7)"
            raise LocalProtocolError(problem)
        return state

    def _reply(self, stream: Stream, frames: Frames) -> bool:
        """Queue a frame; when the peer takes nothing and too much waits, the connection fails (SLOW_CONSUMER)."""
        try:
            self._machine.outbox.reply(stream, frames)
        except RemoteProtocolError as error:
            self._machine.fail(error)
            return False
        return True

    def _control(self, frames: Frames) -> bool:
        """The same for control frames (EXCESSIVE_LOAD)."""
        try:
            self._machine.outbox.control(frames)
        except RemoteProtocolError as error:
            self._machine.fail(error)
            return False
        return True

    def _end_stream(self, stream: Stream, frames: Frames) -> bool:
        """The stream ends with this frame; what waits and need not be sent is dropped."""
        machine = self._machine
        machine.outbox.drop_stream(stream)
        sent = self._reply(stream, frames)
        if sent:
            machine.finish(stream)
        return sent
