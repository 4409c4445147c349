"""`pixwire.Image`: one finished image, its bytes as the server encoded them and how it came about."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

EXTENSIONS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
"""The usual file name ending of each media type a server can produce."""

_Bytes = bytes  # the class below has an attribute of that name


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """One image.

    Attributes:
        data: the encoded image as a read-only view of the very buffer the socket was read into: no copy was made.
        media_type: "image/png", "image/jpeg" or "image/webp".
        width, height: in pixels.
        seed: what to pass as `seed` (with `count` left out) to get the same image again, or None if not known.
        job: the id of the job that made it; `index` its place among the images of that job.
        metadata: more about it: "etag", and "model", "steps" and such where the server says so.
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

    @property
    def extension(self) -> str:
        """The file name ending that fits `media_type`, with its dot; empty for a media type unknown here."""
        return EXTENSIONS.get(self.media_type, "")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the encoded image to `path` and returns that path.

        Atomic: a reader sees the old file or the whole new one, and a crash leaves no half of it. The bytes are
        written as they are: the ending of the name does not convert them (ask for another `media_type` when
        generating, or use `to_pil`).

        Raises:
            OSError: the file cannot be written.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
        try:
            with part.open("xb") as file:
                file.write(self.data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return target

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

        decoded = PIL.Image.open(BytesIO(self.data))
        decoded.load()
        return decoded

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

    def _repr_png_(self) -> _Bytes | None:
        """What a notebook shows."""
        return self.bytes if self.media_type == "image/png" else None

    def _repr_jpeg_(self) -> _Bytes | None:
        return self.bytes if self.media_type == "image/jpeg" else None


def _restore(
    data: _Bytes, media_type: str, width: int, height: int, seed: int | None, job: str, index: int, more: dict[str, Any]
) -> Image:
    return Image(memoryview(data), media_type, width, height, seed, job, index, MappingProxyType(more))
