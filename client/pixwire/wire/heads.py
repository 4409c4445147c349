"""Heads for people: any msgpack map that can be read at all, and what the profile would say about its keys (SPEC 5)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.registry import HEAD_KEY

_KEY: Final = re.compile(HEAD_KEY)
_LONGEST: Final = 0xFFFFFF
_ENTRIES: Final = 4096  # the decoder reserves what an array claims to hold; more than the profile allows is enough
_DEEPEST: Final = 64  # levels that are shown; the profile has 8, and whatever walks a map does so by recursion
_CONTAINERS: Final = (dict, list)


@dataclass(frozen=True, slots=True)
class LooseMap:
    """What could be made of the bytes. map: None when they are no map. problems: about keys, in words."""

    map: dict[str, Any] | None
    problems: tuple[str, ...] = ()


def loose_map(data: bytes) -> LooseMap:
    """A map in the profile, or one that only breaks its rules about keys, types or lengths."""
    repeated: list[str] = []

    def pairs(items: list[tuple[Any, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in items:
            name = _key_name(key)
            if name in made and isinstance(key, str):
                repeated.append(name)
            made[name] = value
        return made

    found = _unpack(data, pairs)
    if found is None:
        return LooseMap(None)
    problems = [f"the key {name!r:.40} comes twice" for name in repeated]
    problems += [f"the key {name!r:.40} is not of the form {HEAD_KEY}" for name in found if not _KEY.fullmatch(name)]
    return LooseMap(found, tuple(problems))


def _unpack(data: bytes, pairs: Callable[[list[tuple[Any, Any]]], dict[str, Any]]) -> dict[str, Any] | None:
    if not data or len(data) > _LONGEST:
        return None
    try:
        value = msgpack.unpackb(
            data,
            strict_map_key=False,
            object_pairs_hook=pairs,
            ext_hook=_ext,
            max_array_len=_ENTRIES,
            max_map_len=_ENTRIES,
        )
    except Exception:  # the decoder has many ways to say no
        return None
    return value if type(value) is dict and not _too_deep(value) else None


def _key_name(key: Any) -> str:
    """What a key is called. One that is a map or an array has no name of its own: maps as keys of maps as keys would
    have names that double with each level.
    """
    if isinstance(key, str):
        return key
    if isinstance(key, _CONTAINERS):
        return "(a map)" if isinstance(key, dict) else "(an array)"
    return repr(key)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, _CONTAINERS))
        level = [value for values in inside for value in values]
        if not level:
            return False
    return True


def _ext(code: int, data: bytes) -> str:
    return f"ext {code}: {data.hex()}"
