"""How engine messages travel: one msgpack head plus one raw tail. Encoded images are only ever in the tail."""

import json
from collections.abc import Hashable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import-untyped]  # it ships none

from pixwire_server.engine.api import Command, Message
from pixwire_server.engine.settings import EngineConfig, ModelSettings

Buffer = bytes | bytearray | memoryview

COPIED = 64 * 1024
"""Blobs up to this size become bytes of their own; larger ones stay where they were received."""

_COMMANDS = get_args(Command)
_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def config_to_json(config: EngineConfig) -> str:
    """The configuration as a child's argument."""
    return json.dumps(asdict(config))


def config_from_json(text: str) -> EngineConfig:
    """Counterpart of `config_to_json`."""
    values = json.loads(text)
    return EngineConfig(tuple(ModelSettings(**model) for model in values.pop("models")), **values)


def to_wire(message: Message) -> tuple[bytes, list[Buffer]]:
    """Return the msgpack head and the blobs whose concatenation is the tail.

    Names of files need not be UTF-8: those in commands arrive as they are, the texts of reports are for people.
    """
    blobs: list[Buffer] = []
    errors = "surrogateescape" if isinstance(message, _COMMANDS) else "backslashreplace"
    head: bytes = msgpack.packb([type(message).__name__, _lower(message, blobs)], unicode_errors=errors)
    return head, blobs


def from_wire(head: Buffer, tail: Buffer = b"") -> Message:
    """Rebuild the message `to_wire` took apart. Raises ValueError for anything else."""
    try:
        name, values = msgpack.unpackb(head, unicode_errors="surrogateescape")
        message: Message = _raise(_TYPES[name], values, _Tail(memoryview(tail)))
    except (KeyError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not an engine message: {error!r}") from error
    return message


class _Tail:
    """Hands out the tail piece by piece, in the order the blobs were taken out."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def take(self, size: int) -> bytes | memoryview:
        piece, self._view = self._view[:size], self._view[size:]
        if len(piece) != size:
            raise ValueError(f"engine message tail is {size - len(piece)} bytes short")
        return bytes(piece) if size <= COPIED else piece.toreadonly()


@cache
def _field_types(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(cast("type[Any]", kind)))


def _lower(value: Any, blobs: list[Buffer]) -> Any:
    if is_dataclass(value):
        return [_lower(getattr(value, name), blobs) for name, _ in _field_types(value.__class__)]
    if isinstance(value, tuple):
        return [_lower(item, blobs) for item in value]
    if isinstance(value, bytes | memoryview):
        blobs.append(value)
        return len(value)
    return value


def _raise(kind: Any, value: Any, tail: _Tail) -> Any:
    if kind is bytes:
        return tail.take(value)
    if get_origin(kind) is UnionType:  # only ever "something or None", or two kinds of bytes
        return None if value is None else _raise(get_args(kind)[0], value, tail)
    if get_origin(kind) is tuple:
        return tuple(_raise(get_args(kind)[0], item, tail) for item in value)
    if is_dataclass(kind) and isinstance(kind, type):
        types = _field_types(kind)
        if len(types) != len(value):
            raise ValueError(f"{kind.__name__} has {len(types)} fields, got {len(value)}")
        return kind(*(_raise(field_type, item, tail) for (_, field_type), item in zip(types, value, strict=True)))
    return value
