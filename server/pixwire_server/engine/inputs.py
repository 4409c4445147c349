"""From the files a task brings along to pictures of its size. Runs in the image pool, off the step loop."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from pixwire_server.engine.api import MASK, STYLE, GenerateTask, TaskInput
from pixwire_server.engine.arguments import InvalidTaskError

MAX_PIXELS = 64 << 20
"""Larger pictures are refused before they are unpacked: a file of kilobytes can hold gigabytes of one colour."""

MAX_STYLE_SIDE = 1024
"""Pictures for an IP-Adapter are seen at a few hundred pixels; larger ones are brought down to this first."""

_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
_WIDE_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read(task: GenerateTask) -> dict[str, Image.Image]:
    """The pictures by name, `width` x `height`: RGB with Lanczos, masks 8-bit grey with the nearest pixel.

    A picture for the look keeps its own size up to `MAX_STYLE_SIDE`: where it shows what is no matter.

    Raises InvalidTaskError for what is no picture of the announced type, OSError when a file cannot be read.
    """
    return {item.name: _fitted(item, _decoded(item), (task.width, task.height)) for item in task.inputs}


def _decoded(item: TaskInput) -> Image.Image:
    data = Path(item.path).read_bytes()
    wanted = _FORMATS.get(item.media_type)
    if wanted is None:
        raise InvalidTaskError(
            f"{item.name}: media_type = {item.media_type!r} must be one of {', '.join(_FORMATS)}; convert the picture"
        )
    try:
        with Image.open(io.BytesIO(data), formats=(wanted,)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InvalidTaskError(
                    f"{item.name} has {picture.width} x {picture.height} pixels, at most {MAX_PIXELS} are read; "
                    "send a smaller picture"
                )
            picture.load()
            return _upright(picture)
    except InvalidTaskError:
        raise
    except Exception as error:  # broken files make Pillow raise whatever comes: struct, zlib, syntax errors
        raise InvalidTaskError(
            f"{item.name} is not a readable {wanted} picture ({type(error).__name__}: {error}); send it anew, complete"
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    """As a viewer shows it: turned as its EXIF data say (not in PNG files, where they may come last), 16 bits of grey
    as 8."""
    turned = picture if picture.format == "PNG" else ImageOps.exif_transpose(picture)
    if turned.mode in _WIDE_GREY:
        turned = turned.point(lambda value: value / 257).convert("L")
    return turned


def _fitted(item: TaskInput, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if item.name == MASK:
        return picture.convert("L").resize(size, Image.Resampling.NEAREST)
    if item.name == STYLE:
        kept = picture.convert("RGB")
        kept.thumbnail((MAX_STYLE_SIDE, MAX_STYLE_SIDE), Image.Resampling.LANCZOS)
        return kept
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
