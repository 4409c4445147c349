"""The msgpack profile (SPEC 5): what a head or a params map may contain, checked before it can cost anything.

A head is one map with string keys; values are nil, bool, int, float (finite), str, bin, array and map; no ext types.
Depth, entries, values, string and bin lengths are limited. This module knows nothing about fields.

Two facts about the decoder shape the code: it preallocates what an array claims (64 KiB of nested `dc ff ff` would
cost 67 MiB), and it nests 1,000 levels deep. So a map that could be deep or large is walked by `_survey` first.
Almost every head is small and nearly flat. It is recognised by the bytes in it that may begin something else than a
string, an integer or a truth value (one translate() sorts them) and goes straight to the decoder; what comes out needs
no second look when none of these bytes can begin a bin, an ext type or a number that is not finite.
"""

import math
import re
from typing import Any, Final, NoReturn

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.errors import LocalProtocolError, MessageTooLargeError, RemoteProtocolError
from pixwire_protocol.registry import LIMITS, ErrorCode

DEPTH: Final = LIMITS["msgpack_depth"].default
ENTRIES: Final = LIMITS["msgpack_entries"].default
VALUES: Final = LIMITS["msgpack_values"].default
STR: Final = LIMITS["msgpack_str"].default
BIN: Final = LIMITS["msgpack_bin"].default

Map = dict[str, Any]

# First size of the packer's buffer: its default of 256 KiB is allocated for every head. A packer is made for each call
# because a shared one would mix the heads of two threads.
_PACK_SIZE: Final = 1024

# What a byte may begin: a container; a bin, an ext type or a float32; a float64; or (0) nothing of interest:
# a string, an integer, a truth value. In strings, the first three can only be part of non-ASCII characters.
_CONTAINER: Final = 1
_LEAF: Final = 2
_FLOAT: Final = 3
_CONTAINERS: Final = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_LEAVES: Final = frozenset([*range(0xC4, 0xCB), *range(0xD4, 0xD9)])
_MARKS: Final = bytes(
    _CONTAINER if byte in _CONTAINERS else _LEAF if byte in _LEAVES else _FLOAT if byte == 0xCB else 0
    for byte in range(256)
)
_SMALL: Final = min(BIN, ENTRIES, STR)
"""Bytes in which no limit on lengths and entries can be exceeded: the decoder refuses counts above the data's size."""
_DECODABLE: Final = 4 * DEPTH
"""Levels that the decoder may be shown within _SMALL bytes: it preallocates at most 8 KiB for each."""
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""A float64 that is infinite or no number; or, seldom, bytes within something else that look like it."""

# Type byte -> (bytes of the length field, bytes of the body) for everything that is no container and no fix type.
_SIZES: Final = {
    0xC0: (0, 0), 0xC2: (0, 0), 0xC3: (0, 0),  # nil, false, true
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0),  # bin: the length says the rest
    0xCA: (0, 4), 0xCB: (0, 8),  # float32, float64
    0xCC: (0, 1), 0xCD: (0, 2), 0xCE: (0, 4), 0xCF: (0, 8),  # unsigned
    0xD0: (0, 1), 0xD1: (0, 2), 0xD2: (0, 4), 0xD3: (0, 8),  # signed
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),  # str: the length says the rest
}  # fmt: skip
# Container byte -> (bytes of the count field, values per entry).
_COUNTS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


_Packer: Final = msgpack.Packer
_unpackb: Final = msgpack.unpackb


def _no_ext(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


_STRICT: Final[dict[str, Any]] = {
    "raw": False,
    "strict_map_key": True,
    "max_str_len": STR,
    "max_bin_len": BIN,
    "max_array_len": ENTRIES,
    "max_map_len": ENTRIES,
    "max_ext_len": 0,
    "ext_hook": _no_ext,
}


def unpack_map(data: bytes) -> Map:
    """The one map in data. Raises RemoteProtocolError(BAD_HEAD) for anything else, and nothing else (SPEC 5)."""
    marks = data.translate(_MARKS)
    levels, small = marks.count(_CONTAINER), len(data) <= _SMALL
    if len(data) > VALUES or (levels > DEPTH and not (small and levels <= _DECODABLE)):
        # Fewer marks than levels cannot nest too deep; fewer bytes than values cannot hold too many.
        _survey(data)
    plain = small and _LEAF not in marks and (_FLOAT not in marks or _NOT_FINITE.search(data) is None)
    try:
        value = _unpackb(data) if plain else _unpackb(data, **_STRICT)  # strict_map_key is its default
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        # The decoder has many ways to say no (UnicodeDecodeError, ExtraData, FormatError, StackError ...): one for us.
        raise _bad(f"not one valid msgpack map: {type(error).__name__}: {error}") from error
    if type(value) is not dict:
        raise _bad(f"must be a map, is {_kind(value)}")
    if levels > DEPTH or not plain:
        _check(value)
    return value


def pack_map(value: Map) -> bytes:
    """The map as msgpack, shortest forms. Raises LocalProtocolError for what the profile does not allow (SPEC 5)."""
    try:
        data: bytes = _Packer(buf_size=_PACK_SIZE).pack(value)
        "".join(value)  # the cheapest way to ask whether all keys are strings
        # A receiver would close the connection over what unpack_map refuses: find out here, as cheaply as possible.
        marks = data.translate(_MARKS)
        levels = marks.count(_CONTAINER)
        if levels > DEPTH or len(data) > BIN:
            unpack_map(data)
        elif levels > 1 or _LEAF in marks or _FLOAT in marks:
            _check(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"cannot be sent as msgpack: {type(error).__name__}: {error}") from error
    except RemoteProtocolError as error:
        raise MessageTooLargeError(f"exceeds the msgpack profile: {error.message}") from error
    return data


def pack_checked(value: Map) -> bytes:
    """pack_map for a map whose values were checked one by one and are shallow."""
    try:
        return _Packer(buf_size=_PACK_SIZE).pack(value)  # type: ignore[no-any-return]
    except (ValueError, OverflowError) as error:  # a lone surrogate, an integer of more than 64 bits
        raise LocalProtocolError(f"cannot be sent as msgpack: {type(error).__name__}: {error}") from error


def _survey(data: bytes) -> None:
    """Walks the type bytes without building anything and refuses too much depth or too many values.

    Truncated or invalid data ends the walk: the decoder will say what is wrong, and up to there the limits hold.
    """
    position, size, values = 0, len(data), 0
    open_counts: list[int] = []
    while position < size:
        byte = data[position]
        position += 1
        values += 1
        if values > VALUES:
            raise _bad(f"more than {VALUES} values")
        if byte in _CONTAINERS:
            if byte < 0xA0:
                count = (byte & 0x0F) * (2 if byte < 0x90 else 1)
            else:
                width, factor = _COUNTS[byte]
                count = int.from_bytes(data[position : position + width]) * factor
                position += width
            open_counts.append(count)
            if len(open_counts) > DEPTH:
                raise _bad(f"nested more than {DEPTH} levels")
        else:
            if byte & 0xE0 == 0xA0:
                position += byte & 0x1F
            elif 0x80 <= byte < 0xE0:
                if byte not in _SIZES:
                    return
                width, body = _SIZES[byte]
                position += width + (int.from_bytes(data[position : position + width]) if width else body)
            if open_counts:
                open_counts[-1] -= 1
        while open_counts and open_counts[-1] == 0:
            open_counts.pop()
            if open_counts:
                open_counts[-1] -= 1
        if not open_counts:
            return


def _check(value: Any, levels: int = DEPTH) -> None:
    """Refuses non-string keys, non-finite floats, foreign types and more than `levels` levels anywhere inside."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise _bad("floats must be finite")
    elif kind is dict or kind is list or kind is tuple:
        if not levels:
            raise _bad(f"nested more than {DEPTH} levels")
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    raise _bad(f"map keys must be strings, one is {_kind(key)}")
            value = value.values()
        for item in value:
            if type(item) not in _SIMPLE:
                _check(item, levels - 1)
    elif not isinstance(value, str | int):  # enums are strings and integers
        raise _bad(f"values of type {_kind(value)} cannot travel")


_SIMPLE: Final = frozenset([str, int, bool, type(None), bytes])


def _bad(problem: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_HEAD, f"msgpack: {problem} (SPEC 5)")


def _kind(value: Any) -> str:
    """The msgpack name of a Python value's type, for messages."""
    names = {dict: "map", list: "array", tuple: "array", type(None): "nil", bytes: "bin"}
    return names.get(type(value), type(value).__name__)
