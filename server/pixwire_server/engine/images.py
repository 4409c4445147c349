"""From the pipeline's float images to image files. Runs in the image pool, off the step loop.

Settings were chosen by `python -m benchmarks.engine.image_files`, speed against size. Files tell how they were made
(`metadata`); equal pixels and equal making give equal bytes.
"""

import io
from collections.abc import Callable, Mapping

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from pixwire_server.engine.metadata import NOTHING, Making
from pixwire_server.engine.png import encode_png

Pixels = NDArray[numpy.uint8]

JPEG = {"quality": 92, "subsampling": "4:4:4"}
WEBP = {"quality": 90, "method": 2}
AVIF = {"quality": 80, "speed": 9, "subsampling": "4:4:4", "codec": "aom", "max_threads": 1}
"""One thread each: the pool has several images to encode, and libaom's bytes may depend on the number of threads."""

_MAX_CHANNELS = 4
_WITH_ALPHA = (2, 4)


class NotFiniteError(Exception):
    """The model returned NaN or infinity."""


def to_pixels(images: torch.Tensor) -> list[Pixels]:
    """Images [n, channels, height, width] in 0..1 as n arrays [height, width, channels], rounded as diffusers does.

    Raises NotFiniteError.
    """
    values = images.detach().float().cpu().permute(0, 2, 3, 1).contiguous()
    if not bool(values.isfinite().all()):
        raise NotFiniteError("the model returned numbers that are not finite; a wider type (--dtype float32) may help")
    return list(values.mul_(255).round_().clamp_(0, 255).to(torch.uint8).numpy())


def encode(pixels: Pixels, media_type: str, making: Making = NOTHING) -> bytes:
    """An image file of [height, width] or [height, width, channels]: grey, grey and alpha, RGB, RGB and alpha.

    What a format has no room for is converted: JPEG and raw files hold no alpha, raw files no grey. Deterministic.
    Raises ValueError for an unknown media type and for arrays that are no picture.
    """
    encoder = _ENCODERS.get(media_type)
    if encoder is None:
        raise ValueError(f"media type {media_type!r} is none of {', '.join(_ENCODERS)}; ask for one of these")
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if shaped.ndim != 3 or not 1 <= shaped.shape[2] <= _MAX_CHANNELS or shaped.dtype != numpy.uint8:
        raise ValueError(
            f"pixels of {pixels.dtype} {pixels.shape} are no picture; give uint8 [height, width, 1 to 4 channels]"
        )
    return encoder(numpy.ascontiguousarray(shaped), making)


def _png(pixels: Pixels, making: Making) -> bytes:
    return encode_png(pixels, making.png_text())


def _jpeg(pixels: Pixels, making: Making) -> bytes:
    opaque = pixels[:, :, :-1] if pixels.shape[2] in _WITH_ALPHA else pixels
    return _saved(opaque, "JPEG", JPEG, making)


def _webp(pixels: Pixels, making: Making) -> bytes:
    return _saved(pixels, "WEBP", WEBP, making)


def _avif(pixels: Pixels, making: Making) -> bytes:
    return _saved(pixels, "AVIF", AVIF, making)


def _rgb8(pixels: Pixels, _: Making) -> bytes:
    opaque = pixels[:, :, :-1] if pixels.shape[2] in _WITH_ALPHA else pixels
    return numpy.broadcast_to(opaque, (*pixels.shape[:2], 3)).tobytes()


def _saved(pixels: Pixels, file_format: str, settings: Mapping[str, object], making: Making) -> bytes:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    blocks = {"exif": making.exif(), "xmp": making.xmp()}
    out = io.BytesIO()
    picture.save(out, file_format, **settings, **{name: block for name, block in blocks.items() if block})
    return out.getvalue()


_ENCODERS: Mapping[str, Callable[[Pixels, Making], bytes]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/avif": _avif,
    "image/x-rgb8": _rgb8,
}
