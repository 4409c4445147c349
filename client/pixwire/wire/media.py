"""What some bytes probably are: a guess for people, never a decision."""

from typing import Final

# First bytes -> what begins so. The first row that fits counts.
_STARTS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
)
_ENOUGH: Final = 64  # bytes that a guess about text looks at


def guess(data: bytes | bytearray | memoryview) -> str | None:
    """A media type, `text` or `msgpack map`; None for what could be anything, such as the middle of an image."""
    start = bytes(data[:_ENOUGH])
    if not start:
        return None
    for magic, name in _STARTS:
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[0] & 0xF0 == 0x80 or start[0] in (0xDE, 0xDF):
        return "msgpack map"
    # Never mind a character that was cut in two at the end.
    text = start.decode("utf-8", errors="ignore")
    return "text" if len(text.encode()) >= len(start) - 3 and _readable(text) else None


def _readable(text: str) -> bool:
    return bool(text) and all(char.isprintable() or char in "\r\n\t" for char in text)
