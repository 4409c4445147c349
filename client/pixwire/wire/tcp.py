"""TCP segments -> the bytes in order: retransmissions, overlaps and segments out of order are put right. Pure."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

_WRAP: Final = 1 << 32
_HALF: Final = 1 << 31
_HELD: Final = 64 * 1024 * 1024  # bytes behind a hole that are kept


@dataclass(slots=True)
class Direction:
    """One direction of one connection. Feed segments as they were captured; `take` what is in order.

    start is known from the SYN; without one the first segment seen is taken as the beginning.
    """

    _next: int = -1  # sequence number of the next byte; -1: none was seen
    _held: dict[int, bytes] = field(default_factory=dict)  # by position in the stream
    _starts: list[int] = field(default_factory=list)  # the same positions as a heap: a lost packet may have many behind
    _size: int = 0  # bytes held
    _position: int = 0  # bytes in order so far
    joined_late: bool = False
    finished: bool = False
    _fin_at: int | None = None

    def syn(self, sequence: int) -> None:
        """The SYN with this sequence number was seen."""
        if self._next < 0:
            self._next = (sequence + 1) % _WRAP

    def segment(self, sequence: int, data: bytes) -> bytes:
        """Takes a segment; returns the bytes that are now in order and were not before."""
        if self._next < 0:
            self._next = sequence
            self.joined_late = True
        start = self._position + self._distance(sequence)
        if data and (start <= self._position or self._size < _HELD):
            known = self._held.get(start)
            if known is None:
                heappush(self._starts, start)
            if len(data) > len(known or b""):
                self._held[start] = data
                self._size += len(data) - len(known or b"")
        return self._advance()

    def fin(self, sequence: int) -> bool:
        """A FIN with this sequence number (behind the segment's data) was seen. True when nothing before it lacks."""
        if self._next >= 0:
            self._fin_at = self._position + self._distance(sequence)
            self._advance()
        return self.finished

    @property
    def missing(self) -> int:
        """Bytes of the hole before the first segment that is held; 0 when there is none."""
        return self._starts[0] - self._position if self._starts else 0

    @property
    def behind(self) -> int:
        """Bytes held behind the hole."""
        return self._size

    def _distance(self, sequence: int) -> int:
        """How far behind the next byte this sequence number is; negative for one that came before."""
        return (sequence - self._next + _HALF) % _WRAP - _HALF

    def _advance(self) -> bytes:
        parts: list[bytes] = []
        while self._starts and self._starts[0] <= self._position:
            start = heappop(self._starts)
            held = self._held.pop(start)
            self._size -= len(held)
            data = held[self._position - start :]
            if data:
                parts.append(data)
                self._position += len(data)
                self._next = (self._next + len(data)) % _WRAP
        self.finished = self._fin_at is not None and self._position >= self._fin_at
        return b"".join(parts)
