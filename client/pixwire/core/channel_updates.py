"""What a channel tells its session."""

from pixwire_protocol import messages
from pixwire_protocol.record import record

from ..errors import PixwireError
from ..events import Heard
from .calls import AnyCall


@record
class Opened:
    """A connection is ready: calls may be sent on it."""

    welcome: messages.Welcome


@record
class Disconnected:
    """There is no connection any more that takes calls, and the next one is being made."""

    reason: str


@record
class Emitted:
    """A call that watches a job heard something, or bytes of its upload left."""

    call: AnyCall
    event: Heard


@record
class Finished:
    """The outcome of a call is known: `call.outcome`. Told exactly once, and not for a call that was abandoned."""

    call: AnyCall


@record
class Returned:
    """A call is not on this channel any more, and has no outcome: the session sends it elsewhere or ends it.

    error: what becomes of it when it is not sent again.
    sent: whether it may have reached the server.
    suspect: the connection broke in a way that this call may be the reason for.
    retry_after_ms: the server does not want to see it earlier.
    here: the channel goes on, and may take it again.
    """

    call: AnyCall
    error: PixwireError
    sent: bool
    suspect: bool = False
    retry_after_ms: int | None = None
    here: bool = False


@record
class AuthWanted:
    """The server asks who we are, by one of these mechanisms, before anything else."""

    mechanisms: tuple[str, ...]


@record
class Authenticated:
    """The server took the token, for so many milliseconds (None: it does not say)."""

    expires_ms: int | None


@record
class GoingAway:
    """The server takes no new requests here; it does not want to see us again before so many milliseconds."""

    reconnect_after_ms: int | None


@record
class Lost:
    """The connection is over; its calls were returned before this.

    code, said: why, when the server said it. final: another connection would end in the same way.
    """

    reason: str
    code: int | None = None
    said: str = ""
    final: bool = False


ChannelUpdate = Opened | Disconnected | Emitted | Finished | Returned | AuthWanted | Authenticated | GoingAway | Lost
