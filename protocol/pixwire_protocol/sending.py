"""The sending half of a Connection (SPEC 3, 6, 7, 10, 12): messages in, bytes out.

Illegal calls raise LocalProtocolError and change nothing. Calls on a stream or a connection that is over do nothing and
return False, so that callers need not race with the peer.
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
from pixwire_protocol.header import Buffer
from pixwire_protocol.messages import (
    Encoded,
    Event,
    Message,
    Preview,
    Request,
    Reset,
    Result,
    Submit,
    encode_packed,
    encode_within,
    error_message,
    size_of,
)
from pixwire_protocol.presiding import Presiding
from pixwire_protocol.registry import MAX_STREAM, ErrorCode, Flag
from pixwire_protocol.source import Source
from pixwire_protocol.states import (
    UPLOAD,
    Input,
    Role,
    State,
    StreamInput,
    StreamKind,
    StreamState,
    UploadInput,
    UploadState,
    kind_of,
)
from pixwire_protocol.streams import Stream

# Message class -> what sending it does to a stream, without and with END. None: not possible.
_SENDABLE: Mapping[type, tuple[StreamInput | None, StreamInput | None]] = {
    Result: (StreamInput.RESULT, StreamInput.RESULT_END),
    Event: (StreamInput.EVENT, StreamInput.EVENT_END),
    Preview: (StreamInput.PREVIEW, None),
}
_NOT_SENDABLE = (None, None)


# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED
_TRANSFER: Final = StreamKind.TRANSFER
_SEND_REPLY: Final = Input.SEND_REPLY
_SEND_REQUEST: Final = Input.SEND_REQUEST
_SEND_DATA: Final = Input.SEND_DATA
_RESULT_END: Final = StreamInput.RESULT_END
_ANSWERED: Final = UploadState.ANSWERED
_END: Final = Flag.END


class Sending(Presiding):
    """What a Connection sends. Connection is the class to use; this one has no constructor of its own."""

    def open(self, message: Request) -> int:
        """Client: send a request on a new stream; returns its id (SPEC 7). With attachments, send_data() comes next.

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
        attachments = message.attachments if type(message) is Submit else ()
        frame = encode_within(message, stream, 0 if attachments else _END, machine.max_frame)
        if not machine.outbox.has_room(size_of(frame)):
            raise LocalProtocolError(
                f"{machine.settings.reply_bytes} bytes of requests wait to be sent; send them first"
            )
        machine.last_stream = stream
        opened = machine.open(stream, kind)
        if attachments:
            opened.expect_upload(sum(attachment.size for attachment in attachments))
        elif kind is _TRANSFER:
            self._receiving.parser.read_short = True
        machine.outbox.reply(opened, frame)
        return stream

    def _cannot_open(self) -> LocalProtocolError:
        machine = self._machine
        if self._role is Role.SERVER:
            return LocalProtocolError("only clients open streams (SPEC 7)")
        goaway = machine.goaway_received or machine.goaway_sent
        if machine.state is State.DRAINING and goaway is not None:
            return DrainingError(goaway.code, goaway.message, goaway.reconnect_after_ms)
        reasons = {
            State.AUTHENTICATING: "the server asks for authentication; call authenticate() and wait for Ready",
            State.FAILED: f"it has failed: {machine.failure}",
            State.CLOSED: "it is closed",
        }
        reason = reasons.get(machine.state, "the handshake is not done; wait for Ready")
        return NotReadyError(f"no stream can be opened on this connection: {reason}")

    def send(self, stream: int, message: Message, end: bool = False) -> bool:
        """Server: send RESULT, EVENT or PREVIEW on a stream; end: nothing follows on it (SPEC 7).

        RESULT on a stream whose upload is not complete is an early answer: what still comes is thrown away.
        PREVIEW and EVENT "progress" are lossy: they replace an unsent older one of the same stream, and are dropped
        when a lossless message follows. Returns False when the stream is over or the lossy message found no room.
        Raises LocalProtocolError when the stream's state does not allow it, MessageTooLargeError when it does not fit.
        """
        machine = self._machine
        found = machine.streams.get(stream)
        if found is None or found.state is _CLOSED or _SEND_REPLY not in machine.inputs:
            self._sendable(stream, _SEND_REPLY)  # says what is wrong, if anything is
            return False
        kind = type(message)
        happened = _SENDABLE.get(kind, _NOT_SENDABLE)[end]
        lossy = kind is Preview or (kind is Event and message.body.get("event") == "progress")  # type: ignore[union-attr]
        if happened is None or (lossy and end):
            raise LocalProtocolError(f"{kind.__name__}{' with END' if end else ''} cannot be sent on a stream (SPEC 7)")
        state = found.table[found.state].get(happened) or self._next(found, happened)
        frame = encode_within(message, stream, _END if end else 0, machine.max_frame)
        if found.upload is None:
            found.state = state
        else:
            self._advance(found, state)
        if lossy:
            return machine.outbox.lossy(found, kind, frame)
        return self._reply(found, frame)

    def answer(self, stream: int, body: bytes) -> bool:
        """Server: send(stream, Result(map), end=True) for a map that is packed already (packed_map.py)."""
        machine = self._machine
        found = machine.streams.get(stream)
        if found is None or found.state is _CLOSED or _SEND_REPLY not in machine.inputs:
            self._sendable(stream, _SEND_REPLY)
            return False
        state = found.table[found.state].get(_RESULT_END) or self._next(found, _RESULT_END)
        frame = encode_packed(Result, body, stream, _END, machine.max_frame)
        if found.upload is None:
            found.state = state
        else:
            self._advance(found, state)
        return self._reply(found, frame)

    def _advance(self, stream: Stream, state: StreamState) -> None:
        """The server sends something on this stream."""
        stream.state = state
        if stream.upload is not None and stream.upload is not _ANSWERED:
            self._receiving.abandon(stream.id)
            self._machine.answer_upload(stream)

    def send_data(self, stream: int, data: Buffer | Source, end: bool = False) -> bool:
        """Send DATA: a server after a RESULT that announced it, a client after a SUBMIT with attachments (SPEC 7).

        May be called again to send more; the last call has end=True (perhaps with no data). Pieces of less than 1 KiB
        make tiny frames, of which the peer takes only so many in a row (small_data_run). `data` is kept by reference
        and cut into frames when it leaves, as credit allows: do not change it until unsent() says that it has left and
        the transport has taken it. A Source is cut in the same way, and read by nobody here: see take_source().
        Returns False when the stream is over, and when the server has answered an upload:
        then nothing more is wanted, what had not left was dropped. LocalProtocolError for other bytes than announced.
        """
        is_client = self._role is Role.CLIENT
        found = self._sendable(stream, _SEND_DATA if is_client else _SEND_REPLY)
        if found is None:
            return False
        view = _view(data) if isinstance(data, Buffer) else data
        if is_client:
            if not self._upload(found, view.nbytes, end):
                return False
        elif view.nbytes or end:
            found.state = self._next(found, StreamInput.DATA_END if end else StreamInput.DATA)
        if view.nbytes or end:
            self._machine.outbox.data(found, view, end)
        return True

    def _upload(self, stream: Stream, size: int, end: bool) -> bool:
        """Client: the next bytes of attachments are given. False when they are not wanted any more."""
        if stream.upload is None:
            raise LocalProtocolError(
                f"the client sends no DATA on stream {stream.id}: its request has no attachments (SPEC 7)"
            )
        if stream.upload is _ANSWERED:
            return False
        state = UPLOAD[stream.upload].get(UploadInput.DATA_END if end else UploadInput.DATA)
        problem = "END was sent" if state is None else stream.upload_problem(size, end)
        if state is None or problem is not None:
            raise LocalProtocolError(f"DATA cannot be sent: {problem} (SPEC 7)")
        stream.upload = state
        stream.upload_missing -= size
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
        """Server: the request failed; the stream is over. DATA of it that has not left or come is dropped (SPEC 10).

        retry and processed come from the registry unless given; with retry_after_ms, retry is "after". Returns False
        when the stream is over.
        """
        machine = self._machine
        found = self._sendable(stream, _SEND_REPLY)
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
        return self._end_stream(found, machine.encode(Reset(code, error_name(code)), stream))

    def unsent(self, stream: int) -> int:
        """Bytes given to send_data() that data_to_send() has not returned yet; 0 for a stream that is over."""
        found = self._machine.streams.get(stream)
        return 0 if found is None else found.unsent

    @property
    def has_output(self) -> bool:
        """Whether data_to_send() would return something now."""
        return self._machine.outbox.ready

    def data_to_send(self, max_bytes: int = 256 * 1024) -> list[Buffer]:
        """The next buffers to write, in order, none of them empty; [] when there is nothing to send.

        Control frames, replies and lossy frames up to about max_bytes (at least one frame), then at most one DATA
        frame of at most data_chunk bytes: call again when the transport has room. Buffers may be views of what was
        given to send_data(); what is returned here counts as sent.
        """
        return self._machine.outbox.take(max_bytes)

    def take_source(self) -> Source | None:
        """What must follow the buffers of the last data_to_send() at once: a part of a Source that was given to
        send_data(). Whoever gives Sources asks after each data_to_send().
        """
        outbox = self._machine.outbox
        source, outbox.source = outbox.source, None
        return source

    # ------------------------------------------------------------------ helpers

    def _sendable(self, stream: int, happened: Input) -> Stream | None:
        """The open stream to send on; None when it is over."""
        machine = self._machine
        if machine.over:
            return None
        if happened not in machine.inputs:
            who = f"the {self._role.value} in state {machine.state.name}"
            problem = f"{who} sends nothing on streams but requests, attachments, CREDIT and RESET (SPEC 3)"
            raise LocalProtocolError(problem)
        return machine.find(stream)

    def _next(self, stream: Stream, happened: StreamInput) -> StreamState:
        state = stream.table[stream.state].get(happened)
        if state is None:
            problem = f"{happened.name} is not possible on stream {stream.id} in state {stream.state.name} (SPEC 7)"
            raise LocalProtocolError(problem)
        return state

    def _reply(self, stream: Stream, frame: Encoded) -> bool:
        """Queue a frame; when the peer takes nothing and too much waits, the connection fails (SLOW_CONSUMER)."""
        try:
            self._machine.outbox.reply(stream, frame)
        except RemoteProtocolError as error:
            self._machine.fail(error)
            return False
        return True

    def _end_stream(self, stream: Stream, frame: Encoded) -> bool:
        """The stream ends with this frame; what waits and need not be sent is dropped."""
        machine = self._machine
        self._receiving.abandon(stream.id)
        machine.outbox.drop_stream(stream)
        sent = self._reply(stream, frame)
        if sent:
            machine.finish(stream)
        return sent


def _view(data: Buffer) -> memoryview:
    """As bytes; an empty one cannot be cast."""
    return memoryview(data).cast("B") if len(data) else memoryview(b"")
