"""The messages of PXW/1 (SPEC 8): one frozen dataclass each, and the one table that turns them into frames and back.

Fields are the head's fields, with the registry's defaults; `tail` is the raw tail; `body` is the whole head of RESULT
and EVENT, whose maps are described in SPEC 9 (see status.py). Times are milliseconds. Received lists are tuples.

A frame travels like this: Frame (header.py) -> unpack_map (profile.py) -> the class's Codec (codec.py) -> message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.codec import DATA_TYPE as DATA_TYPE
from pixwire_protocol.codec import Codec
from pixwire_protocol.errors import MessageTooLargeError, RemoteProtocolError, error_name
from pixwire_protocol.header import MAX_LENGTH, Buffer, Frame, pack_header
from pixwire_protocol.heads import MESSAGES
from pixwire_protocol.limits import Limits
from pixwire_protocol.profile import Map
from pixwire_protocol.record import record
from pixwire_protocol.registry import ERRORS, ErrorCode, Flag

SMALL_TAIL: Final = 4096
"""Tails up to this many bytes are copied behind their head: one small buffer is cheaper to send than two."""

Encoded = bytes | tuple[bytes, Buffer]
"""A finished frame: one buffer, or, when its tail is large, header and head, and the tail by reference."""


@record
class Hello:
    """The client's first frame (SPEC 6)."""

    agent: str
    features: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)


@record
class Welcome:
    """The server's answer to HELLO: the connection is ready (SPEC 6)."""

    agent: str
    server_id: str
    epoch: str
    features: Sequence[str] = ()
    durable: str = "none"
    limits: Limits = field(default_factory=Limits)
    auth: Sequence[str] = ()
    principal: str | None = None
    roles: Sequence[str] = ()


@record
class Auth:
    """Who the client is, with the proof; also again later (SPEC 6). The token is not shown by repr()."""

    mechanism: str
    token: str

    def __repr__(self) -> str:
        return f"Auth(mechanism={self.mechanism!r}, token=<not shown>)"


@record
class AuthOk:
    """The server's answer to AUTH: whose jobs these are; expires_ms None = no end is known (SPEC 6)."""

    principal: str
    expires_ms: int | None = None
    roles: Sequence[str] = ()


@record
class Ping:
    """Eight opaque bytes; the peer's Connection answers at once (SPEC 12)."""

    payload: bytes


@record
class Pong:
    """The eight bytes of the PING it answers (SPEC 12)."""

    payload: bytes


@record
class Error:
    """The request failed and its stream is over; on stream 0 the connection is over (SPEC 10)."""

    code: int
    name: str = ""
    message: str = ""
    retry: str = "no"
    processed: str = "maybe"
    retry_after_ms: int | None = None
    details: Mapping[str, Any] | None = None


@record
class GoAway:
    """No new streams above last_stream; with an error code the connection ends at once (SPEC 12)."""

    last_stream: int
    code: int
    name: str = ""
    message: str = ""
    grace_ms: int | None = None
    reconnect_after_ms: int | None = None


@record
class Reset:
    """The sender is done with this stream in both directions (SPEC 7)."""

    code: int
    name: str = ""


@record
class Submit:
    """Run this job, or attach to it when the same job was submitted before (SPEC 9). tail = the parameters.

    With attachments their bytes follow as DATA on the same stream (SPEC 7). priority is low, normal or high;
    timeout_ms, queue_ttl_ms and run_timeout_ms are bounds for the whole job, its wait and each of its runs, None = no
    bound; tags are labels to list it by (SPEC 9.6).
    """

    job: str
    kind: str
    tail: Buffer
    ct: str = "application/msgpack"
    watch: bool = False
    want: Sequence[str] = ()
    deliver: bool = False
    attachments: Sequence[Attachment] = ()
    traceparent: str | None = None
    tracestate: str | None = None
    priority: str = "normal"
    timeout_ms: int | None = None
    queue_ttl_ms: int | None = None
    run_timeout_ms: int | None = None
    tags: Sequence[str] = ()


@record
class Status:
    """How is this job doing? (SPEC 9)"""

    job: str


@record
class Cancel:
    """Stop this job if it has not finished (SPEC 9)."""

    job: str
    reason: str = ""


@record
class Watch:
    """Tell me what happens to this job from now on (SPEC 9)."""

    job: str
    after_seq: int = 0
    want: Sequence[str] = ()
    deliver: bool = False


@record
class List:
    """Which models are there, or which jobs are mine? (SPEC 8) what = "models" or "jobs"; the rest is for jobs."""

    what: str
    limit: int = 50
    after: str | None = None
    states: Sequence[str] = ()
    tag: str | None = None


@record
class Admin:
    """See and change what the server does; needs the role admin (SPEC 8.19). admin.py knows the actions."""

    action: str
    job: str | None = None
    principal: str | None = None
    model: str | None = None
    path: str | None = None
    reason: str = ""
    limit: int = 50


@record
class Fetch:
    """Send me an artifact or a part of it (SPEC 9). length None = up to the end; etag None = whatever is there."""

    job: str
    artifact: int = 0
    offset: int = 0
    length: int | None = None
    etag: str | None = None


@record
class Data:
    """Bytes of the artifact announced by the RESULT before, or of the attachments announced by SUBMIT (SPEC 7).

    placed means that tail is the part of the stream's sink (Connection.set_sink) where the bytes were received.
    """

    tail: Buffer
    placed: bool = field(default=False, compare=False)


@record
class Credit:
    """The peer may send n more bytes of DATA, on this stream or (stream 0) on the connection (SPEC 7)."""

    n: int


@record
class Result:
    """The answer to a request: a job status map, a list, or an artifact announced whose DATA follows (SPEC 9)."""

    body: Map


@record
class Event:
    """Something happened to the watched job: body["event"] is "state" (never lost) or "progress" (lossy) (SPEC 9)."""

    body: Map


@record
class Preview:
    """A rough picture of the job so far, lossy (SPEC 9). tail = the image."""

    job: str
    seq: int
    step: int
    steps: int
    media_type: str
    width: int
    height: int
    tail: Buffer


Request = Submit | Status | Cancel | Watch | List | Admin | Fetch
Message = (
    Hello | Welcome | Auth | AuthOk | Ping | Pong | Error | GoAway | Reset
    | Request | Data | Credit | Result | Event | Preview
)  # fmt: skip


_CLASSES: Final[Mapping[str, type]] = {
    "HELLO": Hello,
    "WELCOME": Welcome,
    "AUTH": Auth,
    "AUTH_OK": AuthOk,
    "PING": Ping,
    "PONG": Pong,
    "ERROR": Error,
    "GOAWAY": GoAway,
    "RESET": Reset,
    "SUBMIT": Submit,
    "STATUS": Status,
    "CANCEL": Cancel,
    "WATCH": Watch,
    "LIST": List,
    "ADMIN": Admin,
    "FETCH": Fetch,
    "DATA": Data,
    "CREDIT": Credit,
    "RESULT": Result,
    "EVENT": Event,
    "PREVIEW": Preview,
}
CODECS: Final[Mapping[str, Codec]] = {name: Codec(_CLASSES[name], spec) for name, spec in MESSAGES.items()}
_BY_CLASS: Final[Mapping[type, Codec]] = {codec.cls: codec for codec in CODECS.values()}
_BY_TYPE: Final[Mapping[tuple[int, bool], Codec]] = {(codec.type, bool(codec.ack)): codec for codec in CODECS.values()}
_ACKED: Final = frozenset(codec.type for codec in CODECS.values() if codec.ack)


def encode(message: Message, stream: int = 0, flags: int = 0) -> list[Buffer]:
    """The frame of a message as one or two buffers, none of them empty; a large tail is passed by reference (SPEC 4).

    flags: Flag.END or 0; ACK is set by the class. Raises LocalProtocolError (MessageTooLargeError) for what the wire
    cannot carry. Whether the frame is allowed now is the Connection's business.
    """
    frame = encode_within(message, stream, flags, MAX_LENGTH)
    return [frame] if isinstance(frame, bytes) else list(frame)


def encode_within(message: Message, stream: int, flags: int, limit: int) -> Encoded:
    """encode() for a peer that takes frames of at most `limit` bytes."""
    codec = _BY_CLASS[type(message)]
    head, tail = codec.encode(message)
    tail_size = len(tail) if type(tail) is bytes else memoryview(tail).nbytes
    head_size = len(head)
    length = head_size + tail_size
    if length > limit:
        raise _too_large(codec, length, limit)
    header = pack_header(codec.type, flags | codec.ack, stream, head_size, tail_size)
    if tail_size == 0:
        return header + head
    if tail_size <= SMALL_TAIL:
        return b"".join((header, head, tail))
    return header + head, tail


def size_of(frame: Encoded) -> int:
    """Bytes of a finished frame."""
    return len(frame) if isinstance(frame, bytes) else len(frame[0]) + memoryview(frame[1]).nbytes


def encode_packed(kind: type, head: bytes, stream: int, flags: int, limit: int) -> bytes:
    """The frame of a message without a tail and without ACK, whose head is packed already (packed_map.py). As
    encode_within(), without a look at what is in the head.
    """
    codec = _BY_CLASS[kind]
    if len(head) > limit:
        raise _too_large(codec, len(head), limit)
    return pack_header(codec.type, flags, stream, len(head), 0) + head


def _too_large(codec: Codec, length: int, limit: int) -> MessageTooLargeError:
    problem = f"{codec.spec.name} of {length} bytes exceeds the limit of {limit} (SPEC 11)"
    return MessageTooLargeError(f"{problem}; send less, or have the peer raise max_frame")


def encode_raw(message: Message, head: bytes) -> bytes:
    """A frame on stream 0, of the type of `message`, with another head: what newer versions send, and GREASE."""
    codec = _BY_CLASS[type(message)]
    return pack_header(codec.type, codec.ack, 0, len(head), 0) + head


def decode(frame: Frame) -> Message:
    """The message in a frame (SPEC 8). For tools: Connection does the same after more checks.

    Raises RemoteProtocolError; `stream` is set when only that stream is concerned.
    """
    acked = frame.type in _ACKED and bool(frame.flags & Flag.ACK)
    codec = _BY_TYPE.get((frame.type, acked))
    if codec is None:
        raise RemoteProtocolError(ErrorCode.UNKNOWN_FRAME, f"frame type 0x{frame.type:02X}", frame.stream or None)
    message: Message = codec.decode(bytes(frame.head), frame.tail, frame.stream)
    return message


def error_message(code: int, message: str, **overrides: Any) -> Error:
    """An Error with the registry's name, retry and processed for its code; the message is cut to fit (SPEC 10)."""
    spec = ERRORS.get(code)
    retry, processed = ("no", "maybe") if spec is None else (spec.retry, spec.processed)
    values = {"retry": retry, "processed": processed} | {
        key: item for key, item in overrides.items() if item is not None
    }
    if values.get("retry_after_ms") is not None and "retry" not in overrides:
        values["retry"] = "after"
    return Error(code, error_name(code), clip(message), **values)


def clip(text: str, size: int = 1024) -> str:
    """The text cut to at most `size` bytes of UTF-8, at a character."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= size and raw.decode() == text else raw[:size].decode(errors="ignore")
