"""Masks of the OpenAI API become masks of this server."""

import io
import struct
import zlib

import pytest
from PIL import Image
from test_openai import png

from pixwire_server.doors.http.masks import MAX_PIXELS, painted
from pixwire_server.jobs import RequestError


def test_what_is_transparent_is_painted_anew() -> None:
    mask = Image.new("RGBA", (4, 4), (9, 9, 9, 255))
    mask.putpixel((1, 2), (9, 9, 9, 0))
    mask.putpixel((2, 2), (9, 9, 9, 155))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    with Image.open(io.BytesIO(painted(buffer.getvalue()))) as made:
        assert (made.mode, made.size) == ("L", (4, 4))
        assert [made.getpixel(place) for place in ((0, 0), (1, 2), (2, 2))] == [0, 255, 100]


def _without_palette() -> bytes:
    """A mask that makes Pillow fail where it is sure of itself."""
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + data[data.index(b"IDAT") - 4 :]


def _of_many_chunks() -> bytes:
    data = png(8, "LA", (0, 0))
    return data[:33] + (b"\0\0\0\0abCd" + struct.pack("!I", zlib.crc32(b"abCd"))) * 2000 + data[33:]


@pytest.mark.parametrize("data", [png(8), png(8, "L", 255), b"nonsense", b"", _without_palette(), _of_many_chunks()])
def test_a_mask_without_transparency_and_what_is_none_stays_as_it_is(data: bytes) -> None:
    assert painted(data) == data


def test_a_mask_that_is_too_large_to_decode_is_refused() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(RequestError) as caught:
        painted(png(side, "LA", (0, 0)))
    assert caught.value.details["field"] == "mask"
