"""`pixwire.Image`: one finished image, its bytes as the server encoded them and how it came about."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Union

from .recipe import read_recipe

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

RAW = "image/x-rgb8"
"""Three bytes a pixel (red, green, blue), rows from the top, nothing between them."""
EXTENSIONS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/avif": ".avif", RAW: ".rgb"}
"""The usual file name ending of each media type a server can produce."""


class Writable(Protocol):
    """A file that was opened to write bytes."""

    def write(self, data: memoryview, /) -> object: ...


Target = Union[str, "os.PathLike[str]", Writable]
"""Where an image may be written to."""

_Bytes = bytes  # the class below has an attribute of that name


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """One image.

    Attributes:
        data: the encoded image as a read-only view of the very buffer the socket was read into: no copy was made.
        media_type: "image/png", "image/jpeg", "image/webp", "image/avif" or "image/x-rgb8" (see `RAW`).
        width: in pixels.
        height: in pixels.
        seed: what to pass as `seed` (with `count` left out) to get the same image again, or None if not known.
        job: the id of the job that made it.
        index: its place among the images of that job, from 0.
        metadata: more about it: "etag", and "steps", "timings" and such where the server says so. What the file itself
            tells is its `recipe`.
    """

    data: memoryview
    media_type: str
    width: int
    height: int
    seed: int | None = None
    job: str = ""
    index: int = 0
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def bytes(self) -> _Bytes:
        """The encoded image as `bytes` (a copy of `data`)."""
        return self.data.tobytes()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Image":
        """An image from a PNG, JPEG, WebP or AVIF file, with the seed that its recipe names.

        Raises OSError; ValueError for a file of another kind.
        """
        from .formats import shape_of

        data = Path(path).read_bytes()
        media_type, width, height = shape_of(data)
        recipe = read_recipe(data) or {}
        seed = recipe.get("seed")
        return cls(memoryview(data), media_type, width, height, seed if isinstance(seed, int) else None)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """How it was made, as the image itself tells: the arguments of `generate` and more. None when it does not.

        `client.generate(**pixwire.arguments_of(image.recipe))` makes it again.
        """
        return read_recipe(self.data)

    @property
    def extension(self) -> str:
        """The file name ending that fits `media_type`, with its dot; empty for a media type unknown here."""
        return EXTENSIONS.get(self.media_type, "")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the encoded image to `path` and returns that path.

        Atomic: a reader sees the old file or the whole new one, and a crash leaves no half of it. The bytes are
        written as they are: the ending of the name does not convert them (ask for another `media_type` when
        generating, or use `to_pil`). A device or a named pipe stays what it is: the bytes are written into it.

        Raises:
            OSError: the file cannot be written; `filename` is `path`.
        """
        target = Path(path)
        part = target.parent / f".pixwire-{os.urandom(8).hex()}.part"  # a long name has no room for more
        try:
            if _is_special(target):
                with target.open("wb", buffering=0) as special:
                    _write_all(special, self.data)
                return target
            with part.open("xb") as file:
                file.write(self.data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if isinstance(error, OSError):  # a disk that is full names no file, and the part's name says nothing
                error.filename, error.filename2 = os.fspath(target), None
            raise
        return target

    def write_to(self, target: "Target") -> None:
        """Writes the encoded image to a path, as `save` does, or into a file that was opened to write bytes."""
        if isinstance(target, str | os.PathLike):
            self.save(target)
        else:
            _write_all(target, self.data)

    def to_pil(self) -> "PILImage":
        """The decoded image as a `PIL.Image.Image`.

        Raises:
            ImportError: pillow is not installed (`pip install pillow`); this package does not need it otherwise.
        """
        try:
            import PIL.Image
        except ImportError as error:
            raise ImportError("Image.to_pil() needs pillow: pip install pillow") from error
        from io import BytesIO

        if self.media_type == RAW:
            return PIL.Image.frombytes("RGB", (self.width, self.height), self.data)
        decoded = PIL.Image.open(BytesIO(self.data))
        decoded.load()
        return decoded

    def to_numpy(self) -> "NDArray[uint8]":
        """The decoded image as a numpy array of uint8, height x width x 3 (RGB).

        For the media type "image/x-rgb8" it is a read-only view of `data`, without a copy or a decoder; the others are
        decoded by pillow.

        Raises:
            ImportError: numpy (or pillow) is not installed; this package does not need them otherwise.
        """
        try:
            import numpy as np
        except ImportError as error:
            raise ImportError("Image.to_numpy() needs numpy: pip install numpy") from error
        if self.media_type == RAW:
            return np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)
        return np.asarray(self.to_pil().convert("RGB"))

    def __repr__(self) -> str:
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"<pixwire.Image {self.width}x{self.height} {self.media_type}, {len(self.data):,} bytes{seed}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (
            self.bytes,
            self.media_type,
            self.width,
            self.height,
            self.seed,
            self.job,
            self.index,
            dict(self.metadata),
        )
        return _restore, state

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows. PNG and JPEG go as they are; WebP and AVIF, which not every notebook knows, are left
        to the browser, which does; raw pixels become PNG, if pillow is there.
        """
        bundle: dict[str, str] = {"text/plain": repr(self)}
        if self.media_type in ("image/webp", "image/avif"):
            source = f"data:{self.media_type};base64,{_base64(self.data)}"
            bundle["text/html"] = f'<img width="{self.width}" height="{self.height}" src="{source}">'
        elif (png := self._repr_png_()) is not None:
            bundle["image/png"] = _base64(png)
        elif (jpeg := self._repr_jpeg_()) is not None:
            bundle["image/jpeg"] = _base64(jpeg)
        return {
            kind: value
            for kind, value in bundle.items()
            if (include is None or kind in include) and kind not in (exclude or ())
        }

    def _repr_png_(self) -> _Bytes | None:
        """For programs that know no bundles."""
        if self.media_type == "image/png":
            return self.bytes
        if self.media_type != RAW:
            return None
        from io import BytesIO

        file = BytesIO()
        try:
            self.to_pil().save(file, "PNG")
        except (ImportError, ValueError):  # no pillow; or fewer bytes than there should be
            return None
        return file.getvalue()

    def _repr_jpeg_(self) -> _Bytes | None:
        return self.bytes if self.media_type == "image/jpeg" else None


def _is_special(path: Path) -> bool:
    """Whether it is there and neither a file nor a folder: /dev/null is nothing to put a file in the place of."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _write_all(file: Writable, data: memoryview) -> None:
    """All of it: a file without a buffer may take less at a time, as when the disk is nearly full."""
    if not isinstance(file, RawIOBase):
        file.write(data)
        return
    while data:
        taken = file.write(data)
        if taken is None:
            raise BlockingIOError(errno.EAGAIN, "the file would block; open it to block, or with a buffer")
        if taken <= 0:
            raise OSError(errno.EIO, "the file takes no more bytes")
        data = data[taken:]


def _base64(data: _Bytes | memoryview) -> str:
    from base64 import standard_b64encode

    return standard_b64encode(data).decode()


def _restore(
    data: _Bytes, media_type: str, width: int, height: int, seed: int | None, job: str, index: int, more: dict[str, Any]
) -> Image:
    return Image(memoryview(data), media_type, width, height, seed, job, index, MappingProxyType(more))
