"""A PXW connection without I/O (SPEC 3-8): bytes in, events out; messages in, bytes out. For both roles.

    connection = Connection(Role.CLIENT, Settings(agent="me/1"))
    loop:   send everything in connection.data_to_send() while connection.has_output
            for incoming in connection.receive(bytes_from_the_peer): ...
    end:    connection.receive_eof() when the peer sends no more

Not thread-safe; one owner calls everything. Nothing here blocks, sleeps, or knows the time (see keepalive.py).
Illegal calls raise LocalProtocolError and change nothing. What the peer does wrong never raises: it is reported as
Failed, the last item ever, with a GOAWAY for the peer waiting in data_to_send(). A client's ERROR on stream 0 or GOAWAY
with an error code is reported as what it is and ends the server's side too. After that (and after both sides are done)
all calls that send are harmless and do nothing, so that callers need not race with the peer.

A server with Settings.auth waits for AUTH: a client sees AuthNeeded instead of Ready, calls authenticate() and then
sees Ready; the server sees Received(0, Auth) and calls accept_auth() or goaway(). A request with attachments is opened
by open(), its bytes follow by send_data(); at the server it is Received with end=False, and the bytes come as Data.

Not here: deadlines and rates (keepalive.py, rates.py, the program around), what a job is, TLS, reconnecting.
"""

from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError
from pixwire_protocol.greeting import check_welcome, make_hello
from pixwire_protocol.incoming import AuthNeeded, Closed, Failed, Incoming, Ready, Received
from pixwire_protocol.limits import Limits
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import Hello, Welcome
from pixwire_protocol.rates import Counts
from pixwire_protocol.receiving import Receiving
from pixwire_protocol.registry import HEADER_SIZE
from pixwire_protocol.sending import Sending
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import Role, State, UploadState

__all__ = ["AuthNeeded", "Closed", "Connection", "Failed", "Incoming", "Ready", "Received", "Role", "Settings", "State"]


class Connection(Sending):
    """One side of one connection. See the module's text for how to drive it."""

    def __init__(self, role: Role, settings: Settings, scratch: memoryview | None = None) -> None:
        """A connection whose transport was just made. A client has its preface and HELLO ready to send.

        `scratch` (SCRATCH_SIZE bytes) is where get_buffer() receives what has no place of its own. Connections may
        share one if buffer_updated() always follows get_buffer() before any other of them is asked; None: it makes one.

        Raises LocalProtocolError (MessageTooLargeError) when the settings do not fit into HELLO or WELCOME.
        """
        self._role = role
        self._machine = Machine(role, settings)
        self._receiving = Receiving(self._machine, scratch)
        self._parser = self._receiving.parser
        self.counts: Counts = self._machine.counts
        """What the peer did so far, for Rates. The same object every time; do not change it."""
        if role is Role.SERVER:
            check_welcome(settings)
        else:
            self._machine.outbox.greet(make_hello(settings))

    def __repr__(self) -> str:
        streams = len(self._machine.streams)
        return f"<Connection {self._role.value} {self.state.name} streams={streams} output={self.has_output}>"

    # ------------------------------------------------------------------ facts

    @property
    def state(self) -> State:
        """Where the connection is in its life (SPEC 3)."""
        return self._machine.state

    @property
    def over(self) -> bool:
        """Whether nothing can be received or sent any more, but for the last words: it has FAILED or is CLOSED."""
        return self._machine.over

    @property
    def failure(self) -> RemoteProtocolError | None:
        """Why the connection failed; also reported by the next receiving call as Failed."""
        return self._machine.failure

    @property
    def peer_limits(self) -> Limits:
        """What the peer accepts; the defaults until its HELLO or WELCOME was received."""
        return self._machine.limits

    @property
    def peer(self) -> Hello | Welcome | None:
        """The peer's HELLO or WELCOME, once received."""
        return self._machine.peer

    @property
    def principal(self) -> str | None:
        """Whose jobs these are, as far as it is known: from WELCOME or AUTH_OK (SPEC 6)."""
        return self._machine.principal

    @property
    def roles(self) -> tuple[str, ...]:
        """What else this connection may do, such as admin: from WELCOME or the last AUTH_OK (SPEC 6)."""
        return self._machine.roles

    @property
    def draining(self) -> bool:
        """Whether GOAWAY was sent or received (or the peer sends no more): open streams go on, new ones cannot."""
        return self._machine.state is State.DRAINING or self._machine.goaway_sent is not None

    @property
    def open_streams(self) -> int:
        """Streams that are not over; on the server also those whose last frame has not left."""
        return len(self._machine.streams)

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has been received in part: what the deadline `frame_ms` is about. False in the preface."""
        return self._parser.mid_frame

    # ------------------------------------------------------------------ receiving

    def receive(self, data: bytes | bytearray | memoryview) -> list[Incoming]:
        """Take bytes from the peer, any number; returns what they mean, in order. Never raises for what they contain.

        Anything but bytes is copied first. The result does not depend on how the stream was cut into calls.
        """
        return self._receiving.feed(self._parser.feed, data if type(data) is bytes else bytes(data))

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where to receive next (BufferedProtocol, recv_into): an artifact's own place while one is coming in.

        sizehint is ignored. Every call must be followed by buffer_updated() before any other receiving call.
        """
        return self._parser.get_buffer()

    def buffer_updated(self, n: int) -> list[Incoming]:
        """n bytes were received into the buffer of get_buffer(). Like receive()."""
        return self._receiving.feed(self._parser.buffer_updated, n)

    def receive_eof(self) -> list[Incoming]:
        """The peer sends no more. A server may still answer what was asked; a client's connection is over."""
        return self._receiving.eof()

    def set_sink(self, stream: int, place: memoryview) -> None:
        """Receive the following DATA of this stream straight into `place`, from its beginning (SPEC 7).

        Call it after the whole list returned by receive() was handled, with the place of the stream's next byte; DATA
        that has come in part is moved there (if that is not possible, because its buffer is lent by get_buffer() or it
        does not fit, nothing changes). Data.placed tells which frames lie in it: a frame that does not fit is reported
        unplaced, and the sink is forgotten. The part of `place` behind the received bytes may be scribbled on until it
        is filled. Does nothing when the stream is over; LocalProtocolError when `place` is read-only.
        """
        found = self._machine.find(stream)
        if place.readonly:
            raise LocalProtocolError("a sink must be writable, this memoryview is read-only")
        if found is None:
            return
        sink = place.cast("B") if place.nbytes else place
        receiving = self._receiving
        if receiving.is_receiving_data(stream) and not receiving.parser.move_body(sink, HEADER_SIZE):
            return
        found.sink = sink
        receiving.parser.read_short = True

    def consumed(self, stream: int, n: int) -> None:
        """n bytes of this stream's DATA are done with: the peer may send more (SPEC 7).

        Credit leaves in batches of half a window. Bytes of a stream that is over, or of an upload that was answered,
        went back at that time: nothing happens. LocalProtocolError for more than was received.
        """
        machine = self._machine
        found = machine.find(stream)
        if found is None or machine.over:
            return
        is_server = self._role is Role.SERVER
        if is_server and found.upload is UploadState.ANSWERED:
            return
        credit = found.to_receive().consume(n)
        if credit and not (is_server and found.upload is UploadState.COMPLETE):  # then nothing more comes there
            machine.outbox.credit(stream, credit)
        credit = machine.window.consume(n)
        if credit:
            machine.outbox.credit(0, credit)
