"""What the receiving and the sending half of a connection share (SPEC 3): state, streams, windows, outbox.

Decides nothing about single frames; keeps the books so that both halves stay consistent.
"""

from typing import Final

from pixwire_protocol.errors import LocalProtocolError, RemoteProtocolError, error_name
from pixwire_protocol.flow import ReceiveWindow
from pixwire_protocol.limits import Limits, default
from pixwire_protocol.messages import Encoded, GoAway, Hello, Message, Welcome, clip, encode, encode_within
from pixwire_protocol.outbox import Outbox
from pixwire_protocol.rates import Counts
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import CONNECTION, Input, Role, State, StreamKind, StreamState, UploadState
from pixwire_protocol.streams import Stream

# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED


class Machine:
    """The books of one connection."""

    def __init__(self, role: Role, settings: Settings) -> None:
        self.role = role
        self.settings = settings
        self.state = State.START
        self.inputs = CONNECTION[role][State.START]
        """What is legal now."""
        self.over = False
        """Whether nothing can be received or sent any more."""
        self.peer: Hello | Welcome | None = None
        self.limits = Limits()
        """What the peer declared."""
        self.max_frame = default("handshake_max_frame")
        """Largest frame the peer takes now."""
        self.streams: dict[int, Stream] = {}
        self.last_stream = 0
        """Highest stream id opened so far (client) or seen (server)."""
        self.window = ReceiveWindow(settings.connection_window)
        self.outbox = Outbox(settings, self.streams)
        self.outbox.held = role is Role.SERVER
        self.goaway_sent: GoAway | None = None
        self.goaway_received: GoAway | None = None
        self.failure: RemoteProtocolError | None = None
        self.principal = settings.principal
        """Whose jobs these are, as far as it is known."""
        self.roles = settings.roles
        """What else this connection may do."""
        self.auth_pending = False
        """Whether an AUTH was sent (client) or received (server) that has no answer."""
        self.authenticated = False
        """Whether an AUTH was answered with AUTH_OK."""
        self.counts = Counts()

    # ------------------------------------------------------------------ state

    def move(self, state: State) -> None:
        """Go to a state that the table allowed."""
        self.state = state
        self.over = state >= State.FAILED
        self.inputs = CONNECTION[self.role][state]

    def need_auth(self) -> None:
        """HELLO and WELCOME are exchanged, and AUTH is asked for."""
        self.move(CONNECTION[self.role][State.PREFACED][Input.AUTH_NEEDED])

    def local(self, happened: Input) -> None:
        """This program does something: move, or LocalProtocolError when the table has no row for it."""
        state = self.inputs.get(happened)
        if state is None:
            problem = f"{happened.name} is not possible for the {self.role.value} in state {self.state.name} (SPEC 3)"
            raise LocalProtocolError(problem)
        self.move(state)

    def fail(self, error: RemoteProtocolError, last_words: bytes | None = None) -> None:
        """The connection is over: forget everything that waits, say why, ignore what comes."""
        if self.state is State.START and last_words is None:
            last_words = b""  # a peer that does not speak PXW is told nothing
        if last_words is None:
            last_words = b"".join(encode(self.goaway(error.code, clip(error.message))))
        self.failure = error
        self.end(last_words)

    def end(self, last_words: bytes) -> None:
        """Drop all output but these last words and the greeting before them; what comes is ignored from now on.

        A client without last words has nothing to say to this peer: its greeting is dropped too.
        """
        self.move(self.inputs.get(Input.FAIL, self.state))
        for stream in self.streams.values():
            stream.drop_bulk()
            stream.sink = None
        self.streams.clear()
        self.outbox.clear(greeting=not last_words and self.role is Role.CLIENT)
        self.outbox.held = False
        if last_words:
            self.outbox.control(last_words)

    def goaway(self, code: int, message: str, last_stream: int | None = None, **times: int | None) -> GoAway:
        """A GOAWAY; last_stream None = everything seen so far will be processed."""
        if last_stream is None:
            last_stream = self.last_stream if self.role is Role.SERVER else 0
        if self.goaway_sent is not None:
            last_stream = min(last_stream, self.goaway_sent.last_stream)
        return GoAway(last_stream, code, error_name(code), message, **times)

    # ------------------------------------------------------------------ streams

    def open(self, stream: int, kind: StreamKind) -> Stream:
        """Enter a new stream."""
        opened = Stream(stream, kind, self.limits.stream_window, self.settings.stream_window)
        self.streams[stream] = opened
        return opened

    def find(self, stream: int) -> Stream | None:
        """The open stream, None when it is over. LocalProtocolError when it never was."""
        found = self.streams.get(stream)
        if found is None and (stream <= 0 or stream > self.last_stream or not stream & 1):
            raise LocalProtocolError(f"stream {stream} was never opened (SPEC 7)")
        return found if found is None or found.state is not _CLOSED else None

    def finish(self, stream: Stream) -> None:
        """The stream is over. Bytes of it that were not consumed go back to the connection's window."""
        stream.state = _CLOSED
        stream.sink = None
        if stream.receive is not None:
            self.give_back(stream.receive)
            stream.receive = None
        self.outbox.drop_stream(stream)
        if not stream.queued and not stream.bulk:
            self.streams.pop(stream.id, None)

    def give_back(self, window: ReceiveWindow) -> None:
        """What came on a stream and was not consumed no longer counts for the connection."""
        if window.outstanding:
            credit = self.window.consume(window.outstanding)
            if credit:
                self.outbox.credit(0, credit)

    def answer_upload(self, stream: Stream) -> None:
        """RESULT was sent or received on an uploading stream: its bytes are done with, wherever they are (SPEC 7)."""
        stream.upload = UploadState.ANSWERED
        if self.role is Role.CLIENT:
            self.outbox.drop_data(stream)
            return
        stream.sink = None
        self.outbox.drop_credit(stream)
        if stream.receive is not None:
            self.give_back(stream.receive)
            stream.receive = None

    # ------------------------------------------------------------------ frames

    def encode(self, message: Message, stream: int = 0, flags: int = 0) -> Encoded:
        """The frame, if the peer takes frames of that size. MessageTooLargeError names the limit."""
        return encode_within(message, stream, flags, self.max_frame)

    def control(self, message: Message, stream: int = 0, flags: int = 0) -> None:
        """Queue a control frame. RemoteProtocolError(EXCESSIVE_LOAD) when too many wait."""
        self.outbox.control(self.encode(message, stream, flags))
