"""One stream as its connection keeps it (SPEC 7): state, credit in both directions, and what waits to be sent on it.

Most streams carry one request and one answer. They cost one small object: windows and queues for DATA are made when
the first DATA comes or goes.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from pixwire_protocol.flow import ReceiveWindow, SendWindow
from pixwire_protocol.messages import Encoded
from pixwire_protocol.source import Source
from pixwire_protocol.states import STREAMS, StreamKind, StreamState, UploadState


@dataclass(slots=True)
class Bulk:
    """Bytes to be sent as DATA, by reference; end: the stream's last; after: frames that must not overtake it."""

    data: memoryview | Source
    end: bool
    after: list[Encoded] = field(default_factory=list)


# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_CLOSED: Final = StreamState.CLOSED
_OPEN: Final = StreamState.OPEN


class Stream:
    """One stream, seen from here. The server keeps it until its last frame has left, the client until it is over."""

    __slots__ = (
        "_receive_size",
        "_send_size",
        "bulk",
        "deficit",
        "id",
        "offset",
        "queued",
        "receive",
        "ringed",
        "send",
        "sink",
        "state",
        "table",
        "unsent",
        "upload",
        "upload_missing",
    )

    def __init__(self, stream: int, kind: StreamKind, send_size: int, receive_size: int) -> None:
        self.id = stream
        self.table = STREAMS[kind]
        self.state = _OPEN
        self.queued = 0
        """Frames of this stream among the replies."""
        self.bulk: deque[Bulk] | None = None
        """DATA to be sent, None when there is none."""
        self.sink: memoryview | None = None
        self.send: SendWindow | None = None
        self.receive: ReceiveWindow | None = None
        self._send_size = send_size
        self._receive_size = receive_size
        self.unsent = 0
        """Bytes of DATA that were not sent."""
        self.ringed = False
        """Whether the stream is among those that can send DATA."""
        self.upload: UploadState | None = None
        """How far the client's side has come, None when the request is all of it."""

    # upload_missing (announced bytes that were not sent or did not come) exists when upload is not None.
    # offset (bytes of bulk[0] that were sent) and deficit (SPEC 7, fairness) exist once there was DATA to send.

    @property
    def done(self) -> bool:
        """Whether nothing is to be sent or received here any more."""
        return self.state is _CLOSED and not self.queued and not self.bulk

    def to_send(self) -> SendWindow:
        """The peer's credit for this stream."""
        if self.send is None:
            self.send = SendWindow(self._send_size)
            self.offset = self.deficit = 0
        return self.send

    def to_receive(self) -> ReceiveWindow:
        """Our credit for this stream."""
        if self.receive is None:
            self.receive = ReceiveWindow(self._receive_size)
        return self.receive

    def expect_upload(self, size: int) -> None:
        """So many bytes of attachments follow the request."""
        self.upload = UploadState.SENDING
        self.upload_missing = size

    def upload_problem(self, size: int, end: bool) -> str | None:
        """Why so many more bytes, with or without END, are not what was announced."""
        if size > self.upload_missing:
            return f"{size} bytes for the attachments of stream {self.id}, of which {self.upload_missing} are missing"
        if end and size < self.upload_missing:
            return f"END on stream {self.id} with {self.upload_missing - size} bytes of its attachments missing"
        return None

    def add_bulk(self, data: memoryview | Source, end: bool) -> None:
        """Queue DATA."""
        self.to_send()
        if self.bulk is None:
            self.bulk = deque()
        self.bulk.append(Bulk(data, end))
        self.unsent += data.nbytes

    def drop_bulk(self) -> None:
        """Forget DATA that was not sent, and the frames behind it."""
        self.bulk = None
        self.unsent = self.offset = 0

    @property
    def next_is_empty(self) -> bool:
        """Whether the next DATA frame has no bytes and so needs no credit."""
        return bool(self.bulk) and self.bulk is not None and self.bulk[0].data.nbytes == 0

    @property
    def can_send(self) -> bool:
        """Whether there is DATA and the peer takes it on this stream."""
        return bool(self.bulk) and (self.to_send().available > 0 or self.next_is_empty)
