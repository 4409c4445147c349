"""Masks as OpenAI's API has them: transparent where the picture is to be painted anew. Blocks: for threads."""

import io
from typing import Final

from pixwire_server.doors.http import fields
from pixwire_server.jobs import RequestError, picture_parts

MAX_PIXELS: Final = 16 << 20
"""A mask is decoded here, so it is smaller than what may be sent otherwise."""
_FORMATS: Final = ("PNG", "WEBP")


def painted(data: bytes) -> bytes:
    """The mask as this server has it, white where it was transparent; a mask without transparency as it is.

    Raises RequestError naming `mask`.
    """
    from PIL import Image  # late: most servers see no mask, and the import takes a while

    try:
        picture_parts.check(file := io.BytesIO(data))
        with Image.open(file, formats=_FORMATS) as image:
            if not image.has_transparency_data:
                return data
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise fields.wrong("mask", size, f"at most {MAX_PIXELS} pixels, or a mask without transparency")
            alpha = image.convert("RGBA").getchannel("A")
    except RequestError:
        raise
    except Exception:  # decoders raise whatever a broken file leads them to: what is wrong with it, Jobs finds out
        return data
    out = io.BytesIO()
    alpha.point([255 - value for value in range(256)]).save(out, "PNG")
    return out.getvalue()
