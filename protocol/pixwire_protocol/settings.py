"""What one side of a connection brings along (SPEC 6): its name, its limits, its features."""

from dataclasses import dataclass

from pixwire_protocol.grease import Grease
from pixwire_protocol.limits import DECLARED, Limits, default, limit_problem
from pixwire_protocol.registry import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a Connection. Constructing checks the limits: ValueError names field, value and range.

    agent       name and version of the program, for the peer's logs; at most 128 bytes
    features    what this side can do beyond the base protocol
    max_frame, stream_window, connection_window  bytes this side accepts (declared to the peer)
    data_chunk  largest DATA frame this side makes; the peer's max_frame may make it smaller
    grease      clients: nonsense to send along so that servers keep ignoring it (grease.make_grease)

    For servers, sent in WELCOME: server_id, epoch, durable, max_streams (enforced here), idle_ms, ping_timeout_ms,
    min_ping_ms (for the keepalive of both sides), max_upload, retain_ms, dedupe_ms (at least retain_ms), stream_rate
    (all four for the program around to enforce); auth: mechanisms of which one is needed (empty: no authentication);
    principal: whose jobs these are, when it is known without AUTH (at most 256 bytes); roles: what else it may do then.
    control_frames, control_bytes, reply_bytes bound what waits to be sent; small_data_run bounds tiny DATA frames.
    """

    agent: str
    features: tuple[str, ...] = FEATURES
    max_frame: int = default("max_frame")
    stream_window: int = default("stream_window")
    connection_window: int = default("connection_window")
    data_chunk: int = default("data_chunk")
    grease: Grease | None = None

    server_id: str = "pixwire"
    epoch: str = "0"
    durable: str = "none"
    max_streams: int = default("max_streams")
    idle_ms: int = default("idle_ms")
    ping_timeout_ms: int = default("ping_timeout_ms")
    min_ping_ms: int = default("min_ping_ms")
    max_upload: int = default("max_upload")
    retain_ms: int = default("retain_ms")
    dedupe_ms: int = default("dedupe_ms")
    stream_rate: int = default("stream_rate")
    auth: tuple[str, ...] = ()
    principal: str | None = None
    roles: tuple[str, ...] = ()

    control_frames: int = default("control_frames")
    control_bytes: int = default("control_bytes")
    reply_bytes: int = default("reply_bytes")
    small_data_run: int = default("small_data_run")

    def __post_init__(self) -> None:
        for name in (*DECLARED, "data_chunk", "control_frames", "control_bytes", "reply_bytes", "small_data_run"):
            problem = limit_problem(name, getattr(self, name))
            if problem is not None:
                raise ValueError(problem)
        if self.dedupe_ms < self.retain_ms:
            raise ValueError(f"dedupe_ms must be at least retain_ms ({self.retain_ms}), not {self.dedupe_ms}")

    @property
    def limits(self) -> Limits:
        """The limits this side declares."""
        return Limits(**{name: getattr(self, name) for name in DECLARED})
