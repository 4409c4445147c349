"""Generated from registry.toml by generate.py (change those, never this file): the numbers of the wire (SPEC 16)."""
# ruff: noqa: E501

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One error code (SPEC 10): its class and what a sender says about retrying unless it knows better."""

    name: str
    error_class: str
    retry: str
    processed: str
    description: str


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """One limit (SPEC 11): default, the range in which it may be declared or set, who declares and who enforces it."""

    name: str
    default: int
    minimum: int
    maximum: int
    unit: str
    declared: str
    enforced: str
    description: str


MAJOR: Final[int] = 1
MAGIC: Final[bytes] = bytes.fromhex("89505857")
PREFACE: Final[bytes] = bytes.fromhex("8950585701010000")
MARKER: Final[int] = 0xC1
HEADER_FORMAT: Final[str] = "!IBBHI"
HEADER_SIZE: Final[int] = 12
PORT: Final[int] = 7499
ALPN: Final[str] = "pxw/1"
SCHEMES: Final[tuple[str, ...]] = ("pixwire", "pixwires", "pixwire+unix")
JOB_ID: Final[str] = "[A-Za-z0-9._-]{1,64}"
HEAD_KEY: Final[str] = "[a-z][a-z0-9_]{0,31}"
ATTACHMENT_NAME: Final[str] = "[a-z][a-z0-9_]{0,31}"
SHA256: Final[str] = "[0-9a-f]{64}"
TRACEPARENT: Final[str] = "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
MAX_STREAM: Final[int] = 0x7FFFFFFF
MAX_CREDIT: Final[int] = 0x7FFFFFFF


class FrameType(IntEnum):
    """Type byte of a frame (SPEC 8, 16). WELCOME, AUTH_OK and PONG are HELLO, AUTH and PING with ACK."""

    HELLO = 0x01
    AUTH = 0x02
    PING = 0x04
    ERROR = 0x05
    GOAWAY = 0x06
    RESET = 0x07
    SUBMIT = 0x10
    STATUS = 0x11
    CANCEL = 0x12
    WATCH = 0x13
    LIST = 0x15
    ADMIN = 0x16
    FETCH = 0x20
    DATA = 0x21
    CREDIT = 0x22
    RESULT = 0x30
    EVENT = 0x31
    PREVIEW = 0x32


class Flag(IntEnum):
    """Bits of the flags byte (SPEC 4). ACK and END are the same bit, on different frame types."""

    ACK = 0x01
    END = 0x01


class ErrorCode(IntEnum):
    """Codes of ERROR, RESET and GOAWAY (SPEC 10, 16)."""

    NO_ERROR = 0x0000
    PROTOCOL_ERROR = 0x0100
    FRAME_TOO_LARGE = 0x0101
    BAD_HEAD = 0x0102
    UNKNOWN_CRITICAL = 0x0103
    FLOW_CONTROL = 0x0104
    STREAM_ID = 0x0105
    VERSION_UNSUPPORTED = 0x0106
    HANDSHAKE_TIMEOUT = 0x0107
    IDLE_TIMEOUT = 0x0108
    EXCESSIVE_LOAD = 0x0109
    SLOW_CONSUMER = 0x010A
    INTERNAL = 0x010B
    AUTH_REQUIRED = 0x0200
    AUTH_FAILED = 0x0201
    AUTH_EXPIRED = 0x0202
    FORBIDDEN = 0x0203
    INVALID_ARGUMENT = 0x0300
    UNKNOWN_FRAME = 0x0301
    JOB_NOT_FOUND = 0x0302
    JOB_CONFLICT = 0x0303
    JOB_EXPIRED = 0x0304
    ARTIFACT_NOT_FOUND = 0x0305
    ARTIFACT_CHANGED = 0x0306
    OFFSET_OUT_OF_RANGE = 0x0307
    UNSUPPORTED = 0x0308
    UPLOAD_STALLED = 0x0309
    QUEUE_FULL = 0x0400
    RATE_LIMITED = 0x0401
    QUOTA_EXCEEDED = 0x0402
    DRAINING = 0x0403
    TOO_MANY_STREAMS = 0x0404
    PAUSED = 0x0405
    CANCELLED = 0x0500
    DEADLINE_EXCEEDED = 0x0501
    WORKER_LOST = 0x0502
    OUT_OF_MEMORY = 0x0503
    CONTENT_REJECTED = 0x0504
    PIPELINE_ERROR = 0x0505


# fmt: off
ERRORS: Final[Mapping[int, ErrorSpec]] = {
    ErrorCode.NO_ERROR: ErrorSpec("NO_ERROR", "none", "no", "yes",
        "Nothing went wrong; in RESET: no longer wanted; in GOAWAY: an orderly goodbye."),
    ErrorCode.PROTOCOL_ERROR: ErrorSpec("PROTOCOL_ERROR", "connection", "no", "maybe",
        "A frame that is not allowed here, or a header that contradicts itself."),
    ErrorCode.FRAME_TOO_LARGE: ErrorSpec("FRAME_TOO_LARGE", "connection", "no", "no",
        "The length field exceeds the receiver's max_frame."),
    ErrorCode.BAD_HEAD: ErrorSpec("BAD_HEAD", "connection", "no", "maybe",
        "The head is not the msgpack map the profile asks for, or a field of a connection-level message is wrong."),
    ErrorCode.UNKNOWN_CRITICAL: ErrorSpec("UNKNOWN_CRITICAL", "connection", "no", "no",
        "crit names a field the receiver does not know."),
    ErrorCode.FLOW_CONTROL: ErrorSpec("FLOW_CONTROL", "connection", "no", "maybe",
        "DATA beyond the credit, CREDIT of 0, or a window above 2^31-1."),
    ErrorCode.STREAM_ID: ErrorSpec("STREAM_ID", "connection", "no", "maybe",
        "A stream id that is even, reused, never opened, or wrong for this frame type."),
    ErrorCode.VERSION_UNSUPPORTED: ErrorSpec("VERSION_UNSUPPORTED", "connection", "no", "no",
        "No common major version; the peer's preface says what it supports."),
    ErrorCode.HANDSHAKE_TIMEOUT: ErrorSpec("HANDSHAKE_TIMEOUT", "connection", "after", "no",
        "The handshake did not finish in time."),
    ErrorCode.IDLE_TIMEOUT: ErrorSpec("IDLE_TIMEOUT", "connection", "same_id", "maybe",
        "Nothing was received for too long, not even a PONG."),
    ErrorCode.EXCESSIVE_LOAD: ErrorSpec("EXCESSIVE_LOAD", "connection", "after", "maybe",
        "The peer causes more work than it takes off: too many control frames unread, too many tiny frames."),
    ErrorCode.SLOW_CONSUMER: ErrorSpec("SLOW_CONSUMER", "connection", "after", "maybe",
        "The peer does not read; its replies piled up beyond the limit."),
    ErrorCode.INTERNAL: ErrorSpec("INTERNAL", "connection", "same_id", "maybe",
        "A defect in the sender of this code."),
    ErrorCode.AUTH_REQUIRED: ErrorSpec("AUTH_REQUIRED", "auth", "no", "no",
        "Say who you are first."),
    ErrorCode.AUTH_FAILED: ErrorSpec("AUTH_FAILED", "auth", "no", "no",
        "The credentials are wrong; do not come back with the same ones."),
    ErrorCode.AUTH_EXPIRED: ErrorSpec("AUTH_EXPIRED", "auth", "same_id", "no",
        "The credentials were right once; get new ones."),
    ErrorCode.FORBIDDEN: ErrorSpec("FORBIDDEN", "auth", "no", "no",
        "Known, but not allowed to do this."),
    ErrorCode.INVALID_ARGUMENT: ErrorSpec("INVALID_ARGUMENT", "request", "no", "no",
        "A field of the request is wrong; details name field, value and what is allowed."),
    ErrorCode.UNKNOWN_FRAME: ErrorSpec("UNKNOWN_FRAME", "request", "no", "no",
        "A frame type the receiver does not know."),
    ErrorCode.JOB_NOT_FOUND: ErrorSpec("JOB_NOT_FOUND", "request", "no", "no",
        "No such job, or not yours."),
    ErrorCode.JOB_CONFLICT: ErrorSpec("JOB_CONFLICT", "request", "no", "no",
        "This job id belongs to a different request."),
    ErrorCode.JOB_EXPIRED: ErrorSpec("JOB_EXPIRED", "request", "no", "yes",
        "The job is over and its results are gone."),
    ErrorCode.ARTIFACT_NOT_FOUND: ErrorSpec("ARTIFACT_NOT_FOUND", "request", "no", "no",
        "The job has no such artifact (yet)."),
    ErrorCode.ARTIFACT_CHANGED: ErrorSpec("ARTIFACT_CHANGED", "request", "no", "no",
        "The etag no longer matches; start again without it."),
    ErrorCode.OFFSET_OUT_OF_RANGE: ErrorSpec("OFFSET_OUT_OF_RANGE", "request", "no", "no",
        "offset lies behind the end of the artifact."),
    ErrorCode.UNSUPPORTED: ErrorSpec("UNSUPPORTED", "request", "no", "no",
        "Understood, but this server cannot do it (kind, content type)."),
    ErrorCode.UPLOAD_STALLED: ErrorSpec("UPLOAD_STALLED", "request", "same_id", "no",
        "The bytes of the attachments stopped coming; nothing was submitted."),
    ErrorCode.QUEUE_FULL: ErrorSpec("QUEUE_FULL", "capacity", "after", "no",
        "No room for another job now."),
    ErrorCode.RATE_LIMITED: ErrorSpec("RATE_LIMITED", "capacity", "after", "no",
        "Too many requests in a short time."),
    ErrorCode.QUOTA_EXCEEDED: ErrorSpec("QUOTA_EXCEEDED", "capacity", "after", "no",
        "Your share is used up."),
    ErrorCode.DRAINING: ErrorSpec("DRAINING", "capacity", "after", "no",
        "The server is shutting down; another one, or the next one, will take it."),
    ErrorCode.TOO_MANY_STREAMS: ErrorSpec("TOO_MANY_STREAMS", "capacity", "after", "no",
        "max_streams are open already; wait for one to end."),
    ErrorCode.PAUSED: ErrorSpec("PAUSED", "capacity", "after", "no",
        "The operator takes no new jobs for now; the message says why."),
    ErrorCode.CANCELLED: ErrorSpec("CANCELLED", "execution", "no", "yes",
        "The job was cancelled."),
    ErrorCode.DEADLINE_EXCEEDED: ErrorSpec("DEADLINE_EXCEEDED", "execution", "no", "yes",
        "The job did not finish, or cannot finish, in the time it was given."),
    ErrorCode.WORKER_LOST: ErrorSpec("WORKER_LOST", "execution", "same_id", "yes",
        "The worker died too often while running this job."),
    ErrorCode.OUT_OF_MEMORY: ErrorSpec("OUT_OF_MEMORY", "execution", "no", "yes",
        "The job does not fit into the device's memory; ask for less."),
    ErrorCode.CONTENT_REJECTED: ErrorSpec("CONTENT_REJECTED", "execution", "no", "yes",
        "The server refuses to produce this content."),
    ErrorCode.PIPELINE_ERROR: ErrorSpec("PIPELINE_ERROR", "execution", "no", "yes",
        "The model pipeline raised an error."),
}

# What an unknown code means: the class of its range.
ERROR_CLASSES: Final[tuple[tuple[int, int, str], ...]] = (
    (0x0000, 0x00FF, "none"),
    (0x0100, 0x01FF, "connection"),
    (0x0200, 0x02FF, "auth"),
    (0x0300, 0x03FF, "request"),
    (0x0400, 0x04FF, "capacity"),
    (0x0500, 0x05FF, "execution"),
    (0xE000, 0xFFFF, "private"),
)

LIMITS: Final[Mapping[str, LimitSpec]] = {
    "max_frame": LimitSpec("max_frame", 262144, 4096, 16777215, "bytes", "both", "connection",
        "Largest length field (head + tail) the declaring side accepts."),
    "stream_window": LimitSpec("stream_window", 262144, 1024, 16777216, "bytes", "both", "connection",
        "DATA bytes that may be under way to the declaring side on one stream."),
    "connection_window": LimitSpec("connection_window", 1048576, 1024, 67108864, "bytes", "both", "connection",
        "DATA bytes that may be under way to the declaring side on the connection."),
    "max_streams": LimitSpec("max_streams", 128, 1, 1024, "streams", "welcome", "connection",
        "Streams a client may have open; one more is answered TOO_MANY_STREAMS."),
    "idle_ms": LimitSpec("idle_ms", 60000, 1000, 3600000, "ms", "welcome", "server",
        "Nothing received for this long, and no answer to a PING: the connection is dead."),
    "ping_timeout_ms": LimitSpec("ping_timeout_ms", 20000, 1000, 600000, "ms", "welcome", "server",
        "How long an idle peer may take to answer the last PING."),
    "min_ping_ms": LimitSpec("min_ping_ms", 5000, 0, 600000, "ms", "welcome", "server",
        "PINGs more frequent than this on average, beyond ping_burst at once, are EXCESSIVE_LOAD."),
    "max_upload": LimitSpec("max_upload", 0, 0, 9007199254740991, "bytes", "welcome", "server",
        "Largest attachment the server takes; 0: it takes none."),
    "retain_ms": LimitSpec("retain_ms", 86400000, 0, 9007199254740991, "ms", "welcome", "server",
        "How long a job that has ended keeps its results."),
    "dedupe_ms": LimitSpec("dedupe_ms", 604800000, 0, 9007199254740991, "ms", "welcome", "server",
        "How long the id of a job that has ended stays known; at least retain_ms."),
    "stream_rate": LimitSpec("stream_rate", 10000, 1, 1000000, "streams/s", "welcome", "server",
        "Streams a client may open per second on average, and at once; beyond it RATE_LIMITED."),
    "handshake_max_frame": LimitSpec("handshake_max_frame", 4096, 4096, 4096, "bytes", "no", "connection",
        "max_frame of both sides until the handshake is done, authentication included."),
    "head_bytes": LimitSpec("head_bytes", 65535, 65535, 65535, "bytes", "no", "connection",
        "Longest head; the field has 16 bits."),
    "data_chunk": LimitSpec("data_chunk", 262144, 1024, 16777215, "bytes", "no", "connection",
        "Largest DATA frame a sender makes (never above the peer's max_frame)."),
    "msgpack_depth": LimitSpec("msgpack_depth", 8, 8, 8, "levels", "no", "connection",
        "Nesting of arrays and maps in a head or params map; the outer map is level 1."),
    "msgpack_entries": LimitSpec("msgpack_entries", 1024, 1024, 1024, "entries", "no", "connection",
        "Entries of one array or map."),
    "msgpack_values": LimitSpec("msgpack_values", 4096, 4096, 4096, "values", "no", "connection",
        "Values in a head or params map in all, keys and containers counted."),
    "msgpack_str": LimitSpec("msgpack_str", 16384, 16384, 16384, "bytes", "no", "connection",
        "Longest string."),
    "msgpack_bin": LimitSpec("msgpack_bin", 1024, 1024, 1024, "bytes", "no", "connection",
        "Longest bin."),
    "control_frames": LimitSpec("control_frames", 1000, 16, 100000, "frames", "no", "connection",
        "Unsent control frames before EXCESSIVE_LOAD."),
    "control_bytes": LimitSpec("control_bytes", 262144, 4096, 16777216, "bytes", "no", "connection",
        "Unsent control bytes before EXCESSIVE_LOAD."),
    "reply_bytes": LimitSpec("reply_bytes", 8388608, 65536, 1073741824, "bytes", "no", "connection",
        "Unsent replies, events and previews before SLOW_CONSUMER."),
    "small_data_run": LimitSpec("small_data_run", 1000, 16, 1000000, "frames", "no", "connection",
        "DATA frames under 1 KiB without END in a row before EXCESSIVE_LOAD."),
    "attachments": LimitSpec("attachments", 8, 8, 8, "attachments", "no", "connection",
        "Attachments of one SUBMIT."),
    "abort_burst": LimitSpec("abort_burst", 1000, 16, 1000000, "streams", "no", "server",
        "RESETs of unanswered streams, and ERRORs for faulty frames, at once before EXCESSIVE_LOAD."),
    "abort_rate": LimitSpec("abort_rate", 100, 1, 1000000, "streams/s", "no", "server",
        "The same per second, on average."),
    "ping_burst": LimitSpec("ping_burst", 200, 10, 1000000, "frames", "no", "server",
        "PINGs at once before EXCESSIVE_LOAD; on average one per min_ping_ms."),
    "credit_burst": LimitSpec("credit_burst", 1000, 16, 1000000, "frames", "no", "server",
        "CREDIT frames at once, of less than credit_mean bytes on average, before EXCESSIVE_LOAD."),
    "credit_rate": LimitSpec("credit_rate", 100, 1, 1000000, "frames/s", "no", "server",
        "The same per second, on average."),
    "credit_mean": LimitSpec("credit_mean", 1024, 1, 1048576, "bytes", "no", "server",
        "CREDIT frames that grant this much on average are never too many."),
    "ignorable_burst": LimitSpec("ignorable_burst", 1000, 16, 1000000, "frames", "no", "server",
        "Frames of unknown types at once before EXCESSIVE_LOAD."),
    "ignorable_rate": LimitSpec("ignorable_rate", 100, 1, 1000000, "frames/s", "no", "server",
        "The same per second, on average."),
    "handshake_ms": LimitSpec("handshake_ms", 10000, 100, 30000, "ms", "no", "server",
        "Time for preface and handshake."),
    "frame_ms": LimitSpec("frame_ms", 30000, 1000, 600000, "ms", "no", "server",
        "Time for a started frame to be complete; then EXCESSIVE_LOAD."),
    "write_stall_ms": LimitSpec("write_stall_ms", 30000, 1000, 600000, "ms", "no", "server",
        "Time without progress while there is something to send; then the connection is cut."),
    "upload_stall_ms": LimitSpec("upload_stall_ms", 30000, 1000, 600000, "ms", "no", "server",
        "Time without a byte while attachments are missing; then UPLOAD_STALLED."),
    "upload_bytes": LimitSpec("upload_bytes", 1073741824, 1, 9007199254740991, "bytes", "no", "server",
        "Announced bytes of all unfinished uploads; beyond it QUOTA_EXCEEDED."),
    "max_connections": LimitSpec("max_connections", 1024, 1, 1000000, "connections", "no", "server",
        "Connections at once; one more is refused with EXCESSIVE_LOAD."),
    "max_connections_per_address": LimitSpec("max_connections_per_address", 64, 1, 1000000, "connections", "no", "server",
        "The same for one address, loopback and Unix sockets excepted."),
    "queue_limit": LimitSpec("queue_limit", 1000, 1, 1000000, "jobs", "no", "server",
        "Jobs that may wait; one more is QUEUE_FULL."),
    "principal_queue_limit": LimitSpec("principal_queue_limit", 1000, 1, 1000000, "jobs", "no", "server",
        "Jobs of one principal that may wait; one more is QUOTA_EXCEEDED."),
    "artifacts": LimitSpec("artifacts", 64, 1, 64, "artifacts", "no", "server",
        "Artifacts of one job."),
    "artifact_bytes": LimitSpec("artifact_bytes", 268435456, 1, 1099511627776, "bytes", "no", "client",
        "Largest artifact a client accepts unless told otherwise."),
    "preview_bytes": LimitSpec("preview_bytes", 262144, 1024, 16777215, "bytes", "no", "server",
        "Largest preview image, head not counted (and the whole frame within max_frame)."),
    "reconnect_min_ms": LimitSpec("reconnect_min_ms", 200, 0, 60000, "ms", "no", "client",
        "Base of the reconnect back-off (full jitter)."),
    "reconnect_max_ms": LimitSpec("reconnect_max_ms", 10000, 0, 600000, "ms", "no", "client",
        "Cap of the reconnect back-off."),
}

FEATURES: Final[tuple[str, ...]] = ("preview",)
MECHANISMS: Final[tuple[str, ...]] = ("bearer",)
# fmt: on
