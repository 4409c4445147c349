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
from pixwire_protocol.messages import DATA_TYPE, SMALL_TAIL, Credit, encode
from pixwire_protocol.registry import ErrorCode, Flag
from pixwire_protocol.settings import Settings
from pixwire_protocol.states import StreamState
from pixwire_protocol.streams import Bulk, Frames, Stream

_CLOSED: Final = StreamState.CLOSED  # used for every reply: a global is quicker than a member of its enum


class Outbox:
    """The queues of one connection. Raises RemoteProtocolError when the peer lets them grow beyond their bounds."""

    def __init__(self, settings: Settings) -> None:
        self._control_frames = settings.control_frames
        self._control_limit = settings.control_bytes
        self._reply_limit = settings.reply_bytes
        self._greeting: list[Buffer] = []
        self._control: deque[Frames] = deque()
        self._control_bytes = 0
        self._credits: dict[int, int] = {}
        self._replies: deque[tuple[Frames, Stream]] = deque()
        self._reply_bytes = 0
        self._lossy: dict[tuple[int, type], Frames] = {}
        self._ring: deque[Stream] = deque()
        self.window = SendWindow(0)
        """Credit of the connection."""
        self.chunk = settings.data_chunk
        """Largest DATA tail; lowered to the peer's max_frame."""
        self.held = False
        """Nothing may leave yet (the peer has not shown that it speaks PXW)."""
        self.done: list[Stream] = []
        """Streams whose last frame has left since the caller looked."""

    def __bool__(self) -> bool:
        """Whether take() would give something."""
        if self.held:
            return False
        if self._greeting or self._replies or self._control or self._credits or self._lossy:
            return True
        return bool(self._ring) and self._data_ready

    @property
    def _data_ready(self) -> bool:
        return self.window.available > 0 or any(stream.next_is_empty for stream in self._ring)

    @property
    def room(self) -> int:
        """Bytes that may still be queued as replies."""
        return self._reply_limit - self._reply_bytes

    # ------------------------------------------------------------------ putting in

    def greet(self, words: list[Buffer]) -> None:
        """Queue preface, HELLO or WELCOME: first of all, and kept when the connection fails (CON-017)."""
        self._greeting += words

    def control(self, frames: Frames) -> None:
        """Queue a control frame. EXCESSIVE_LOAD: the peer makes us answer and does not take the answers."""
        self._control.append(frames)
        self._control_bytes += frames[1]
        if self._control_bytes > self._control_limit or len(self._control) > self._control_frames:
            problem = f"{len(self._control)} control frames ({self._control_bytes} bytes) wait unread (SPEC 11)"
            raise RemoteProtocolError(ErrorCode.EXCESSIVE_LOAD, problem)

    def credit(self, stream: int, n: int) -> None:
        """Give credit back; several for one stream become one frame."""
        self._credits[stream] = self._credits.get(stream, 0) + n

    def reply(self, stream: Stream, frames: Frames) -> None:
        """Queue a lossless frame of a stream, behind its DATA. SLOW_CONSUMER: the peer does not take its answers."""
        if self._lossy:
            self._drop_lossy(stream.id)
        if stream.bulk:
            stream.bulk[-1].after.append(frames)
        else:
            self._enqueue(stream, frames)

    def lossy(self, stream: Stream, kind: type, frames: Frames) -> bool:
        """Queue a lossy frame in place of an older one. False: there is no room, the frame is lost."""
        older = self._lossy.pop((stream.id, kind), None)
        if older is not None:
            self._reply_bytes -= older[1]
        if frames[1] > self.room:
            return False
        self._lossy[stream.id, kind] = frames  # at the end: frames of one stream leave in the order of their seq
        self._reply_bytes += frames[1]
        return True

    def data(self, stream: Stream, data: memoryview, end: bool) -> None:
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
            buffers, size = self._control.popleft()
            self._control_bytes -= size
            budget -= size
            out += buffers
        while self._replies and budget > 0:
            (buffers, size), owner = self._replies.popleft()
            self._reply_bytes -= size
            budget -= size
            out += buffers
            owner.queued -= 1
            if owner.state is _CLOSED and owner.done:
                self.done.append(owner)
        if not self._replies:  # else DATA could overtake its own announcement
            while self._lossy and budget > 0:
                buffers, size = self._lossy.pop(next(iter(self._lossy)))
                self._reply_bytes -= size
                budget -= size
                out += buffers
            if self._ring:
                self._take_data(out)
        return out

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
        if size <= SMALL_TAIL:
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
            for frames in bulk.after:
                self._enqueue(stream, frames)
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
            self.done.append(stream)

    def _enqueue(self, stream: Stream, frames: Frames) -> None:
        self._replies.append((frames, stream))
        stream.queued += 1
        self._reply_bytes += frames[1]
        if self._reply_bytes > self._reply_limit:
            problem = f"{self._reply_bytes} bytes of replies wait unread (SPEC 11)"
            raise RemoteProtocolError(ErrorCode.SLOW_CONSUMER, problem)

    def _drop_lossy(self, stream: int) -> None:
        for key in [key for key in self._lossy if key[0] == stream]:
            self._reply_bytes -= self._lossy.pop(key)[1]
