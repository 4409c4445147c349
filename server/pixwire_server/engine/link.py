"""Framing of engine messages on the socket pair: sans-IO, used by both ends.

A frame is `!IQ` (head length, tail length), the msgpack head, the raw tail. Both ends are the same program, so
there are no versions and a malformed frame is a bug, raised as `LinkError`.
"""

import struct

from pixwire_server.engine.api import Message
from pixwire_server.engine.codec import Buffer, from_wire, to_wire

_PREFIX = struct.Struct("!IQ")
_MAX_HEAD = 16 << 20
_MAX_TAIL = 4 << 30
_SCRATCH = 256 * 1024
_DIRECT = 64 * 1024
"""Tails that lack at least so much are received in place; below, one read may bring the next messages too."""


class LinkError(RuntimeError):
    """The bytes on the socket pair are not engine messages."""


def encode(message: Message) -> list[Buffer]:
    """The buffers to write, in order."""
    head, blobs = to_wire(message)
    return [_PREFIX.pack(len(head), sum(map(len, blobs))) + head, *blobs]


class Decoder:
    """Collects bytes and returns whole messages.

    Two ways in: `feed`, and `get_buffer` with `buffer_updated` for a transport that receives into a given place. A tail
    is received once, where it stays: images of many megabytes are not copied on their way.
    """

    def __init__(self) -> None:
        self._start = bytearray()  # prefix and head, as far as they have come
        self._head: bytes | None = None
        self._tail = memoryview(b"")
        self._filled = 0
        self._lent: memoryview | None = None
        self._scratch = memoryview(bytearray(_SCRATCH))

    def feed(self, data: Buffer) -> list[Message]:
        """Add received bytes; return the messages they complete. Raises LinkError."""
        messages: list[Message] = []
        rest = memoryview(data)
        while True:
            if self._head is None:
                rest = self._take_start(rest)
                if self._head is None:
                    return messages
            step = min(len(rest), len(self._tail) - self._filled)
            self._tail[self._filled : self._filled + step] = rest[:step]
            self._filled += step
            rest = rest[step:]
            if self._filled < len(self._tail):
                return messages
            messages.append(self._finish())

    def get_buffer(self) -> memoryview:
        """Where to receive next; `buffer_updated` follows."""
        missing = len(self._tail) - self._filled
        self._lent = self._tail[self._filled :] if missing >= _DIRECT else None
        return self._scratch if self._lent is None else self._lent

    def buffer_updated(self, count: int) -> list[Message]:
        """`count` bytes were received into that place. As `feed`."""
        if self._lent is None:
            return self.feed(self._scratch[:count])
        self._lent = None
        self._filled += count
        return [self._finish()] if self._filled == len(self._tail) else []

    def _take_start(self, rest: memoryview) -> memoryview:
        """Prefix and head; what is left of `rest`. When both are there, `_head` is and the tail has its place."""
        start = self._start
        size = _PREFIX.size
        for _ in ("prefix", "head"):
            step = max(0, size - len(start))
            start += rest[:step]
            rest = rest[step:]
            if len(start) < size:
                return rest
            head_size, tail_size = _PREFIX.unpack_from(start)
            if head_size > _MAX_HEAD or tail_size > _MAX_TAIL:
                raise LinkError(f"engine frame too large: head {head_size}, tail {tail_size} bytes")
            size = _PREFIX.size + head_size
        if len(start) == size:
            self._head = bytes(start[_PREFIX.size :])
            self._tail, self._filled = memoryview(bytearray(tail_size)), 0
            start.clear()
        return rest

    def _finish(self) -> Message:
        head, tail = self._head or b"", self._tail
        self._head, self._tail, self._filled = None, memoryview(b""), 0
        try:
            return from_wire(head, tail)
        except ValueError as error:
            raise LinkError(str(error)) from error
