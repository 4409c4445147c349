"""Generated from registry.toml by generate.py (change those, never this file): the shape of every message (SPEC 8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a head (SPEC 8). minimum and maximum: value of an int, bytes of a str, entries of a list."""

    name: str
    type: str
    required: bool = False
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    item_maximum: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One message (SPEC 8): who may send it, where, and what it consists of (words: see registry.toml)."""

    name: str
    type: int
    ack: bool
    sender: str
    stream: str
    end: str
    head: str
    tail: str
    fault: str
    body: bool
    fields: tuple[FieldSpec, ...]


# fmt: off
MESSAGES: Final[Mapping[str, MessageSpec]] = {
    "HELLO": MessageSpec("HELLO", 0x01, False, "client", "zero", "never", "map", "none", "connection", False, (
        FieldSpec("agent", "str", required=True, maximum=128),
        FieldSpec("features", "list[str]", default=(), maximum=64, item_maximum=64),
        FieldSpec("limits", "limits"),
    )),
    "WELCOME": MessageSpec("WELCOME", 0x01, True, "server", "zero", "never", "map", "none", "connection", False, (
        FieldSpec("agent", "str", required=True, maximum=128),
        FieldSpec("server_id", "str", required=True, maximum=64),
        FieldSpec("epoch", "str", required=True, maximum=64),
        FieldSpec("features", "list[str]", default=(), maximum=64, item_maximum=64),
        FieldSpec("durable", "str", default="none", maximum=32),
        FieldSpec("limits", "limits"),
    )),
    "PING": MessageSpec("PING", 0x04, False, "both", "zero", "never", "none", "eight", "connection", False, ()),
    "PONG": MessageSpec("PONG", 0x04, True, "both", "zero", "never", "none", "eight", "connection", False, ()),
    "ERROR": MessageSpec("ERROR", 0x05, False, "both", "any", "stream", "map", "none", "connection", False, (
        FieldSpec("code", "int", required=True, minimum=0, maximum=65535),
        FieldSpec("name", "str", default="", maximum=64),
        FieldSpec("message", "str", default="", maximum=1024),
        FieldSpec("retry", "str", default="no", maximum=16),
        FieldSpec("processed", "str", default="maybe", maximum=16),
        FieldSpec("retry_after_ms", "int", minimum=0, maximum=2147483647),
        FieldSpec("details", "map"),
    )),
    "GOAWAY": MessageSpec("GOAWAY", 0x06, False, "both", "zero", "never", "map", "none", "connection", False, (
        FieldSpec("last_stream", "int", required=True, minimum=0, maximum=2147483647),
        FieldSpec("code", "int", required=True, minimum=0, maximum=65535),
        FieldSpec("name", "str", default="", maximum=64),
        FieldSpec("message", "str", default="", maximum=1024),
        FieldSpec("grace_ms", "int", minimum=0, maximum=2147483647),
        FieldSpec("reconnect_after_ms", "int", minimum=0, maximum=2147483647),
    )),
    "RESET": MessageSpec("RESET", 0x07, False, "both", "open", "never", "map", "none", "connection", False, (
        FieldSpec("code", "int", required=True, minimum=0, maximum=65535),
        FieldSpec("name", "str", default="", maximum=64),
    )),
    "SUBMIT": MessageSpec("SUBMIT", 0x10, False, "client", "new", "required", "map", "params", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("kind", "str", required=True, minimum=1, maximum=64),
        FieldSpec("ct", "str", default="application/msgpack", maximum=64),
        FieldSpec("watch", "bool", default=False),
        FieldSpec("want", "list[str]", default=(), maximum=16, item_maximum=32),
        FieldSpec("deliver", "bool", default=False),
    )),
    "STATUS": MessageSpec("STATUS", 0x11, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
    )),
    "CANCEL": MessageSpec("CANCEL", 0x12, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("reason", "str", default="", maximum=256),
    )),
    "WATCH": MessageSpec("WATCH", 0x13, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("after_seq", "int", default=0, minimum=0, maximum=9223372036854775807),
        FieldSpec("want", "list[str]", default=(), maximum=16, item_maximum=32),
        FieldSpec("deliver", "bool", default=False),
    )),
    "FETCH": MessageSpec("FETCH", 0x20, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("artifact", "int", default=0, minimum=0, maximum=63),
        FieldSpec("offset", "int", default=0, minimum=0, maximum=9223372036854775807),
        FieldSpec("length", "int", minimum=0, maximum=9223372036854775807),
        FieldSpec("etag", "str", minimum=1, maximum=128),
    )),
    "DATA": MessageSpec("DATA", 0x21, False, "server", "open", "optional", "none", "data", "connection", False, ()),
    "CREDIT": MessageSpec("CREDIT", 0x22, False, "both", "any", "never", "map", "none", "connection", False, (
        FieldSpec("n", "int", required=True),
    )),
    "RESULT": MessageSpec("RESULT", 0x30, False, "server", "open", "optional", "map", "none", "connection", True, ()),
    "EVENT": MessageSpec("EVENT", 0x31, False, "server", "open", "optional", "map", "none", "connection", True, ()),
    "PREVIEW": MessageSpec("PREVIEW", 0x32, False, "server", "open", "never", "map", "image", "connection", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("seq", "int", required=True, minimum=0, maximum=9223372036854775807),
        FieldSpec("step", "int", required=True, minimum=0, maximum=1000000),
        FieldSpec("steps", "int", required=True, minimum=0, maximum=1000000),
        FieldSpec("media_type", "str", required=True, minimum=1, maximum=64),
        FieldSpec("width", "int", required=True, minimum=1, maximum=65535),
        FieldSpec("height", "int", required=True, minimum=1, maximum=65535),
    )),
}

# Names of the fields in the maps of RESULT and EVENT.
BODIES: Final[Mapping[str, tuple[str, ...]]] = {
    "status": (
        "job", "kind", "state", "seq", "attempt", "step", "steps", "seed",
        "queue_position", "artifacts", "error", "timings", "engine", "params", "duplicate", "event",
    ),
    "artifact": (
        "artifact", "etag", "size", "media_type", "width", "height", "seed",
    ),
    "error": (
        "code", "name", "message", "retry",
    ),
    "announcement": (
        "job", "artifact", "etag", "size", "offset", "length", "media_type", "width",
        "height", "seed",
    ),
    "progress": (
        "job", "seq", "event", "attempt", "step", "steps",
    ),
}
# fmt: on
