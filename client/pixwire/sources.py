"""Images that go to the server: from a path, bytes, a file, a `pixwire.Image`, a PIL image or a numpy array.

What an image is, is decided by what it can do (duck typing), so neither pillow nor numpy is imported unless one of
their objects is given. `prepare` reads and hashes, so it blocks: a shell runs it in a thread. SPEC 8.7.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.record import record

from .errors import invalid
from .formats import MAGIC_BYTES, media_type_of
from .image import Image

if TYPE_CHECKING:
    import hashlib

    from PIL.Image import Image as PILImage


class Readable(Protocol):
    """A file that was opened to read bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


class ArrayLike(Protocol):
    """A numpy array, or what can be seen as one."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


ImageSource = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, Readable, Image, "PILImage", ArrayLike]
"""Where an image comes from. A str is a path."""

IN_MEMORY = 4 << 20  # files up to this size are read once and kept; larger ones are read again while they are sent
CHUNK = 1 << 18
UPLOADED = ("image/png", "image/jpeg", "image/webp")
"""What a server takes."""


class Content(Protocol):
    """The bytes of one attachment, which can be read again (a connection may break)."""

    def read(self, offset: int, size: int) -> memoryview:
        """Exactly that part. Raises OSError when it cannot be had any more."""


@record
class InMemory:
    """Bytes that nobody changes."""

    data: bytes

    def read(self, offset: int, size: int) -> memoryview:
        return memoryview(self.data)[offset : offset + size]


@record
class InFile:
    """A file that must not change until it was sent.

    It is opened for each part, so that an upload which is given up has nothing to close; `identity` tells whether it
    is still the file that was hashed.
    """

    path: Path
    identity: tuple[int, ...]

    def read(self, offset: int, size: int) -> memoryview:
        with self.path.open("rb", buffering=0) as file:
            if _identity(os.fstat(file.fileno())) != self.identity:
                raise OSError("it was changed while it was being sent")
            data = os.pread(file.fileno(), size, offset)
        if len(data) != size:
            raise OSError("it became shorter while it was being sent")
        return memoryview(data)


@record
class Part:
    """One attachment: what is said about it, and its bytes."""

    attachment: Attachment
    content: Content


def prepare(sources: Mapping[str, ImageSource | None]) -> tuple[Part, ...]:
    """The attachments, by name; None is none. Reads and hashes them: run it where blocking is fine.

    Raises InvalidArgument naming the one that cannot be read, or is no PNG, JPEG or WebP.
    """
    return tuple(_part(name, source) for name, source in sources.items() if source is not None)


def is_quick(sources: Mapping[str, ImageSource | None]) -> bool:
    """Whether `prepare` blocks for no longer than a millisecond or so."""
    return all(source is None or (isinstance(source, bytes) and len(source) <= CHUNK) for source in sources.values())


def _part(name: str, source: Any) -> Part:
    try:
        return _from_path(name, Path(source)) if isinstance(source, str | os.PathLike) else _from_object(name, source)
    except OSError as error:
        problem = error.strerror or str(error)
        shown = f" {str(source)!r}" if isinstance(source, str | os.PathLike) else ""
        raise invalid(name, str(source)[:200], _ALLOWED, f"{name}{shown} cannot be read: {problem.lower()}") from None


_ALLOWED = "a path, bytes, a binary file, a pixwire.Image, a PIL image or a numpy array"


def _from_path(name: str, path: Path) -> Part:
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if found.st_size <= IN_MEMORY:
            return _from_bytes(name, file.readall())
        digest, start, size = _sha256(), b"", 0
        for chunk in _chunks(file):
            start = start or bytes(chunk[:MAGIC_BYTES])
            digest.update(chunk)
            size += len(chunk)
    attachment = Attachment(name, size, digest.hexdigest(), _checked(name, start))
    if size != found.st_size:
        raise OSError("it changes while it is being read")
    return Part(attachment, InFile(path.absolute(), _identity(found)))


def _chunks(file: io.FileIO) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(CHUNK))
    while count := file.readinto(buffer):
        yield buffer[:count]


def _from_object(name: str, source: Any) -> Part:
    if isinstance(source, Image):
        return _from_bytes(name, source.bytes if source.media_type in UPLOADED else _encode(source.to_pil()))
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(name, bytes(source))
    if hasattr(source, "save") and hasattr(source, "mode"):
        return _from_bytes(name, _encode(source))
    if hasattr(source, "__array_interface__"):
        return _from_bytes(name, _encode(_picture(name, source)))
    if hasattr(source, "read"):
        data = source.read()
        if isinstance(data, bytes):
            return _from_bytes(name, data)
        raise invalid(name, type(data).__name__, _ALLOWED, f"{name} is a text file; open it in mode 'rb'")
    raise invalid(name, type(source).__name__, _ALLOWED, f"{name} must be {_ALLOWED}, not {type(source).__name__}")


def _from_bytes(name: str, data: bytes) -> Part:
    media_type = _checked(name, data[:MAGIC_BYTES])
    return Part(Attachment(name, len(data), _sha256(data).hexdigest(), media_type), InMemory(data))


def _sha256(data: bytes = b"") -> "hashlib._Hash":
    from hashlib import sha256  # it loads OpenSSL, which who sends no images need not have

    return sha256(data)


def _checked(name: str, start: bytes) -> str:
    media_type = media_type_of(start)
    if media_type not in UPLOADED:
        shown = f"it begins with {start[:8].hex(' ')}" if start else "it is empty"
        allowed = "a PNG, JPEG or WebP image"
        raise invalid(name, start[:8].hex(" "), allowed, f"{name} must be {allowed}, but {shown}; convert it")
    return str(media_type)


def _encode(picture: Any) -> bytes:
    """A PIL image as PNG, as quickly as that goes without loss."""
    file = io.BytesIO()
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture(name: str, source: Any) -> "PILImage":
    try:
        import numpy as np
        import PIL.Image
    except ImportError as error:
        text = f"{name} is an array; to encode it pillow is needed: pip install pillow"
        raise invalid(name, type(source).__name__, _ALLOWED, text) from error
    array = np.asarray(source)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    allowed = "an array of uint8 or bool, height x width, or height x width x 3 (RGB) or 4 (RGBA)"
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        shown = f"{array.dtype} {'x'.join(map(str, array.shape))}"
        raise invalid(name, shown, allowed, f"{name} must be {allowed}, not {shown}")
    return PIL.Image.fromarray(np.ascontiguousarray(array))


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
