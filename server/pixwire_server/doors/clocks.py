"""Every deadline of one connection but those of its streams (SPEC 11, 12).

Pure: the time is an argument, in seconds.
"""

from enum import Enum
from typing import Final

from pixwire_protocol.keepalive import Keepalive
from pixwire_server.doors.settings import DoorSettings


class Due(Enum):
    """What a connection is to do now."""

    CUT = "the time for its last words is over"
    STALLED = "it reads nothing"
    FRAME = "a frame took too long"
    PING = "ask whether it lives"
    HANDSHAKE = "the handshake took too long"
    DEAD = "nothing was received, not even a PONG"
    GOODBYE = "tell it the last stream although it has not answered"
    CREDENTIALS = "look whether its credentials are still good"


CREDENTIALS_EVERY_S: Final = 600.0
"""Credentials expire by the wall clock, which may be set: look at it this often even when there is time left."""


class Clocks:
    """When something is due, and what. Ask `next_deadline`, call `poll` then; earlier calls do no harm."""

    __slots__ = (
        "_ended_by",
        "_frame_since",
        "_frame_time",
        "_goodbye",
        "_keepalive",
        "_look",
        "_paused_at",
        "_paused_size",
        "_ready",
        "_stall",
        "paused",
    )

    def __init__(self, settings: DoorSettings, arrived: float) -> None:
        self._keepalive: Keepalive = settings.make_keepalive(arrived)
        self._frame_time = settings.frame_timeout_s
        self._stall = settings.write_stall_s
        self._ready = False
        self._frame_since: float | None = None  # a frame is begun and not complete
        self.paused = False
        """Whether the transport takes no more."""
        self._paused_at: float | None = None
        self._paused_size = 0
        self._goodbye: float | None = None
        self._look: float | None = None  # at the credentials
        self._ended_by: float | None = None

    # ------------------------------------------------------------------ what happens

    def on_receive(self, now: float, *, mid_frame: bool, completed: bool) -> bool:
        """Bytes came. `mid_frame`: they end within a frame; `completed`: some frame became whole.

        True when a new deadline has come up.
        """
        self._keepalive.on_receive(now)
        if not mid_frame:
            self._frame_since = None
            return False
        if self._frame_since is None or completed:
            self._frame_since = now
            return True
        return False

    def on_ready(self, now: float) -> None:
        """Handshake and authentication are done."""
        self._ready = True
        self._keepalive.on_ready(now)

    def on_pause(self, now: float, waiting: int) -> None:
        """The transport takes no more; `waiting` bytes are in it."""
        self.paused = True
        self._paused_at, self._paused_size = now, waiting

    def on_resume(self) -> None:
        """The transport has taken everything."""
        self.paused = False
        self._paused_at = None

    def say_goodbye_by(self, at: float | None) -> None:
        """GOODBYE is due then; None: it was said."""
        self._goodbye = at

    def watch_credentials(self, now: float, left_s: float | None) -> None:
        """CREDENTIALS is due when they expire, or some time before; None: they do not."""
        self._look = None if left_s is None else now + min(max(left_s, 0.0), CREDENTIALS_EVERY_S)

    def end_by(self, at: float) -> None:
        """The end has begun: CUT is due then, and nothing else matters any more."""
        self._ended_by = at

    # ------------------------------------------------------------------ what is due

    def next_deadline(self, now: float) -> float:
        """When to call `poll`; may lie in the past."""
        if self._ended_by is not None:
            return self._ended_by
        deadline = self._keepalive.next_deadline(now)
        for at, after in (
            (self._paused_at, self._stall),
            (self._frame_since, self._frame_time),
            (self._goodbye, 0.0),
            (self._look, 0.0),
        ):
            if at is not None:
                deadline = min(deadline, at + after)
        return deadline

    def poll(self, now: float, waiting: int) -> Due | None:
        """What is due, if anything; `waiting` bytes are in the transport. Poll again until it is None."""
        if self._ended_by is not None:
            return Due.CUT if now >= self._ended_by else None
        if self._stalled(now, waiting):
            return Due.STALLED
        if self._frame_since is not None and now >= self._frame_since + self._frame_time:
            return Due.FRAME
        if self._goodbye is not None and now >= self._goodbye:
            self._goodbye = None
            return Due.GOODBYE
        if self._look is not None and now >= self._look:
            self._look = None
            return Due.CREDENTIALS
        verdict = self._keepalive.poll(now)
        if verdict == "dead":
            return Due.DEAD if self._ready else Due.HANDSHAKE
        return Due.PING if verdict == "ping" else None

    def _stalled(self, now: float, waiting: int) -> bool:
        """Whether the kernel took not one byte during the whole stall time."""
        if self._paused_at is None or now < self._paused_at + self._stall:
            return False
        stalled = waiting == self._paused_size
        self._paused_at, self._paused_size = now, waiting
        return stalled
