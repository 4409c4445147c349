"""What waits to be sent, in five classes, and in which order it leaves (SPEC 7).

    greeting preface, HELLO, WELCOME                                                       before everything
    control  PONG, CREDIT, GOAWAY, refusals of frames that opened no stream                first; bounded
    replies  requests; RESULT, state EVENT, ERROR, RESET on streams                        in order; bounded
    lossy    progress EVENT, PREVIEW: one per stream and kind, the newest wins             then these
    bulk     DATA: one chunk per take(), fair by bytes over the streams that have credit   last

Serialised late: CREDIT is added up until it leaves, DATA is cut when it leaves, lossy frames are replaced until they
leave. Everything else is bytes at once, so that a message that cannot be sent fails where it was made.
Frames of one stream never overtake each other, except that lossless ones drop the lossy ones before them.
"""

from collections import deque
from typing import Final

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.flow import SendWindow
from pixwire_protocol.header import Buffer, pack_header
from pixwire_protocol.messages import DATA_TYPE, SMALL_TAIL, Credit, Encoded, encode, size_of
from pixwire_protocol.registry import ErrorCode, Flag
from pixwire_protocol.settings import Settings
from pixwire_protocol.source import Source
from pixwire_protocol.states import StreamState
from pixwire_protocol.streams import Bulk, Stream

_CLOSED: Final = StreamState.CLOSED  # used for every reply: a global is quicker than a member of its enum


class Outbox:
    """The queues of one connection. Raises RemoteProtocolError when the peer lets them grow beyond their bounds."""

    def __init__(self, settings: Settings, streams: dict[int, Stream]) -> None:
        """`streams`: the open ones by id. One that is over leaves it with its last frame."""
        self._streams = streams
        self._control_frames = settings.control_frames
        self._control_limit = settings.control_bytes
        self._reply_limit = settings.reply_bytes
        self._greeting: list[Buffer] = []
        self._control: deque[Encoded] = deque()
        self._control_bytes = 0
        self._credits: dict[int, int] = {}
        self._replies: deque[tuple[Encoded, Stream]] = deque()
        self._reply_bytes = 0
        self._lossy: dict[tuple[int, type], Encoded] = {}
        self._ring: deque[Stream] = deque()
        self.window = SendWindow(0)
        """Credit of the connection."""
        self.chunk = settings.data_chunk
        """Largest DATA tail; lowered to the peer's max_frame."""
        self.held = False
        """Nothing may leave yet (the peer has not shown that it speaks PXW)."""
        self.source: Source | None = None
        """The tail of the DATA frame whose header take() gave last, when it does not lie in memory."""

    @property
    def ready(self) -> bool:
        """Whether take() would give something."""
        if (self._ring and self._data_ready) or self._replies or self._control or self._credits or self._lossy:
            return not self.held
        return bool(self._greeting) and not self.held

    @property
    def _data_ready(self) -> bool:
        return self.window.available > 0 or any(stream.next_is_empty for stream in self._ring)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may still be queued as replies."""
        return self._reply_bytes + size <= self._reply_limit

    # ------------------------------------------------------------------ putting in

    def greet(self, words: Encoded) -> None:
        """Queue preface, HELLO or WELCOME: first of all, and kept when the connection fails (CON-017)."""
        _put(words, self._greeting)

    def control(self, frame: Encoded) -> None:
        """Queue a control frame. EXCESSIVE_LOAD: the peer makes us answer and does not take the answers."""
        self._control.append(frame)
        self._control_bytes += size_of(frame)
        if self._control_bytes > self._control_limit or len(self._control) > self._control_frames:
            problem = f"{len(self._control)} control frames ({self._control_bytes} bytes) wait unread (SPEC 11)"
            raise RemoteProtocolError(ErrorCode.EXCESSIVE_LOAD, problem)

    def credit(self, stream: int, n: int) -> None:
        """Give credit back; several for one stream become one frame."""
        self._credits[stream] = self._credits.get(stream, 0) + n

    def reply(self, stream: Stream, frame: Encoded) -> None:
        """Queue a lossless frame of a stream, behind its DATA. SLOW_CONSUMER: the peer does not take its answers."""
        if self._lossy:
            self._drop_lossy(stream.id)
        if stream.bulk:
            stream.bulk[-1].after.append(frame)
        else:
            self._enqueue(stream, frame)

    def lossy(self, stream: Stream, kind: type, frame: Encoded) -> bool:
        """Queue a lossy frame in place of an older one. False: there is no room, the frame is lost."""
        older = self._lossy.pop((stream.id, kind), None)
        if older is not None:
            self._reply_bytes -= size_of(older)
        size = size_of(frame)
        if self._reply_bytes + size > self._reply_limit:
            return False
        self._lossy[stream.id, kind] = frame  # at the end: frames of one stream leave in the order of their seq
        self._reply_bytes += size
        return True

    def data(self, stream: Stream, data: memoryview | Source, end: bool) -> None:
        """Queue DATA of a stream, by reference."""
        self._drop_lossy(stream.id)
        stream.add_bulk(data, end)
        self.wake(stream)

    def wake(self, stream: Stream) -> None:
        """The stream has new DATA or new credit: let it take part if it can send."""
        if not stream.ringed and stream.can_send:
            stream.ringed = True
            self._ring.append(stream)

    def drop_stream(self, stream: Stream) -> None:
        """Forget everything of a stream that need not be sent: lossy frames, DATA, credit."""
        if self._lossy:
            self._drop_lossy(stream.id)
        if self._credits:
            self._credits.pop(stream.id, None)
        if stream.bulk:
            self.drop_data(stream)

    def drop_data(self, stream: Stream) -> None:
        """Forget DATA of a stream that was not sent."""
        if stream.bulk:
            stream.drop_bulk()
            if stream.ringed:
                stream.ringed = False
                self._ring.remove(stream)

    def drop_credit(self, stream: Stream) -> None:
        """Forget credit of a stream that was not sent: its peer has nothing more to send there."""
        self._credits.pop(stream.id, None)

    def clear(self, greeting: bool) -> None:
        """Forget everything, perhaps also the greeting (the connection fails; its last words come next)."""
        if greeting:
            self._greeting.clear()
        self._control.clear()
        self._credits.clear()
        self._replies.clear()
        self._lossy.clear()
        self._ring.clear()
        self._control_bytes = self._reply_bytes = 0

    # ------------------------------------------------------------------ taking out

    def take(self, max_bytes: int) -> list[Buffer]:
        """The next buffers to send: at most about max_bytes (at least one frame), then at most one DATA frame."""
        out: list[Buffer] = []
        if self.held:
            return out
        if self._greeting:
            out, self._greeting = self._greeting, out
        budget = max_bytes
        while self._credits:
            stream = next(iter(self._credits))
            out += encode(Credit(self._credits.pop(stream)), stream)
        while self._control and budget > 0:
            size = _put(self._control.popleft(), out)
            self._control_bytes -= size
            budget -= size
        replies = self._replies
        while replies and budget > 0:
            frame, owner = replies.popleft()
            if isinstance(frame, bytes):  # nearly always: without the call
                out.append(frame)
                size = len(frame)
            else:
                size = _put(frame, out)
            self._reply_bytes -= size
            budget -= size
            owner.queued -= 1
            if owner.state is _CLOSED and not owner.queued and not owner.bulk:
                self._streams.pop(owner.id, None)
        if not replies and (self._lossy or self._ring):  # else DATA could overtake its own announcement
            self._take_last(budget, out)
        return out

    def _take_last(self, budget: int, out: list[Buffer]) -> None:
        """What may come behind all replies."""
        while self._lossy and budget > 0:
            size = _put(self._lossy.pop(next(iter(self._lossy))), out)
            self._reply_bytes -= size
            budget -= size
        if self._ring:
            self._take_data(out)

    def _take_data(self, out: list[Buffer]) -> None:
        """One DATA frame of the stream whose turn it is: deficit round robin, one chunk of quantum per turn.

        A frame is never cut because the deficit is small: the stream may overdraw it and starts its next turn lower.
        """
        ring = self._ring
        for _ in range(len(ring)):
            stream = ring[0]
            assert stream.bulk  # noqa: S101 - who is in the ring can send
            bulk = stream.bulk[0]
            left = bulk.data.nbytes - stream.offset
            if stream.deficit <= 0:
                stream.deficit += self.chunk
            size = min(left, self.chunk, stream.to_send().available, self.window.available)
            if size > 0 or left == 0:
                self._emit(stream, stream.bulk, size, out)
                return
            ring.rotate(-1)

    def _emit(self, stream: Stream, queue: deque[Bulk], size: int, out: list[Buffer]) -> None:
        bulk = queue[0]
        end = stream.offset + size
        last = end == bulk.data.nbytes
        header = pack_header(DATA_TYPE, Flag.END if bulk.end and last else 0, stream.id, 0, size)
        piece = bulk.data[stream.offset : end]
        if not isinstance(piece, memoryview):
            out.append(header)
            self.source = piece if size else None
        elif size <= SMALL_TAIL:
            out.append(header + piece)
        else:
            out += (header, piece)
        stream.offset = end
        stream.unsent -= size
        stream.deficit -= size
        stream.to_send().available -= size
        self.window.available -= size
        if last:
            queue.popleft()
            stream.offset = 0
            for frame in bulk.after:
                self._enqueue(stream, frame)
        self._next_turn(stream)

    def _next_turn(self, stream: Stream) -> None:
        ring = self._ring
        if not stream.can_send:
            ring.popleft()
            stream.ringed = False
            stream.deficit = 0
        elif stream.deficit <= 0:
            ring.rotate(-1)
        if stream.done:
            self._streams.pop(stream.id, None)

    def _enqueue(self, stream: Stream, frame: Encoded) -> None:
        self._replies.append((frame, stream))
        stream.queued += 1
        self._reply_bytes += len(frame) if isinstance(frame, bytes) else size_of(frame)
        if self._reply_bytes > self._reply_limit:
            problem = f"{self._reply_bytes} bytes of replies wait unread (SPEC 11)"
            raise RemoteProtocolError(ErrorCode.SLOW_CONSUMER, problem)

    def _drop_lossy(self, stream: int) -> None:
        for key in [key for key in self._lossy if key[0] == stream]:
            self._reply_bytes -= size_of(self._lossy.pop(key))


def _put(frame: Encoded, out: list[Buffer]) -> int:
    """Append a frame's buffers; its size."""
    if isinstance(frame, bytes):
        out.append(frame)
        return len(frame)
    out += frame
    return size_of(frame)
