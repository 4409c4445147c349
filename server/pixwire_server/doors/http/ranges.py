"""Which bytes of a file a request is about: Range, If-Range, If-Match, If-None-Match (RFC 9110). Pure.

Entity tags here are strong: one names exactly these bytes.
"""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=\s*(?:(\d+)\s*)?-\s*(?:(\d+)\s*)?", re.IGNORECASE)
"""No blank may be part of two repetitions: many of them would take seconds."""
_TAG = re.compile(r'(W/)?"([^"]*)"')
_LONGEST = 20
"""Digits of a position worth reading."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to, not including, `stop`, of `size`. `partial`: fewer than all were asked for."""

    start: int
    stop: int
    size: int
    partial: bool

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def span(asked: str | None, size: int, if_range: str | None = None, etag: str = "") -> Span | None:
    """The bytes to send; None when the range lies outside the file.

    What is not one range of bytes is ignored, as RFC 9110 allows: the whole file is the answer.
    """
    whole = Span(0, size, size, False)
    if asked is None or (if_range is not None and if_range.strip() != f'"{etag}"'):
        return whole
    match = _RANGE.fullmatch(asked.strip())
    if match is None or any(len(part) > _LONGEST for part in match.groups("")):
        return whole
    first, last = match.groups("")
    if first:
        start, stop = int(first), int(last) + 1 if last else size
        if last and stop <= start:
            return whole  # last before first: not a range
    elif last:
        start, stop = max(0, size - int(last)), size
    else:
        return whole
    if start >= size or start == stop:
        return None
    return Span(start, min(stop, size), size, True)


def matches(field: str | None, etag: str, *, weak: bool) -> bool:
    """Whether an If-Match (`weak` False) or If-None-Match (`weak` True) names `etag`; `*` names everything."""
    if field is None:
        return False
    if field.strip() == "*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _TAG.findall(field))
