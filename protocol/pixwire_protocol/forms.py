"""Strings with a form of their own (SPEC 8, 9), and values as error messages show them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_NAME_BYTES: Final = b"abcdefghijklmnopqrstuvwxyz0123456789_"
_HEX_BYTES: Final = b"0123456789abcdef"
MAX_JOB_ID: Final = 64
_JOB_ID: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_JOB_ID}}}").fullmatch
_MAX_NAME: Final = 32
_MAX_TAG: Final = 64
_SHA256_DIGITS: Final = 64
# Sizes of the parts of a traceparent: version, trace id, parent id, flags.
_TRACE_PARTS: Final = (2, 32, 16, 2)

_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "integer",
    type(None): "nil",
    bytes: "byte string",
    list: "array",
    dict: "map",
}


def is_job_id(value: str) -> bool:
    """Whether value is a job id: 1 to 64 of A-Z a-z 0-9 . _ - (SPEC 9)."""
    return _JOB_ID(value) is not None


def is_attachment_name(value: str) -> bool:
    """Whether value is [a-z][a-z0-9_]{0,31} (SPEC 8)."""
    return 0 < len(value) <= _MAX_NAME and "a" <= value[0] <= "z" and _only(value, _NAME_BYTES)


def is_sha256(value: str) -> bool:
    """Whether value is 64 lower-case hexadecimal digits."""
    return len(value) == _SHA256_DIGITS and _only(value, _HEX_BYTES)


def is_traceparent(value: str) -> bool:
    """Whether value is a W3C traceparent of version 00 whose ids are not all zeros (SPEC 8)."""
    parts = value.split("-")
    if tuple(map(len, parts)) != _TRACE_PARTS or not all(_only(part, _HEX_BYTES) for part in parts):
        return False
    version, trace, parent, _ = parts
    return version == "00" and trace.strip("0") != "" and parent.strip("0") != ""


def is_tag(value: str) -> bool:
    """Whether value is a tag: 1 to 64 bytes of UTF-8 without control characters (SPEC 8)."""
    if not 0 < len(value) <= _MAX_TAG:
        return False
    if value.isascii():
        return value.isprintable()
    return len(value.encode(errors="replace")) <= _MAX_TAG and not any(map(_is_control, value))


# Name of the pattern in the registry -> something true when a string has it.
MATCH: Final[Mapping[str, Callable[[str], object]]] = {
    "job_id": _JOB_ID,  # asked for nearly every frame: without a detour
    "attachment_name": is_attachment_name,
    "sha256": is_sha256,
    "traceparent": is_traceparent,
    "tag": is_tag,
}


def show(value: Any) -> str:
    """A value for an error message: its type and at most 60 characters of it."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    text = text if len(text) <= 60 else text[:57] + "..."
    kind = kind_name(value)
    return f"{text} ({kind})" if text else f"{'an' if kind == 'array' else 'a'} {kind}"


def kind_name(value: Any) -> str:
    """What msgpack calls the type of a value."""
    return _NAMES.get(type(value), type(value).__name__)


def _is_control(char: str) -> bool:
    """Whether it is a control character (Unicode: Cc) or half a surrogate pair, which has no UTF-8."""
    return char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"


def _only(value: str, allowed: bytes) -> bool:
    return value.isascii() and not value.encode().translate(None, allowed)
