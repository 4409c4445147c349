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


class LinkError(RuntimeError):
    """The bytes on the socket pair are not engine messages."""


def encode(message: Message) -> list[bytes]:
    """The buffers to write, in order."""
    head, blobs = to_wire(message)
    return [_PREFIX.pack(len(head), sum(map(len, blobs))) + head, *blobs]


class Decoder:
    """Collects bytes and returns whole messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: Buffer) -> list[Message]:
        """Add received bytes; return the messages they complete. Raises LinkError."""
        self._data += data
        messages: list[Message] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        if len(self._data) < _PREFIX.size:
            return None
        head_size, tail_size = _PREFIX.unpack_from(self._data)
        if head_size > _MAX_HEAD or tail_size > _MAX_TAIL:
            raise LinkError(f"engine frame too large: head {head_size}, tail {tail_size} bytes")
        end = _PREFIX.size + head_size + tail_size
        if len(self._data) < end:
            return None
        with memoryview(self._data) as view:
            try:
                head = bytes(view[_PREFIX.size : _PREFIX.size + head_size])
                message = from_wire(head, bytes(view[_PREFIX.size + head_size : end]))
            except ValueError as error:
                raise LinkError(str(error)) from error
        del self._data[:end]
        return message
