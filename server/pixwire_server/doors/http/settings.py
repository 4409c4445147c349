"""What the HTTP door is told by the application. Durations are seconds, sizes bytes."""

from dataclasses import dataclass

from pixwire_protocol.registry import LIMITS

MIB = 1 << 20


def _seconds(limit: str) -> float:
    return LIMITS[limit].default / 1000


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits and timeouts; where PXW has the same one, the same value holds (SPEC 11)."""

    link_secret: bytes
    """Signs links to images; the same after a restart, so that they outlive it."""
    max_connections: int = LIMITS["max_connections"].default
    max_connections_per_address: int = LIMITS["max_connections_per_address"].default
    max_upload: int = LIMITS["max_upload"].default
    """One file of a request; 0: none is taken."""
    upload_bytes: int = LIMITS["upload_bytes"].default
    """All files of all requests that are being read."""
    head_timeout_s: float = _seconds("handshake_ms")
    """From the first byte of a request (or of a connection) to the end of its header fields; also for TLS."""
    body_stall_s: float = _seconds("upload_stall_ms")
    """A body that was announced and of which nothing comes."""
    write_stall_s: float = _seconds("write_stall_ms")
    """A client that reads nothing of its answer."""
    idle_timeout_s: float = _seconds("idle_ms")
    """A connection on which no request comes."""
    admins: frozenset[str] = frozenset()
    """Principals that have the role admin, once a token or a certificate has proved that they are it."""
    max_head: int = 32 << 10
    """Request line and header fields."""
    max_json: int = MIB
    """A body of JSON; also the fields of a form."""
    beat_s: float = 15.0
    """How often an event stream on which nothing happens says that it is there."""
    link_s: float = 3600.0
    """How long a link to an image is good."""
