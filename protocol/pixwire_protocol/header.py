"""The 12-byte frame header (SPEC 4): the only place that knows its layout.

     0               1               2               3
    +---------------+-----------------------------------------------+
    |  marker 0xC1  |            length (24) = head_len + tail      |
    +---------------+---------------+-------------------------------+
    |   type (8)    |   flags (8)   |         head_len (16)         |
    +---------------+---------------+-------------------------------+
    |                        stream id (32)                         |
    +---------------------------------------------------------------+

All integers are big-endian.
"""

from struct import Struct
from typing import Final, NamedTuple

from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError
from pixwire_protocol.registry import HEADER_FORMAT, LIMITS, MARKER, MAX_STREAM

Buffer = bytes | bytearray | memoryview
"""What frames are made of. data_to_send() gives bytes and memoryviews; never change a buffer that was handed out."""

HEADER: Final = Struct(HEADER_FORMAT)
_PACK: Final = HEADER.pack
MARKER_WORD: Final = MARKER << 24
MAX_LENGTH: Final = 0xFFFFFF
MAX_HEAD: Final = LIMITS["head_bytes"].default


class Frame(NamedTuple):
    """One frame, not yet understood: the header's fields without the marker and the lengths, head and tail bytes."""

    type: int
    flags: int
    stream: int
    head: bytes
    tail: Buffer


def pack_header(frame_type: int, flags: int, stream: int, head_size: int, tail_size: int) -> bytes:
    """The header. What does not fit its field is refused, never truncated: MessageTooLargeError names the limit."""
    length = head_size + tail_size
    if head_size > MAX_HEAD or length > MAX_LENGTH or not 0 <= stream <= MAX_STREAM:
        raise _misfit(head_size, length, stream)
    return _PACK(MARKER_WORD | length, frame_type, flags, head_size, stream)


def _misfit(head_size: int, length: int, stream: int) -> LocalProtocolError:
    if head_size > MAX_HEAD:
        return MessageTooLargeError(f"a head of {head_size} bytes exceeds {MAX_HEAD}; put large things into the tail")
    if length > MAX_LENGTH:
        return MessageTooLargeError(f"a frame of {length} bytes exceeds {MAX_LENGTH}; send it in parts")
    return LocalProtocolError(f"stream {stream} is outside 0..{MAX_STREAM}")
