"""Generated from registry.toml by generate.py (change those, never this file): the shape of every message (SPEC 8)."""
# ruff: noqa: E501

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a head (SPEC 8). minimum and maximum: value of an int, bytes of a str, entries of a list.

    pattern, choices: the form, the only values; of a list: of its entries. distinct: no entry of a list twice.
    secret: never to be shown.
    """

    name: str
    type: str
    required: bool = False
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    item_minimum: int | None = None
    item_maximum: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    distinct: bool = False
    secret: bool = False


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
        FieldSpec("auth", "list[str]", default=(), maximum=8, item_maximum=32),
        FieldSpec("principal", "str", minimum=1, maximum=256),
        FieldSpec("roles", "list[str]", default=(), maximum=8, item_maximum=32),
    )),
    "AUTH": MessageSpec("AUTH", 0x02, False, "client", "zero", "never", "map", "none", "connection", False, (
        FieldSpec("mechanism", "str", required=True, minimum=1, maximum=32),
        FieldSpec("token", "str", required=True, minimum=1, maximum=3072, secret=True),
    )),
    "AUTH_OK": MessageSpec("AUTH_OK", 0x02, True, "server", "zero", "never", "map", "none", "connection", False, (
        FieldSpec("principal", "str", required=True, minimum=1, maximum=256),
        FieldSpec("expires_ms", "int", minimum=0, maximum=9007199254740991),
        FieldSpec("roles", "list[str]", default=(), maximum=8, item_maximum=32),
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
    "SUBMIT": MessageSpec("SUBMIT", 0x10, False, "client", "new", "request", "map", "params", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("kind", "str", required=True, minimum=1, maximum=64),
        FieldSpec("ct", "str", default="application/msgpack", maximum=64),
        FieldSpec("watch", "bool", default=False),
        FieldSpec("want", "list[str]", default=(), maximum=16, item_maximum=32),
        FieldSpec("deliver", "bool", default=False),
        FieldSpec("attachments", "list[attachment]", default=(), maximum=8),
        FieldSpec("traceparent", "str", minimum=55, maximum=55, pattern="traceparent"),
        FieldSpec("tracestate", "str", maximum=512),
        FieldSpec("priority", "str", default="normal", maximum=16, choices=("low", "normal", "high")),
        FieldSpec("timeout_ms", "int", minimum=1, maximum=2147483647),
        FieldSpec("queue_ttl_ms", "int", minimum=1, maximum=2147483647),
        FieldSpec("run_timeout_ms", "int", minimum=1, maximum=2147483647),
        FieldSpec("tags", "list[str]", default=(), maximum=8, item_minimum=1, item_maximum=64, pattern="tag", distinct=True),
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
    "LIST": MessageSpec("LIST", 0x15, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("what", "str", required=True, maximum=32, choices=("models", "jobs")),
        FieldSpec("limit", "int", default=50, minimum=1, maximum=100),
        FieldSpec("after", "str", maximum=128),
        FieldSpec("states", "list[str]", default=(), maximum=16, item_maximum=16, choices=("queued", "running", "succeeded", "failed", "cancelled", "expired")),
        FieldSpec("tag", "str", minimum=1, maximum=64, pattern="tag"),
    )),
    "ADMIN": MessageSpec("ADMIN", 0x16, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("action", "str", required=True, maximum=32, choices=("overview", "pause", "resume", "drain", "cancel", "requeue", "load", "unload", "add_model", "remove_model")),
        FieldSpec("job", "str", minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("principal", "str", minimum=1, maximum=256),
        FieldSpec("model", "str", minimum=1, maximum=256),
        FieldSpec("path", "str", minimum=1, maximum=4096),
        FieldSpec("reason", "str", default="", maximum=256),
        FieldSpec("limit", "int", default=50, minimum=1, maximum=1000),
    )),
    "FETCH": MessageSpec("FETCH", 0x20, False, "client", "new", "required", "map", "none", "stream", False, (
        FieldSpec("job", "str", required=True, minimum=1, maximum=64, pattern="job_id"),
        FieldSpec("artifact", "int", default=0, minimum=0, maximum=63),
        FieldSpec("offset", "int", default=0, minimum=0, maximum=9223372036854775807),
        FieldSpec("length", "int", minimum=0, maximum=9223372036854775807),
        FieldSpec("etag", "str", minimum=1, maximum=128),
    )),
    "DATA": MessageSpec("DATA", 0x21, False, "both", "open", "optional", "none", "data", "connection", False, ()),
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

# Fields of the maps inside list fields: a field of type list[attachment] has maps of ITEMS["attachment"].
ITEMS: Final[Mapping[str, tuple[FieldSpec, ...]]] = {
    "attachment": (
        FieldSpec("name", "str", required=True, minimum=1, maximum=32, pattern="attachment_name"),
        FieldSpec("size", "int", required=True, minimum=1, maximum=9007199254740991),
        FieldSpec("sha256", "str", required=True, minimum=64, maximum=64, pattern="sha256"),
        FieldSpec("media_type", "str", required=True, minimum=1, maximum=64),
    ),
}

# Names of the fields in the maps of RESULT and EVENT.
BODIES: Final[Mapping[str, tuple[str, ...]]] = {
    "status": (
        "job", "kind", "state", "seq", "attempt", "step", "steps", "seed",
        "queue_position", "artifacts", "error", "timings", "engine", "params", "attachments", "traceparent",
        "retain_ms", "priority", "tags", "eta_ms", "deadline_ms", "timesteps", "duplicate", "event",
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
        "job", "seq", "event", "attempt", "step", "steps", "timesteps",
    ),
    "list": (
        "what", "models", "jobs", "next",
    ),
    "model": (
        "name", "default", "pipeline", "kinds", "attachments", "defaults", "limits", "media_types",
        "state", "bytes", "adapters", "pinned", "device", "dtype", "message",
    ),
    "model_defaults": (
        "steps", "guidance_scale", "width", "height", "strength",
    ),
    "model_limits": (
        "size_multiple", "max_width", "max_height", "max_steps", "max_count",
    ),
    "summary": (
        "job", "kind", "state", "seq", "step", "steps", "artifacts", "age_ms",
        "priority", "tags", "model",
    ),
    "admin": (
        "paused", "draining", "cancelled", "job", "model",
    ),
    "overview": (
        "paused", "reason", "draining", "uptime_ms", "connections", "queue", "running", "waiting",
        "failed", "engine", "models", "principals", "cost",
    ),
    "overview_queue": (
        "high", "normal", "low", "oldest_ms", "limit",
    ),
    "overview_job": (
        "job", "principal", "kind", "model", "state", "priority", "step", "steps",
        "age_ms", "eta_ms", "pass", "tags",
    ),
    "overview_failed": (
        "job", "principal", "kind", "model", "state", "error", "message", "ended_ms",
        "tags",
    ),
    "overview_engine": (
        "state", "restarts", "resident", "parked", "passes", "rows", "step_ms", "images_per_minute",
    ),
    "overview_model": (
        "name", "state", "bytes",
    ),
    "overview_principal": (
        "principal", "queued", "running",
    ),
    "overview_cost": (
        "error_p50", "error_p90", "slack",
    ),
}
# fmt: on
