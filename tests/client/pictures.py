"""Images for the tests of uploads."""

import io
import os

from PIL import Image


def png(size: tuple[int, int] = (8, 8), colour: tuple[int, int, int] = (200, 30, 30), filler: int = 0) -> bytes:
    """A PNG; `filler` bytes behind it, which no decoder minds, make it as large as a test wants."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue() + os.urandom(filler)
