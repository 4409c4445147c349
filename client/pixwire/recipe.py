"""How an image was made, read out of the image itself. Needs neither pillow nor a decoder.

A server writes a *recipe* into the files it makes: JSON with the names of `generate`'s arguments and the seed of this
very image. In PNG it is the text chunk `pixwire`, elsewhere a property of the XMP packet.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

KEYWORD = b"pixwire"
MOST_BYTES = 1 << 20
"""A recipe is a kilobyte or so; what is larger is none, and is not unpacked."""
ARGUMENTS = (
    "prompt",
    "negative_prompt",
    "model",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "seed",
    "strength",
    "control_scale",
    "ip_scale",
    "adapters",
)
"""What of a recipe is an argument of `generate`."""

_PNG = b"\x89PNG\r\n\x1a\n"
_OPEN, _CLOSE = b"<pixwire:recipe>", b"</pixwire:recipe>"


def read_recipe(data: bytes | bytearray | memoryview) -> dict[str, Any] | None:
    """The recipe in an encoded image, or None when there is none that can be read."""
    view = memoryview(data)
    text = _from_png(view) if view[: len(_PNG)] == _PNG else _from_xmp(bytes(view))
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the latter: hostile nesting
        return None
    return found if isinstance(found, dict) else None


def arguments_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `generate` that make the image again (its attachments excepted): `generate(**arguments)`."""
    return {name: recipe[name] for name in ARGUMENTS if recipe.get(name) not in (None, "", [])}


def _from_png(view: memoryview) -> bytes | None:
    for kind, body in _chunks(view):
        keyword, found, rest = bytes(body).partition(b"\0") if len(body) <= MOST_BYTES else (b"", b"", b"")
        if not found or keyword != KEYWORD:
            continue
        if kind == b"tEXt":
            return rest.decode("latin-1").encode()
        if kind == b"iTXt":
            text = rest[2:].split(b"\0", 2)[-1]  # behind two flags, the language and the keyword in that language
            return _unpacked(text) if rest[:1] == b"\1" else text
        if kind == b"zTXt":
            packed = _unpacked(rest[1:])
            return None if packed is None else packed.decode("latin-1").encode()
    return None


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks of a PNG: type and body."""
    place = len(_PNG)
    while place + 12 <= len(view):
        size, kind = int.from_bytes(view[place : place + 4]), bytes(view[place + 4 : place + 8])
        yield kind, view[place + 8 : place + 8 + size]
        place += 12 + size


def _unpacked(data: bytes) -> bytes | None:
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(data, MOST_BYTES)
    except zlib.error:
        return None
    return None if unpack.unconsumed_tail else text


def _from_xmp(data: bytes) -> bytes | None:
    start = data.find(_OPEN)
    end = data.find(_CLOSE, start)
    if start < 0 or end < 0 or end - start > MOST_BYTES:
        return None
    from html import unescape  # it loads a table of all named characters

    return unescape(data[start + len(_OPEN) : end].decode(errors="replace")).encode()
