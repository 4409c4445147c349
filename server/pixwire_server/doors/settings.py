"""What a PXW door is told by the application, and what each of its connections is made of. Durations are seconds."""

from dataclasses import dataclass

from pixwire_protocol.connection import Connection, Role, Settings
from pixwire_protocol.keepalive import Keepalive
from pixwire_protocol.registry import LIMITS


def _seconds(limit: str) -> float:
    return LIMITS[limit].default / 1000


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits and timeouts of every connection (SPEC 11), and the identity told in WELCOME (SPEC 6).

    `server_id` names the data directory (it outlives restarts), `epoch` this start of the server.
    """

    agent: str
    server_id: str
    epoch: str
    max_connections: int = 1024
    max_streams: int = LIMITS["max_streams"].default
    handshake_timeout_s: float = _seconds("handshake_ms")
    frame_timeout_s: float = _seconds("frame_ms")
    """How long a frame may take from its first byte to its last."""
    idle_timeout_s: float = _seconds("idle_ms")
    ping_timeout_s: float = _seconds("ping_timeout_ms")
    write_stall_s: float = _seconds("write_stall_ms")
    linger_s: float = 2.0
    """How long a connection that has said its last word waits for the peer to read it."""

    def make_connection(self) -> Connection:
        """The protocol's side of one accepted connection."""
        settings = Settings(
            agent=self.agent,
            server_id=self.server_id,
            epoch=self.epoch,
            durable="disk",
            max_streams=self.max_streams,
            idle_ms=round(self.idle_timeout_s * 1000),
            ping_timeout_ms=round(self.ping_timeout_s * 1000),
        )
        return Connection(Role.SERVER, settings)

    def make_keepalive(self, now: float) -> Keepalive:
        """The clock of one connection accepted `now`."""
        limits = Settings(
            agent=self.agent,
            idle_ms=round(self.idle_timeout_s * 1000),
            ping_timeout_ms=round(self.ping_timeout_s * 1000),
        ).limits
        return Keepalive(limits, now, handshake_ms=round(self.handshake_timeout_s * 1000))
