"""What a Connection reports (SPEC 3): the items of the lists returned by receive(), buffer_updated(), receive_eof()."""

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.messages import Hello, Message, Welcome
from pixwire_protocol.record import record


@record
class Received:
    """A message. stream 0 = the connection. end: the stream is over (END flag, ERROR, RESET)."""

    stream: int
    message: Message
    end: bool


@record
class Ready:
    """The handshake is done. peer: the client's HELLO or the server's WELCOME."""

    peer: Hello | Welcome


@record
class Closed:
    """The peer sends no more. clean: between two frames, with no stream open."""

    clean: bool


@record
class Failed:
    """The connection is over; always the last item. Send what data_to_send() still gives, then close."""

    error: RemoteProtocolError


Incoming = Received | Ready | Closed | Failed
