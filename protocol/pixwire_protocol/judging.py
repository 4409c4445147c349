"""Whether a frame may come now, judged by its header (SPEC 3, 4, 7): shape, state, stream, credit, in this order.

Before a byte of the body is stored it is known whether the frame is allowed and where its body goes. What a complete
frame does is receiving.py's business. Anything the peer did wrong is a RemoteProtocolError.
"""

from collections.abc import Mapping
from typing import Any, Final

from pixwire_protocol.errors import RemoteProtocolError, error_name
from pixwire_protocol.incoming import Incoming, Received
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import Reset
from pixwire_protocol.messages import error_message as make_error
from pixwire_protocol.parser import SKIP, Place
from pixwire_protocol.registry import HEADER_SIZE, MAX_STREAM, ErrorCode, Flag
from pixwire_protocol.rules import EXTENSIONS, KNOWN_TYPES, RULES, Rule
from pixwire_protocol.states import UPLOAD, Input, Role, State, StreamState, UploadInput, UploadState
from pixwire_protocol.streams import Stream

# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED
_ANSWERED: Final = UploadState.ANSWERED
_RECV_STREAM: Final = Input.RECV_STREAM
_RECV_REQUEST: Final = Input.RECV_REQUEST

SMALL_DATA: Final = 1024
"""DATA below this, without END, counts towards small_data_run."""


class Judging:
    """The header's half of Receiving. Remembers the frame whose body is under way."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_server = machine.role is Role.SERVER
        self._rules = RULES[machine.role]
        self.events: list[Incoming] = []
        # The frame whose body is under way:
        self._rule: Rule = next(iter(self._rules.values()))
        self._stream = 0
        self._next_state = State.START
        self._next_stream_state = StreamState.OPEN
        self._next_upload = UploadState.SENDING
        self._small_run = 0
        self._small = min(SMALL_DATA, (machine.settings.stream_window + 3) // 4)

    def on_header(self, frame_type: int, flags: int, head_size: int, stream: int, length: int) -> Place:
        """What the parser asks for every header: None (collect the body), SKIP, or the place for it."""
        if stream > MAX_STREAM:
            raise RemoteProtocolError(ErrorCode.STREAM_ID, f"stream id 0x{stream:08X} has its top bit set (SPEC 4)")
        rule = self._rules.get(frame_type << 8 | flags)  # rule_key()
        if rule is None:
            return self._on_unknown(frame_type, flags, stream)
        tail_size = rule.tail_size
        if rule.has_head is not (head_size > 0) or (tail_size is not None and length - head_size != tail_size):
            raise _wrong_shape(rule, head_size, length)
        happened = rule.on_stream if stream else rule.on_zero
        if happened is None:
            raise _wrong_place(rule, stream)
        state = self._machine.inputs.get(happened)
        if state is None:
            raise self._not_now(rule.codec.spec.name)
        self._rule = rule
        self._stream = stream
        self._next_state = state
        if happened is _RECV_STREAM:
            return self._on_stream_header(rule, stream, length)
        if happened is _RECV_REQUEST:
            return self._on_request_header(stream)
        return None

    def _not_now(self, what: str) -> RemoteProtocolError:
        """The connection's state does not allow it."""
        state = self._machine.state
        if self._is_server and state is State.AUTHENTICATING:
            return RemoteProtocolError(ErrorCode.AUTH_REQUIRED, f"{what} before AUTH was answered (SPEC 6)")
        return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{what} is not allowed in state {state.name} (SPEC 3)")

    # ------------------------------------------------------------------ requests

    def _on_request_header(self, stream: int) -> Place:
        """Server: a new stream, if its id is right; refused at once when there is no room for it."""
        machine = self._machine
        if not stream & 1 or stream <= machine.last_stream:
            problem = f"stream {stream} cannot be opened: ids are odd and rise, the last was {machine.last_stream}"
            raise RemoteProtocolError(ErrorCode.STREAM_ID, problem)
        machine.counts.opens += 1
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

    # ------------------------------------------------------------------ streams

    def _on_stream_header(self, rule: Rule, stream: int, length: int) -> Place:
        found = self._machine.streams.get(stream)
        # A server's stream takes CREDIT and RESET until its last frame has left; while DATA wait it has not ended.
        if found is None or (found.state is _CLOSED and (not self._is_server or (rule.is_data and not found.bulk))):
            return self._on_late_header(rule, stream, length)
        if rule.stream_input is None:
            return None
        if self._is_server:
            return self._on_upload_header(rule, found, length) if rule.is_data else None
        state = found.table[found.state].get(rule.stream_input)
        if state is None:
            problem = f"{rule.stream_input.name} is not allowed on stream {stream} in state {found.state.name} (SPEC 7)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        self._next_stream_state = state
        return self._on_data_header(rule, found, length) if rule.is_data else None

    def _on_late_header(self, rule: Rule, stream: int, length: int) -> Place:
        """A frame on a stream that is over, or DATA of an upload that was answered: it is thrown away."""
        machine = self._machine
        self._check_opened(stream)
        if rule.is_data:
            # It was under way and is paid for: take the credit and give it back.
            machine.window.receive(length, "the connection")
            self._count_small(length, rule.end)
            credit = machine.window.consume(length)
            if credit:
                machine.outbox.credit(0, credit)
        elif self._is_server and rule.on_zero is Input.RECV_CREDIT:
            machine.counts.credits += 1
        return SKIP

    def _on_upload_header(self, rule: Rule, stream: Stream, length: int) -> Place:
        """Server: bytes of attachments."""
        if stream.upload is _ANSWERED:
            return self._on_late_header(rule, stream.id, length)
        happened = UploadInput.DATA_END if rule.end else UploadInput.DATA
        state = None if stream.upload is None else UPLOAD[stream.upload].get(happened)
        if state is None:
            problem = f"DATA on stream {stream.id}, where no bytes of attachments are missing (SPEC 7)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        place = self._on_data_header(rule, stream, length)
        problem = stream.upload_problem(length, rule.end) or ""
        if problem:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{problem} (SPEC 7)")
        self._next_upload = state
        stream.upload_missing -= length
        return place

    def _on_data_header(self, rule: Rule, stream: Stream, length: int) -> Place:
        stream.to_receive().receive(length, "the stream")
        self._machine.window.receive(length, "the connection")
        if length == 0 and not rule.end:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "DATA without bytes and without END (SPEC 8)")
        self._count_small(length, rule.end)
        sink = stream.sink
        if sink is None or len(sink) < length:
            return None
        return sink[: length + HEADER_SIZE]

    def _count_small(self, length: int, end: bool) -> None:
        if end or length >= self._small:
            self._small_run = 0
            return
        self._small_run += 1
        if self._small_run > self._machine.settings.small_data_run:
            problem = f"{self._small_run} DATA frames under {self._small} bytes in a row (SPEC 14)"
            raise RemoteProtocolError(ErrorCode.EXCESSIVE_LOAD, problem)

    # ------------------------------------------------------------------ unknown types

    def _on_unknown(self, frame_type: int, flags: int, stream: int) -> Place:
        """A pair of type and flags that is in no rule."""
        name = KNOWN_TYPES.get(frame_type)
        if name is not None:
            problem = f"{name} with flags 0x{flags:02X} is not what a {self._peer_name} may send (SPEC 4, 8)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        if Input.RECV_EXTENSION not in self._machine.inputs:
            raise self._not_now(f"frame type 0x{frame_type:02X}")
        if frame_type in EXTENSIONS:
            self._machine.counts.ignorable += 1
            return SKIP
        self._machine.counts.unknown += 1
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
            machine.counts.opens += 1
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
        self._machine.counts.aborts += 1
        self._machine.control(make_error(code, problem, processed="no", details=details), stream, Flag.END)

    def _on_stream_fault(self, error: RemoteProtocolError, answer: bool = True) -> None:
        """Something is wrong with an open stream, and only with it: it ends for both sides."""
        machine = self._machine
        stream = error.stream or 0
        found = machine.streams.get(stream)
        if found is None or (found.state is _CLOSED and not found.bulk):
            return  # ended while the frame was coming in, or all its frames are on their way
        if self._is_server:
            machine.counts.aborts += 1
            frame = make_error(error.code, error.message, details=error.details, processed=_processed(found))
            answered = machine.encode(frame, stream, Flag.END)
            self.events.append(Received(stream, Reset(error.code, error_name(error.code)), True))
        else:
            answered = machine.encode(Reset(error.code, error_name(error.code)), stream)
            self.events.append(Received(stream, make_error(error.code, error.message, details=error.details), True))
        machine.outbox.drop_stream(found)
        if answer:  # ERROR and RESET are not, lest two sides go on for ever
            machine.outbox.reply(found, answered)
        machine.finish(found)

    @property
    def _peer_name(self) -> str:
        return "client" if self._is_server else "server"


def _processed(stream: Stream) -> str:
    """What the server knows of the request of a stream that goes wrong."""
    if stream.upload is UploadState.SENDING:
        return "no"  # nothing is submitted before the last byte
    # The application has the request already, and once it has answered, the request had its effect.
    return "maybe" if stream.state is StreamState.OPEN else "yes"


def _wrong_place(rule: Rule, stream: int) -> RemoteProtocolError:
    """This message is not for stream 0, or for no other (SPEC 4)."""
    flag = f" with{'' if rule.end else 'out'} END" if rule.codec.spec.end == "stream" else ""
    problem = f"{rule.codec.spec.name}{flag} is not allowed on stream {stream} (SPEC 4)"
    return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)


def _wrong_shape(rule: Rule, head_size: int, length: int) -> RemoteProtocolError:
    """Head or tail are not where this message has them (SPEC 8)."""
    name = rule.codec.spec.name
    if rule.has_head and head_size == 0:
        return RemoteProtocolError(ErrorCode.BAD_HEAD, f"{name} without a head (SPEC 8)")
    if not rule.has_head and head_size:
        return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, f"{name} with a head of {head_size} bytes (SPEC 8)")
    problem = f"{name} with a tail of {length - head_size} bytes instead of {rule.tail_size} (SPEC 8)"
    return RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
