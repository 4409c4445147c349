"""Masks as OpenAI's API has them: transparent where the picture is to be painted anew. Blocks: for threads."""

import io
from typing import Final

from pixwire_server.doors.http import fields

MAX_PIXELS: Final = 16 << 20
"""A mask is decoded here, so it is smaller than what may be sent otherwise."""
_FORMATS: Final = ("PNG", "WEBP")


def painted(data: bytes) -> bytes:
    """The mask as this server has it, white where it was transparent; a mask without transparency as it is.

    Raises RequestError naming `mask`.
    """
    from PIL import Image  # late: most servers see no mask, and the import takes a while

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format not in _FORMATS or not image.has_transparency_data:
                return data  # what is wrong with it, if anything, Jobs finds out
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise fields.wrong("mask", size, f"at most {MAX_PIXELS} pixels, or a mask without transparency")
            alpha = image.convert("RGBA").getchannel("A")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return data
    file = io.BytesIO()
    alpha.point([255 - value for value in range(256)]).save(file, "PNG")
    return file.getvalue()
