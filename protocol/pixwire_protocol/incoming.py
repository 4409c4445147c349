"""What a Connection reports (SPEC 3): the items of the lists returned by receive(), buffer_updated(), receive_eof()."""

from typing import NamedTuple

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.messages import Hello, Message, Welcome
from pixwire_protocol.record import record


class Received(NamedTuple):
    """A message. stream 0 = the connection. end: the stream is over (END flag, ERROR, RESET).

    There is one for every frame: nothing is made sooner than a tuple.
    """

    stream: int
    message: Message
    end: bool


@record
class Ready:
    """The handshake is done, authentication included. peer: the client's HELLO or the server's WELCOME.

    A server that asks for authentication gets none: its handshake is done when it calls accept_auth().
    """

    peer: Hello | Welcome


@record
class AuthNeeded:
    """Client: say who you are, with Connection.authenticate() and one of peer.auth; Ready follows (SPEC 6)."""

    peer: Welcome


@record
class Closed:
    """The peer sends no more. clean: between two frames, with no stream open."""

    clean: bool


@record
class Failed:
    """The connection is over; always the last item. Send what data_to_send() still gives, then close."""

    error: RemoteProtocolError


Incoming = Received | Ready | AuthNeeded | Closed | Failed
