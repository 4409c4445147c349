"""Names of the files that images are saved to."""

import re
import sys
from pathlib import Path

from ..errors import InvalidArgument, invalid
from ..image import EXTENSIONS, Image

MEDIA_TYPES = {**{ending: kind for kind, ending in EXTENSIONS.items()}, ".jpeg": "image/jpeg"}
"""Media type by file name ending."""

STDOUT = Path("-")
"""The output that is no file."""


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
    """Raises InvalidArgument when the folder of an output file is not there, or the file is one, before any work."""
    if not output.parent.is_dir():
        raise invalid("output", str(output), "a folder that exists", f"there is no folder {str(output.parent)!r}")
    if output.is_dir():
        raise invalid("output", str(output), "a file", f"{str(output)!r} is a folder: name a file")


def numbered(output: Path, count: int) -> list[Path]:
    """`out.png` alone for one image, `out-1.png`, `out-2.png`, ... for several."""
    if count == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def only_one(wanted: str) -> InvalidArgument:
    """What to raise when something else than one image is to go to stdout."""
    return invalid("output", "-", "one image, without --json", f"only one image fits stdout, {wanted}")


def to_stdout(image: Image) -> None:
    """The image itself, for a pipe."""
    sys.stdout.buffer.write(image.data)
    sys.stdout.buffer.flush()


def save_all(images: list[Image], output: Path) -> list[Path]:
    """Saves the images under numbered names and returns those."""
    return [image.save(path) for image, path in zip(images, numbered(output, len(images)), strict=True)]
