"""Bytes to frames (SPEC 4). Knows the preface and the header; what a frame means is the receiver's business.

One parser, two ways in: `feed(bytes)`, and `get_buffer()` / `buffer_updated(n)` for transports that can receive into
a given place. Both drive the same explicit state (`Need`), so the result never depends on how the bytes were cut.

Nothing of a body is stored before its header was accepted. The receiver is asked once per header and answers with
None (collect the body), SKIP (count it, keep nothing) or a writable memoryview: the body goes straight there. If that
view is up to 12 bytes longer than the body, the next header is received into its end in the same read; the next body
then overwrites it.
"""

from enum import IntEnum
from typing import Final, Protocol

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.header import HEADER, MARKER_WORD, MAX_LENGTH, Buffer
from pixwire_protocol.registry import HEADER_SIZE, LIMITS, MAGIC, PREFACE, ErrorCode

SCRATCH_SIZE: Final = 64 * 1024
"""One read of small frames. Larger did not help on loopback; a body is received into its own buffer anyway."""
SHORT_READ: Final = 4 * 1024
"""The same where an image may follow: what it brings of that is copied, and the rest comes into its place at once."""
DIRECT_SIZE: Final = 8 * 1024
"""Bodies that lack at least this much are received in place; below, one read may bring the next frames too."""
SMALL_TAIL: Final = 4096
"""Tails up to this size become bytes of their own; larger ones are views of what was received."""


class Need(IntEnum):
    """What the parser waits for."""

    PREFACE = 0
    HEADER = 1
    BODY = 2
    SKIPPED = 3
    """The rest of a body nobody wants."""
    NOTHING = 4
    """The connection is over: everything is thrown away."""


class Skip:
    """Type of SKIP."""


SKIP: Final = Skip()
# Used for every frame: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
_PREFACE: Final = Need.PREFACE
_HEADER: Final = Need.HEADER
_BODY: Final = Need.BODY
_SKIPPED: Final = Need.SKIPPED

_UNPACK: Final = HEADER.unpack_from

Place = memoryview | Skip | None
_NOWHERE: Final = memoryview(b"")


class Receiver(Protocol):
    """What the parser reports to. Every method may raise RemoteProtocolError: parsing ends there."""

    def on_preface(self, min_major: int, max_major: int) -> None:
        """The magic was right; these are the versions offered or chosen."""

    def on_header(self, frame_type: int, flags: int, head_size: int, stream: int, length: int) -> Place:
        """A header whose lengths are consistent and within max_frame."""

    def on_frame(self, head: bytes, tail: Buffer, placed: bool) -> None:
        """The body of that header is complete (not called for SKIP)."""


class FrameParser:
    """Cuts a byte stream into preface and frames."""

    __slots__ = (
        "_filled",
        "_head_size",
        "_held",
        "_length",
        "_lent",
        "_need",
        "_placed",
        "_receiver",
        "_scratch",
        "_target",
        "max_frame",
        "read_short",
    )

    def __init__(self, receiver: Receiver, scratch: memoryview | None = None) -> None:
        self.max_frame = LIMITS["handshake_max_frame"].default
        self._receiver = receiver
        self._need = _PREFACE
        self._held = bytearray()  # an incomplete preface or header
        self._target = _NOWHERE  # where an incomplete body is collected
        self._placed = False
        self._length = self._head_size = self._filled = 0
        self._lent: memoryview | None = None  # the part of _target that get_buffer() gave out
        self._scratch = scratch
        self.read_short = False
        """What comes next is the beginning of a body that has a place, or may be; holds for one read."""

    @property
    def between_frames(self) -> bool:
        """Whether the preface is there and nothing was begun that is not complete."""
        return self._need is _HEADER and not self._held

    @property
    def mid_frame(self) -> bool:
        """Whether a frame was begun that is not complete."""
        need = self._need
        return bool(self._held) if need is _HEADER else need is _BODY or need is _SKIPPED

    @property
    def in_body(self) -> bool:
        """Whether a body is being collected."""
        return self._need is _BODY

    def stop(self) -> None:
        """Throw away everything from now on; references to buffers are dropped."""
        self._need = Need.NOTHING
        self._held.clear()
        self._target = _NOWHERE

    # ------------------------------------------------------------------ the two ways in

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        position, size = 0, len(data)
        while position < size:
            need = self._need
            if need is _HEADER:
                if size - position >= HEADER_SIZE and not self._held:
                    position = self._take_frames(data, position)
                else:
                    position = self._take_header(data, position)
            elif need is _BODY:
                position = self._take_body(data, position)
            elif need is _SKIPPED:
                step = min(self._length - self._filled, size - position)
                self._filled += step
                position += step
                if self._filled == self._length:
                    self._need = _HEADER
            elif need is _PREFACE:
                position = self._take_preface(data, position)
            else:
                return

    def get_buffer(self) -> memoryview:
        """Where to receive the next bytes; never empty. Call buffer_updated() before the next call."""
        if self._need is _BODY and self._length - self._filled >= DIRECT_SIZE:
            self._lent = self._target[self._filled :]
            return self._lent
        self._lent = None
        if self._scratch is None:
            self._scratch = memoryview(bytearray(SCRATCH_SIZE))
        return self._scratch[:SHORT_READ] if self.read_short else self._scratch

    def buffer_updated(self, count: int) -> None:
        """`count` bytes were received into the buffer given last."""
        lent, self._lent = self._lent, None
        if lent is None:
            self.read_short = self._placed and self._need is _BODY  # then the next chunk follows
            if self._scratch is not None:
                self.feed(bytes(self._scratch[:count]))
            return
        if self._need is not _BODY:  # the body was abandoned while it was being received
            self.feed(bytes(lent[:count]))
            return
        self._filled += count
        if self._filled >= self._length:
            next_header = bytes(self._target[self._length : self._filled])
            self._finish()
            if next_header:
                self.feed(next_header)

    def abandon_body(self) -> None:
        """Nobody wants the body being collected (in_body) any more: skip the rest of it."""
        self._need = _SKIPPED
        self._target = _NOWHERE

    def move_body(self, place: memoryview, spare: int) -> bool:
        """Continue the body being collected at the start of `place`, with what has come of it; `spare` bytes more may
        be used as in on_header. False: not possible."""
        if self._need is not _BODY or self._lent is not None or len(place) < self._length:
            return False
        place[: self._filled] = self._target[: self._filled]
        self._target = place[: self._length + spare]
        self._placed = self.read_short = True
        return True

    # ------------------------------------------------------------------ one step each; they return the new position

    def _take_preface(self, data: bytes, position: int) -> int:
        held = self._held
        end = min(len(data), position + len(PREFACE) - len(held))
        held += data[position:end]
        if not MAGIC.startswith(held[: len(MAGIC)]):
            # Judged at the first wrong byte: whoever speaks HTTP or TLS to this port learns nothing by waiting.
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "the peer does not speak PXW: wrong preface (SPEC 2)")
        if len(held) == len(PREFACE):
            versions = held[len(MAGIC)], held[len(MAGIC) + 1]
            held.clear()
            self._need = _HEADER
            self._receiver.on_preface(*versions)
        return end

    def _take_header(self, data: bytes, position: int) -> int:
        """A header that came in parts."""
        held = self._held
        end = min(len(data), position + HEADER_SIZE - len(held))
        held += data[position:end]
        if len(held) < HEADER_SIZE:
            if len(held) >= 4:  # marker and length are judged as soon as they are there
                self._check_word(int.from_bytes(held[:4]))
            return end
        word, frame_type, flags, head_size, stream = HEADER.unpack(held)
        held.clear()
        length = word - MARKER_WORD
        if not head_size <= length <= self.max_frame:
            self._check_sizes(word, head_size)
        place = self._receiver.on_header(frame_type, flags, head_size, stream, length)
        return self._begin(end, head_size, length, place)

    def _take_frames(self, data: bytes, position: int) -> int:
        """At least one header is whole, at position. Takes all frames that lie in data to their end, one after the
        other without a detour: most do. What is left then is the business of others.
        """
        receiver, unpack = self._receiver, _UNPACK
        on_header, on_frame = receiver.on_header, receiver.on_frame
        size = len(data)
        last = size - HEADER_SIZE
        while position <= last:
            word, frame_type, flags, head_size, stream = unpack(data, position)
            length = word - MARKER_WORD
            if not head_size <= length <= self.max_frame:
                self._check_sizes(word, head_size)
            begin = position + HEADER_SIZE
            position = begin + length
            place = on_header(frame_type, flags, head_size, stream, length)
            if place is not None or position > size:
                return self._begin(begin, head_size, length, place)
            if head_size == length:
                on_frame(data[begin:position], b"", False)
            else:
                head, tail = data[begin : begin + head_size], memoryview(data)[begin + head_size : position]
                on_frame(head, bytes(tail) if length - head_size <= SMALL_TAIL else tail, False)
        return position

    def _begin(self, position: int, head_size: int, length: int, place: Place) -> int:
        """A header was accepted; its body, at position, is to be collected, placed, or skipped."""
        if isinstance(place, Skip):
            if length:
                self._need = _SKIPPED
            self._length, self._filled = length, 0
            return position
        if length == 0:
            self._receiver.on_frame(b"", b"", False)
            return position
        self._placed = self.read_short = place is not None
        # The length was accepted: at most max_frame, the memory we declared we would spend on one frame.
        self._target = memoryview(bytearray(length)) if place is None else place
        self._need = _BODY
        self._length, self._head_size, self._filled = length, head_size, 0
        return position

    def _take_body(self, data: bytes, position: int) -> int:
        filled = self._filled
        end = min(len(data), position + self._length - filled)
        self._filled = filled + end - position
        self._target[filled : self._filled] = memoryview(data)[position:end]
        if self._filled == self._length:
            self._finish()
        return end

    def _finish(self) -> None:
        target, head_size, length = self._target, self._head_size, self._length
        self._target = _NOWHERE
        self._need = _HEADER
        tail: Buffer = target[head_size:length]
        if length - head_size <= SMALL_TAIL and not self._placed:
            tail = bytes(tail)
        self._receiver.on_frame(bytes(target[:head_size]), tail, self._placed)

    def _check_sizes(self, word: int, head_size: int) -> None:
        """Raises what is wrong with the first fields of a header."""
        self._check_word(word)
        if head_size > word & MAX_LENGTH:
            problem = f"head_len {head_size} exceeds length {word & MAX_LENGTH} (SPEC 4)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)

    def _check_word(self, word: int) -> None:
        if word & ~MAX_LENGTH != MARKER_WORD:
            problem = f"a frame begins with 0x{word >> 24:02X} instead of 0xC1 (SPEC 4)"
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)
        if word & MAX_LENGTH > self.max_frame:
            problem = f"a frame of {word & MAX_LENGTH} bytes exceeds max_frame {self.max_frame} (SPEC 4, 11)"
            raise RemoteProtocolError(ErrorCode.FRAME_TOO_LARGE, problem)
