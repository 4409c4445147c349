"""How a mutant changes the imported code."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.codec import Codec


def around(owner: Any, name: str, new: Callable[..., Any]) -> None:
    """Replace a method: `new` gets the old one first."""
    old = getattr(owner, name)

    @functools.wraps(old)
    def changed(*arguments: Any, **named: Any) -> Any:
        return new(old, *arguments, **named)

    setattr(owner, name, changed)


def decode_floats_as_ints() -> None:
    """Either side takes 3.0 for 3 in a head."""

    def lenient(old: Any, self: Codec, head: bytes, tail: Any, stream: int) -> Any:
        with contextlib.suppress(ValueError):
            values = msgpack.unpackb(head)
            head = msgpack.packb({k: int(v) if type(v) is float else v for k, v in values.items()})
        return old(self, head, tail, stream)

    around(Codec, "decode", lenient)
