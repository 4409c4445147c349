"""Small PNG images without an image library."""

import random
import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png(edge: int, level: int = 128) -> bytes:
    """A grey square of `edge` pixels; `level` 0 to 255."""
    rows = (b"\x00" + bytes([level]) * (3 * edge)) * edge
    header = struct.pack("!IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def noisy_png(edge: int) -> bytes:
    """An image that hardly compresses: about three bytes for each pixel."""
    rng = random.Random(edge)
    rows = b"".join(b"\x00" + rng.randbytes(3 * edge) for _ in range(edge))
    header = struct.pack("!IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
