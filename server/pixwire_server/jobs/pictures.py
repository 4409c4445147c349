"""Looks at the header of a picture that a client sent, before anything is made of it. Blocks: for threads.

Nothing is decoded here: a file of a few kilobytes may claim to hold gigabytes of pixels.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import picture_parts
from .errors import invalid

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
"""What may be sent: media type and the name of its decoder."""

MAX_PIXELS = 64 * 2**20
"""8192 x 8192, the largest size the protocol can ask for."""

_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The EXIF field, and its values for which width and height change places."""

_WEBP_HEADER = 30


@dataclass(frozen=True, slots=True)
class Picture:
    """Its size in pixels as a viewer shows it: turned upright."""

    width: int
    height: int


class _UnreadableError(Exception):
    """Not the header of a picture; the text says what it is instead."""


def inspect(path: Path, media_type: str, field: str) -> Picture:
    """The picture in this file. Raises RequestError naming `field` when it is not one of `media_type` or too large, and
    OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            picture, found = _webp_size(file.read(_WEBP_HEADER)), "image/webp"
            if picture is not None:
                _check_size(picture, media_type, field)  # before the decoder, which makes room for all of it at once
            picture_parts.check(file)  # before a decoder that goes through them one by one
            picture, found = _header(file)
        except picture_parts.TooMuchError as error:
            message = f"{field}: a {media_type} image may have {error}, this one has more; save it anew without them"
            raise invalid(field, media_type, str(error), message) from error
        except _UnreadableError as error:
            message = f"{field}: the bytes are not a whole {media_type} image: {error}"
            raise invalid(field, media_type, f"an image of this type: {_types()}", message) from error
    if found != media_type:
        message = f"{field}: {media_type} was announced, but the bytes are {found}; announce what they are"
        raise invalid(field, media_type, found, message)
    _check_size(picture, media_type, field)
    return picture


def _header(file: Any) -> tuple[Picture, str]:
    from PIL import Image, UnidentifiedImageError  # late: most servers see no attachment, and the import takes a while

    types = {name: media_type for media_type, name in FORMATS.items()} | {"MPO": "image/jpeg"}  # JPEG with a second one
    try:
        with Image.open(file, formats=tuple(FORMATS.values())) as image:
            width, height = image.size
            if _lies_on_its_side(image):
                width, height = height, width
            return Picture(width, height), types[str(image.format)]
    except UnidentifiedImageError:
        raise _UnreadableError(f"they are none of {_types()}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # its own limit is above the one here
        raise _UnreadableError(f"they claim to hold more than {MAX_PIXELS} pixels") from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise _UnreadableError(str(error) or type(error).__name__) from error


def _lies_on_its_side(image: Any) -> bool:
    if image.format == "PNG":  # all of it would be decoded to find out
        return False
    try:
        return image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except Exception:  # the picture itself may be whole
        return False


def _webp_size(header: bytes) -> Picture | None:
    """The canvas of a WebP file; None when it is none, or broken, which the decoder will say better."""
    if len(header) < _WEBP_HEADER or header[:4] != b"RIFF" or header[8:12] != b"WEBP":
        return None
    chunk = header[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(header[24:27], "little") + 1
        return Picture(width, int.from_bytes(header[27:30], "little") + 1)
    if chunk == b"VP8L":
        bits = int.from_bytes(header[21:25], "little")
        return Picture((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", header, 26)
    return Picture(width & 0x3FFF, height & 0x3FFF)


def _check_size(picture: Picture, media_type: str, field: str) -> None:
    pixels = picture.width * picture.height
    if not 0 < pixels <= MAX_PIXELS:
        message = f"{field}: the image has {picture.width} x {picture.height} pixels; send at most {MAX_PIXELS} in all"
        raise invalid(field, media_type, f"an image of 1 to {MAX_PIXELS} pixels", message)


def _types() -> str:
    return ", ".join(FORMATS)
