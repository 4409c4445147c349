"""Who may send what when (SPEC 3, 7): transition tables and the lookups, nothing else.

Rules of this module, as in h11:
1. Everything that decides whether a frame is legal now lives in these tables. What is not listed is illegal: done by
   this program it is a LocalProtocolError, done by the peer a connection error PROTOCOL_ERROR.
2. The stream tables do not know which role we play: they list what the *server* sends on a stream. The server uses
   them to refuse its own mistakes, the client to refuse the server's. UPLOAD is the same for what the *client* sends.
3. Tables are plain data: SPEC.md's tables are generated from them.

A connection starts when the transport is there. The client pipelines preface and HELLO; the server answers its preface
to the client's and WELCOME to HELLO, so one round trip leads to READY (two, when AUTH is asked for). Streams are opened
by the client, with one request frame that carries END: after it the client sends only CREDIT and RESET there. The only
exception is a SUBMIT with attachments, whose bytes follow. Ids are odd, rise and are never used twice, so a frame on a
stream that is over is recognised and ignored.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Final

from pixwire_protocol.messages import Admin, Cancel, Fetch, List, Request, Status, Submit, Watch


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class State(IntEnum):
    """The connection's state (SPEC 3)."""

    START = 0
    """The peer's preface has not come."""
    PREFACED = 1
    """The peer's preface was right; its HELLO or WELCOME has not come."""
    AUTHENTICATING = 2
    """HELLO and WELCOME are exchanged and WELCOME asks for AUTH; AUTH_OK has not come."""
    READY = 3
    """Streams may be opened."""
    DRAINING = 4
    """GOAWAY was sent or received, or the peer sends no more: open streams go on, new ones are not to be opened."""
    FAILED = 5
    """The connection is over with an error, ours or the peer's; what comes is ignored, the last output waits."""
    CLOSED = 6
    """The connection is over."""


class Input(IntEnum):
    """What can happen to a connection."""

    RECV_PREFACE = 0
    RECV_HELLO = 1
    RECV_WELCOME = 2
    RECV_PING = 3
    RECV_PONG = 4
    RECV_CREDIT = 5
    RECV_ERROR = 6
    """ERROR on stream 0; at the server also GOAWAY with an error code (known when its head was read)."""
    RECV_GOAWAY = 7
    RECV_REQUEST = 8
    RECV_STREAM = 9
    """Any other frame on a stream."""
    RECV_EXTENSION = 10
    """A frame of unknown type."""
    RECV_EOF = 11
    SEND_REQUEST = 12
    SEND_REPLY = 13
    """Anything the server sends on a stream."""
    SEND_PING = 14
    SEND_GOAWAY = 15
    FAIL = 16
    """The peer broke the protocol, or was refused before the handshake."""
    AUTH_NEEDED = 17
    """In place of RECV_HELLO at a server that asks for AUTH, of RECV_WELCOME when it asks for AUTH."""
    RECV_AUTH = 18
    RECV_AUTH_OK = 19
    SEND_AUTH = 20
    SEND_AUTH_OK = 21
    SEND_DATA = 22
    """Bytes of attachments."""


_Table = Mapping[State, Mapping[Input, State]]

_SERVER: Final[_Table] = {
    State.START: {
        Input.RECV_PREFACE: State.PREFACED,
        Input.RECV_EOF: State.CLOSED,
        Input.FAIL: State.FAILED,
    },
    State.PREFACED: {
        Input.RECV_HELLO: State.READY,
        Input.AUTH_NEEDED: State.AUTHENTICATING,
        Input.RECV_ERROR: State.FAILED,
        Input.RECV_GOAWAY: State.FAILED,
        Input.RECV_EOF: State.CLOSED,
        Input.FAIL: State.FAILED,
    },
    State.AUTHENTICATING: {
        Input.RECV_AUTH: State.AUTHENTICATING,
        Input.SEND_AUTH_OK: State.READY,
        Input.RECV_ERROR: State.FAILED,
        Input.RECV_GOAWAY: State.FAILED,
        Input.RECV_EOF: State.CLOSED,
        Input.FAIL: State.FAILED,
    },
    State.READY: {
        Input.RECV_AUTH: State.READY,
        Input.RECV_PING: State.READY,
        Input.RECV_PONG: State.READY,
        Input.RECV_CREDIT: State.READY,
        Input.RECV_ERROR: State.FAILED,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_REQUEST: State.READY,
        Input.RECV_STREAM: State.READY,
        Input.RECV_EXTENSION: State.READY,
        Input.RECV_EOF: State.DRAINING,
        Input.SEND_AUTH_OK: State.READY,
        Input.SEND_REPLY: State.READY,
        Input.SEND_PING: State.READY,
        Input.SEND_GOAWAY: State.DRAINING,
        Input.FAIL: State.FAILED,
    },
    State.DRAINING: {
        Input.RECV_AUTH: State.DRAINING,
        Input.RECV_PING: State.DRAINING,
        Input.RECV_PONG: State.DRAINING,
        Input.RECV_CREDIT: State.DRAINING,
        Input.RECV_ERROR: State.FAILED,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_REQUEST: State.DRAINING,
        Input.RECV_STREAM: State.DRAINING,
        Input.RECV_EXTENSION: State.DRAINING,
        Input.RECV_EOF: State.DRAINING,
        Input.SEND_AUTH_OK: State.DRAINING,
        Input.SEND_REPLY: State.DRAINING,
        Input.SEND_PING: State.DRAINING,
        Input.SEND_GOAWAY: State.DRAINING,
        Input.FAIL: State.FAILED,
    },
    State.FAILED: {Input.RECV_EOF: State.CLOSED},
    State.CLOSED: {},
}

_CLIENT: Final[_Table] = {
    State.START: {
        Input.RECV_PREFACE: State.PREFACED,
        Input.RECV_EOF: State.CLOSED,
        Input.FAIL: State.FAILED,
    },
    State.PREFACED: {
        Input.RECV_WELCOME: State.READY,
        Input.AUTH_NEEDED: State.AUTHENTICATING,
        Input.RECV_ERROR: State.DRAINING,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_EOF: State.CLOSED,
        Input.FAIL: State.FAILED,
    },
    State.AUTHENTICATING: {
        Input.RECV_AUTH_OK: State.READY,
        Input.RECV_ERROR: State.DRAINING,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_EOF: State.CLOSED,
        Input.SEND_AUTH: State.AUTHENTICATING,
        Input.SEND_GOAWAY: State.DRAINING,
        Input.FAIL: State.FAILED,
    },
    State.READY: {
        Input.RECV_AUTH_OK: State.READY,
        Input.RECV_PING: State.READY,
        Input.RECV_PONG: State.READY,
        Input.RECV_CREDIT: State.READY,
        Input.RECV_ERROR: State.DRAINING,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_STREAM: State.READY,
        Input.RECV_EXTENSION: State.READY,
        Input.RECV_EOF: State.CLOSED,
        Input.SEND_AUTH: State.READY,
        Input.SEND_REQUEST: State.READY,
        Input.SEND_DATA: State.READY,
        Input.SEND_PING: State.READY,
        Input.SEND_GOAWAY: State.DRAINING,
        Input.FAIL: State.FAILED,
    },
    State.DRAINING: {
        Input.RECV_AUTH_OK: State.DRAINING,
        Input.RECV_PING: State.DRAINING,
        Input.RECV_PONG: State.DRAINING,
        Input.RECV_CREDIT: State.DRAINING,
        Input.RECV_ERROR: State.DRAINING,
        Input.RECV_GOAWAY: State.DRAINING,
        Input.RECV_STREAM: State.DRAINING,
        Input.RECV_EXTENSION: State.DRAINING,
        Input.RECV_EOF: State.CLOSED,
        Input.SEND_AUTH: State.DRAINING,
        Input.SEND_DATA: State.DRAINING,
        Input.SEND_PING: State.DRAINING,
        Input.SEND_GOAWAY: State.DRAINING,
        Input.FAIL: State.FAILED,
    },
    State.FAILED: {Input.RECV_EOF: State.CLOSED},
    State.CLOSED: {},
}

CONNECTION: Final[Mapping[Role, _Table]] = {Role.CLIENT: _CLIENT, Role.SERVER: _SERVER}


class StreamKind(IntEnum):
    """What a request expects on its stream (SPEC 7)."""

    UNARY = 0
    """One RESULT."""
    WATCH = 1
    """RESULT, events and previews, perhaps artifacts at the end."""
    TRANSFER = 2
    """RESULT, DATA."""


class StreamState(IntEnum):
    """How far the server's side of a stream has come (SPEC 7)."""

    OPEN = 0
    """The request is there, nothing was answered."""
    FOLLOWING = 1
    """The first RESULT is out; events may follow."""
    SENDING = 2
    """An artifact was announced; its DATA may follow."""
    CLOSED = 3
    """The stream is over; late frames are ignored."""


class StreamInput(IntEnum):
    """What the server can send on a stream."""

    RESULT = 0
    RESULT_END = 1
    EVENT = 2
    EVENT_END = 3
    PREVIEW = 4
    DATA = 5
    DATA_END = 6
    ERROR = 7
    RESET = 8


StreamTable = Mapping[StreamState, Mapping[StreamInput, StreamState]]

STREAMS: Final[Mapping[StreamKind, StreamTable]] = {
    StreamKind.UNARY: {
        StreamState.OPEN: {
            StreamInput.RESULT_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.CLOSED: {},
    },
    StreamKind.WATCH: {
        StreamState.OPEN: {
            StreamInput.RESULT: StreamState.FOLLOWING,
            StreamInput.RESULT_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.FOLLOWING: {
            StreamInput.EVENT: StreamState.FOLLOWING,
            StreamInput.EVENT_END: StreamState.CLOSED,
            StreamInput.PREVIEW: StreamState.FOLLOWING,
            StreamInput.RESULT: StreamState.SENDING,
            StreamInput.RESULT_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.SENDING: {
            StreamInput.DATA: StreamState.SENDING,
            StreamInput.DATA_END: StreamState.CLOSED,
            StreamInput.RESULT: StreamState.SENDING,
            StreamInput.RESULT_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.CLOSED: {},
    },
    StreamKind.TRANSFER: {
        StreamState.OPEN: {
            StreamInput.RESULT: StreamState.SENDING,
            StreamInput.RESULT_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.SENDING: {
            StreamInput.DATA: StreamState.SENDING,
            StreamInput.DATA_END: StreamState.CLOSED,
            StreamInput.ERROR: StreamState.CLOSED,
            StreamInput.RESET: StreamState.CLOSED,
        },
        StreamState.CLOSED: {},
    },
}


class UploadState(IntEnum):
    """How far the client's side of a stream has come that a SUBMIT with attachments opened (SPEC 7)."""

    SENDING = 0
    """Bytes or END are missing."""
    COMPLETE = 1
    """All bytes and END are there; no answer yet."""
    ANSWERED = 2
    """RESULT is there: nothing more is sent, what was under way is ignored."""


class UploadInput(IntEnum):
    """What can happen to it. ERROR and RESET, of either side, end the whole stream."""

    DATA = 0
    DATA_END = 1
    RESULT = 2
    """The server's first RESULT."""
    LATE = 3
    """DATA that the client had sent before it saw the RESULT."""


# A stream whose request carried END has no such state: DATA from its client is a PROTOCOL_ERROR.
UPLOAD: Final[Mapping[UploadState, Mapping[UploadInput, UploadState]]] = {
    UploadState.SENDING: {
        UploadInput.DATA: UploadState.SENDING,
        UploadInput.DATA_END: UploadState.COMPLETE,
        UploadInput.RESULT: UploadState.ANSWERED,
    },
    UploadState.COMPLETE: {UploadInput.RESULT: UploadState.ANSWERED},
    UploadState.ANSWERED: {UploadInput.LATE: UploadState.ANSWERED},
}

# Request -> kind. A SUBMIT that watches or wants the artifacts is a WATCH.
REQUEST_KINDS: Final[Mapping[type, StreamKind]] = {
    Submit: StreamKind.UNARY,
    Status: StreamKind.UNARY,
    Cancel: StreamKind.UNARY,
    Watch: StreamKind.WATCH,
    List: StreamKind.UNARY,
    Admin: StreamKind.UNARY,
    Fetch: StreamKind.TRANSFER,
}


def kind_of(request: Request) -> StreamKind:
    """The kind of stream a request opens. KeyError when the message is no request."""
    if type(request) is Submit and (request.watch or request.deliver):
        return StreamKind.WATCH
    return REQUEST_KINDS[type(request)]
