"""Names of the files that images are saved to."""

import re
from pathlib import Path

from ..errors import invalid
from ..image import EXTENSIONS, Image

MEDIA_TYPES = {**{ending: kind for kind, ending in EXTENSIONS.items()}, ".jpeg": "image/jpeg"}
"""Media type by file name ending."""


def slug(text: str, longest: int = 60) -> str:
    """A prompt as a file name: `a-red-circle-on-a-blue-background`."""
    words = re.sub(r"[^\w]+", "-", text.lower()).strip("-_")
    if len(words) > longest:
        words = words[:longest].rpartition("-")[0] or words[:longest]
    return words or "image"


def media_type_of(output: Path) -> str:
    """The media type that the ending of an output file asks for. Raises InvalidArgument for other endings."""
    kind = MEDIA_TYPES.get(output.suffix.lower())
    if kind is None:
        allowed = " ".join(MEDIA_TYPES)
        raise invalid("output", str(output), allowed, f"the name {str(output)!r} has none of the endings {allowed}")
    return kind


def check_folder(output: Path) -> None:
    """Raises InvalidArgument when the folder of an output file is not there, before any work is done for it."""
    if not output.parent.is_dir():
        raise invalid("output", str(output), "a folder that exists", f"there is no folder {str(output.parent)!r}")


def numbered(output: Path, count: int) -> list[Path]:
    """`out.png` alone for one image, `out-1.png`, `out-2.png`, ... for several."""
    if count == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def save_all(images: list[Image], output: Path) -> list[Path]:
    """Saves the images under numbered names and returns those."""
    return [image.save(path) for image, path in zip(images, numbered(output, len(images)), strict=True)]
