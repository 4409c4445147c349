"""Counts what a picture file is made of before a decoder sees it: chunks of a PNG, segments and scans of a JPEG.

A decoder goes through them one by one, most of them in Python: a megabyte of the smallest there are keeps it busy for
half a second, and scans of a hundred bytes each cost it a pass over all pixels. Real files have some dozens.
"""

import re
import struct
from typing import BinaryIO, Final

MAX_PARTS: Final = 1024
"""Chunks beside the pixels; all segments."""
MAX_PIXEL_CHUNKS: Final = 1 << 16
"""What the largest picture has when its chunks are as small as libpng makes them."""
MAX_SCANS: Final = 64
MAX_ASIDE: Final = 16 << 20
"""Bytes that are no pixels: profiles, texts, thumbnails."""
MAX_FILLER: Final = 64 << 10
"""Bytes of a JPEG between its segments."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Neither filler nor within the pixels of a scan."""
_BARE: Final = frozenset((0x01, 0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)))
"""Markers without a segment."""
_SCAN, _END = 0xDA, 0xD9
_BLOCK: Final = 1 << 14


class TooMuchError(Exception):
    """The file is made of more than a picture needs; the text says of what, and how much is allowed."""


def check(file: BinaryIO) -> None:
    """Raises TooMuchError. What is broken, or of another format, passes: the decoder says that better."""
    file.seek(0)
    head = file.read(len(_PNG))
    if head == _PNG:
        _check_png(file)
    elif head.startswith(_JPEG):
        file.seek(2)
        _check_jpeg(file)
    file.seek(0)


def _at_most(found: int, limit: int, what: str) -> None:
    if found > limit:
        raise TooMuchError(f"at most {limit} {what}")


def _check_png(file: BinaryIO) -> None:
    parts = pixels = aside = 0
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack("!I4s", head)
        if name == b"IEND":
            return
        if name in (b"IDAT", b"fdAT"):
            pixels += 1
        else:
            parts, aside = parts + 1, aside + size
        _at_most(parts, MAX_PARTS, "chunks beside the pixels")
        _at_most(pixels, MAX_PIXEL_CHUNKS, "chunks of pixels")
        _at_most(aside, MAX_ASIDE, "bytes of chunks beside the pixels")
        file.seek(size + 4, 1)


def _check_jpeg(file: BinaryIO) -> None:
    parts = scans = aside = filler = 0
    marker: int | None = 0
    while marker is not None:
        skipped, marker = _next_marker(file)
        if scans and marker == _END:
            return
        size = 0 if marker in _BARE else max(int.from_bytes(file.read(2), "big") - 2, 0)
        if not scans:
            filler, aside = filler + skipped, aside + size
        parts, scans = parts + 1, scans + (marker == _SCAN)
        _at_most(parts, MAX_PARTS, "segments")
        _at_most(scans, MAX_SCANS, "scans")
        _at_most(aside, MAX_ASIDE, "bytes of segments before the pixels")
        _at_most(filler, MAX_FILLER, "bytes between segments")
        file.seek(size, 1)


def _next_marker(file: BinaryIO) -> tuple[int, int | None]:
    """How many bytes stand before the next one, and which it is; None: the file is over."""
    skipped = 0
    while len(block := file.read(_BLOCK)) > 1:
        found = _MARKER.search(block)
        if found is not None:
            file.seek(found.end() - len(block), 1)
            return skipped + found.start(), block[found.end() - 1]
        skipped += len(block) - 1
        file.seek(-1, 1)  # it may be the first half of a marker
    return skipped, None
