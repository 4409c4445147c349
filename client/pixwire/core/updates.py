"""What a session tells its shell: what it has to do, and what became of the calls."""

from pixwire_protocol.record import record

from ..errors import PixwireError
from .channel import Channel
from .channel_updates import Disconnected, Emitted, Finished, Opened


@record
class Dial:
    """Make a transport to the server for this channel; then feed it, or say `lost` when that fails."""

    channel: Channel


@record
class TokenWanted:
    """The server asks who we are: get a token and `authenticate`, or `lost` when there is none to be had."""

    channel: Channel


@record
class HangUp:
    """This channel is over: send what it has left to send, then close its transport (or stop making one)."""

    channel: Channel


@record
class Over:
    """The session is over for good. Every call was finished before this."""

    error: PixwireError


@record
class Unreached:
    """A connection did not come about, and none ever did; the session goes on trying."""

    reason: str


Update = Opened | Disconnected | Emitted | Finished | Dial | TokenWanted | HangUp | Over | Unreached
