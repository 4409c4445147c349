"""From the pipeline's float images to image files. Runs in the image pool, off the step loop."""

import io
from collections.abc import Mapping

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

JPEG_QUALITY = 90
WEBP_QUALITY = 90
PNG_LEVEL = 1
"""Level 1 takes 26 ms for 1024 x 1024 where level 6 takes 63 ms, for files a few percent larger."""


class NotFiniteError(Exception):
    """The model returned NaN or infinity."""


def to_pixels(images: torch.Tensor) -> list[NDArray[numpy.uint8]]:
    """Images [n, 3, height, width] in 0..1 as n arrays [height, width, 3], rounded as diffusers does.

    Raises NotFiniteError.
    """
    values = images.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    if not numpy.isfinite(values).all():
        raise NotFiniteError("the model returned numbers that are not finite; a wider type (--dtype float32) may help")
    pixels: NDArray[numpy.uint8] = (values * 255).round().astype(numpy.uint8)
    return list(pixels)


def encode(pixels: NDArray[numpy.uint8], media_type: str, text: Mapping[str, str]) -> bytes:
    """An image file of [height, width, 3] pixels. `text` goes into PNG text chunks. Deterministic."""
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if media_type == "image/png":
        chunks = PngInfo()
        for name, value in text.items():
            chunks.add_itxt(name, value) if not value.isascii() else chunks.add_text(name, value)
        image.save(out, "PNG", compress_level=PNG_LEVEL, pnginfo=chunks)
    elif media_type == "image/jpeg":
        image.save(out, "JPEG", quality=JPEG_QUALITY)
    elif media_type == "image/webp":
        image.save(out, "WEBP", quality=WEBP_QUALITY)
    else:
        raise ValueError(f"media type {media_type!r} is none of image/png, image/jpeg, image/webp")
    return out.getvalue()
