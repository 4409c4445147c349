"""What kind of image some bytes are, and how large: from the first bytes of the file, without a decoder."""

from collections.abc import Callable

MAGIC_BYTES = 12
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF markers: the frames that tell a size
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a body


def media_type_of(start: bytes) -> str | None:
    """The media type that the first bytes (12 of them) of an image show, or None."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
        return "image/avif"
    return None


def shape_of(data: bytes) -> tuple[str, int, int]:
    """Media type, width and height (pixels). Raises ValueError for what is no such image."""
    media_type = media_type_of(data[:MAGIC_BYTES])
    if media_type is None:
        raise ValueError("this is no PNG, JPEG, WebP or AVIF image")
    try:
        width, height = _SIZES[media_type](data)
    except (IndexError, ValueError):
        width = height = 0
    if not (width and height):
        raise ValueError(f"this {media_type} file does not tell its size; it is cut off or damaged")
    return media_type, width, height


def _png(data: bytes) -> tuple[int, int]:
    return _big(data, 16, 4), _big(data, 20, 4)


def _jpeg(data: bytes) -> tuple[int, int]:
    place = 2
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _JPEG_SIZES:
            return _big(data, place + 7, 2), _big(data, place + 5, 2)
        place += 1 if marker == 0xFF else 2 if marker in _JPEG_BARE else 2 + _big(data, place + 2, 2)
    raise ValueError("no frame header")


def _webp(data: bytes) -> tuple[int, int]:
    match data[12:16]:
        case b"VP8X":
            return 1 + _little(data, 24, 3), 1 + _little(data, 27, 3)
        case b"VP8 ":
            return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
        case b"VP8L":
            bits = _little(data, 21, 4)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise ValueError("an unknown kind of WebP")


def _avif(data: bytes) -> tuple[int, int]:
    place = data.index(b"ispe")  # the property "image spatial extents": version and flags, then the size
    return _big(data, place + 8, 4), _big(data, place + 12, 4)


_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/avif": _avif,
}


def _big(data: bytes, place: int, size: int) -> int:
    data[place + size - 1]  # IndexError for a file that ends earlier
    return int.from_bytes(data[place : place + size], "big")


def _little(data: bytes, place: int, size: int) -> int:
    data[place + size - 1]
    return int.from_bytes(data[place : place + size], "little")
