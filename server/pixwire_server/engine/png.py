"""PNG files: every row filtered by one fixed predictor, then deflated by ISA-L.

Pillow's encoder tries all filters on every row and deflates with zlib: several times the time for a few percent of
size (`python -m benchmarks.engine.image_files`). The interpreter lock is free while a file is made.
"""

import struct
from collections.abc import Iterator, Mapping
from zlib import crc32

import numpy
from isal import isal_zlib
from numpy.typing import NDArray

LEVEL = 1
"""Of ISA-L's 0 to 3: 2 and 3 are a percent or two smaller, 0 is a third larger."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Mapping[int, int] = {1: 0, 2: 4, 3: 2, 4: 6}
"""By channels: grey, grey with alpha, RGB, RGB with alpha."""

_SUB = 1
_MAX_KEYWORD = 79


def encode_png(pixels: NDArray[numpy.uint8], text: Mapping[str, str]) -> bytes:
    """A PNG file of [height, width, channels] with 1 to 4 channels; `text` by keyword goes ahead of the pixels.

    Equal arguments give equal bytes on one kind of processor: ISA-L has a variant for each, which may compress
    differently; the pixels are equal everywhere. Raises ValueError for what a PNG file cannot hold.
    """
    height, width, channels = pixels.shape
    if not height or not width:
        raise ValueError(f"an image of {width} x {height} pixels cannot be a PNG file; at least one pixel is needed")
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *_text_chunks(text)]
    chunks += [_chunk(b"IDAT", isal_zlib.compress(filtered(pixels), LEVEL)), _chunk(b"IEND", b"")]
    return b"".join([_SIGNATURE, *chunks])


def filtered(pixels: NDArray[numpy.uint8]) -> NDArray[numpy.uint8]:
    """The rows as deflate gets them: the filter's number, then each pixel less its left neighbour (modulo 256)."""
    height, width, channels = pixels.shape
    rows = numpy.empty((height, 1 + width * channels), numpy.uint8)
    flat = pixels.reshape(height, width * channels)
    rows[:, 0] = _SUB
    rows[:, 1 : 1 + channels] = flat[:, :channels]
    numpy.subtract(flat[:, channels:], flat[:, :-channels], out=rows[:, 1 + channels :])
    return rows


def _text_chunks(text: Mapping[str, str]) -> Iterator[bytes]:
    """tEXt, which every reader knows, for plain ASCII; iTXt (UTF-8) for all else."""
    for keyword, value in text.items():
        name = keyword.encode("ascii")
        if not 1 <= len(name) <= _MAX_KEYWORD:
            raise ValueError(f"keyword {keyword!r} must have 1 to {_MAX_KEYWORD} characters; use a shorter one")
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")  # no text chunk may hold it
        if value.isascii():
            yield _chunk(b"tEXt", name + b"\0" + value.encode("ascii"))
        else:
            yield _chunk(b"iTXt", name + b"\0\0\0\0\0" + value.encode("utf-8"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc32(data, crc32(kind)))))
