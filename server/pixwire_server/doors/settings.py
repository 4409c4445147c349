"""What a PXW door is told by the application, and what each of its connections is made of. Durations are seconds."""

from dataclasses import dataclass

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.limits import Limits
from pixwire_protocol.registry import LIMITS
from pixwire_server.doors.auth import Guard, Identity


def _seconds(limit: str) -> float:
    return LIMITS[limit].default / 1000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits and timeouts of every connection (SPEC 11), and the identity told in WELCOME (SPEC 6).

    `server_id` names the data directory (it outlives restarts), `epoch` this start of the server.
    """

    agent: str
    server_id: str
    epoch: str
    max_connections: int = LIMITS["max_connections"].default
    max_connections_per_address: int = LIMITS["max_connections_per_address"].default
    spare_loopback: bool = True
    """Whether connections from this machine count for no address."""
    max_streams: int = LIMITS["max_streams"].default
    stream_rate: int = LIMITS["stream_rate"].default
    max_upload: int = LIMITS["max_upload"].default
    """Bytes of one attachment; 0: none is taken."""
    retain_s: float = _seconds("retain_ms")
    dedupe_s: float = _seconds("dedupe_ms")
    handshake_timeout_s: float = _seconds("handshake_ms")
    """For everything before the first request: TLS, preface, HELLO, AUTH."""
    frame_timeout_s: float = _seconds("frame_ms")
    """How long a frame may take from its first byte to its last."""
    idle_timeout_s: float = _seconds("idle_ms")
    ping_timeout_s: float = _seconds("ping_timeout_ms")
    min_ping_s: float = _seconds("min_ping_ms")
    """How far apart PINGs of a client are to be, on average."""
    write_stall_s: float = _seconds("write_stall_ms")
    upload_stall_s: float = _seconds("upload_stall_ms")
    admins: frozenset[str] = frozenset()
    """Principals that have the role admin, once a token or a certificate has proved that they are it."""
    linger_s: float = 2.0
    """How long a connection that has said its last word waits for the peer to read it."""

    @property
    def limits(self) -> Limits:
        """What WELCOME declares."""
        return self._settings().limits

    def make_connection(self, guard: Guard, scratch: memoryview | None = None) -> Connection:
        """The protocol's side of one accepted connection whose client is known, or is not, as `guard` says."""
        return Connection(Role.SERVER, self._settings(guard.mechanisms, guard.identity), scratch)

    def make_keepalive(self, now: float) -> Keepalive:
        """The clock of one connection accepted `now`."""
        return Keepalive(self.limits, now, handshake_ms=_ms(self.handshake_timeout_s))

    def _settings(self, auth: tuple[str, ...] = (), identity: Identity | None = None) -> Settings:
        return Settings(
            agent=self.agent,
            server_id=self.server_id,
            epoch=self.epoch,
            durable="disk",
            max_streams=self.max_streams,
            stream_rate=self.stream_rate,
            max_upload=self.max_upload,
            retain_ms=_ms(self.retain_s),
            dedupe_ms=_ms(self.dedupe_s),
            idle_ms=_ms(self.idle_timeout_s),
            ping_timeout_ms=_ms(self.ping_timeout_s),
            min_ping_ms=_ms(self.min_ping_s),
            auth=auth,
            principal=None if identity is None else identity.principal,
            roles=() if identity is None else identity.roles,
        )
