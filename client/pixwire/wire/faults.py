"""What a proxy does to the bytes of one direction: when they leave, what is flipped, where it all ends. Pure.

    lane = Lane(Faults(delay_ms=20, cut_after=1000), "S")
    for step in lane.take(data, now): ...

Times are seconds of the caller's clock.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from .annotate import Side

_SLICE: Final = 4096
"""At most so many bytes leave at once when the rate is limited, so that the receiver sees them come slowly."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Turn one bit over: byte `offset` of the direction's stream, bit 0 (least) to 7."""

    offset: int
    bit: int
    side: Side = "S"


@dataclass(frozen=True, slots=True)
class Faults:
    """What to do to a connection; the default is nothing.

    delay_ms      every byte arrives so much later, in both directions (order and rate are kept)
    rate          bytes per second, each direction for itself
    cut_after     bytes after which the connection ends, counted in the direction `cut_side` (None: both together)
    cut_how       "reset" (both sides see a cut connection) or "eof" (both see an orderly end of the byte stream)
    stall_after   bytes of `stall_side` after which the proxy stops reading from it: its sender meets a full pipe
    stall_side    whose bytes are no longer read ("S": the client seems to be a reader that stalls)
    flips         bits to turn over
    """

    delay_ms: float = 0.0
    rate: int | None = None
    cut_after: int | None = None
    cut_side: Side | None = None
    cut_how: Literal["reset", "eof"] = "reset"
    stall_after: int | None = None
    stall_side: Side = "S"
    flips: tuple[Flip, ...] = ()

    def __post_init__(self) -> None:
        for name in ("delay_ms", "cut_after", "stall_after"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must be 0 or more, not {value}")
        if self.rate is not None and self.rate < 1:
            raise ValueError(f"rate must be at least 1 byte per second, not {self.rate}")
        for flip in self.flips:
            if flip.offset < 0 or not 0 <= flip.bit <= 7:
                raise ValueError(f"a flip needs an offset of 0 or more and a bit from 0 to 7, not {flip}")


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes that leave at the time `at`; `cut`: then the connection ends."""

    at: float
    data: bytes
    cut: bool = False


@dataclass(slots=True)
class Budget:
    """Bytes until the cut, shared by both directions when they are counted together. None: never."""

    left: int | None

    def take(self, wanted: int) -> int:
        """How many of these bytes still go through."""
        if self.left is None:
            return wanted
        allowed = min(wanted, self.left)
        self.left -= allowed
        return allowed

    @property
    def spent(self) -> bool:
        """Whether the cut has come."""
        return self.left == 0


@dataclass(slots=True)
class Lane:
    """One direction of one connection."""

    faults: Faults
    side: Side
    budget: Budget = field(default_factory=lambda: Budget(None))
    position: int = 0
    _free_at: float = 0.0

    @property
    def room(self) -> int | None:
        """How many more bytes may be read before this direction stalls; None: no limit."""
        faults = self.faults
        if faults.stall_after is None or faults.stall_side != self.side:
            return None
        return max(0, faults.stall_after - self.position)

    def take(self, data: bytes, now: float) -> list[Step]:
        """Bytes were read; what leaves when."""
        allowed = self.budget.take(len(data))
        changed = self._flipped(data[:allowed])
        self.position += allowed
        steps = [Step(self._leave(len(part), now), part) for part in self._parts(changed)]
        if self.budget.spent:
            at = steps[-1].at if steps else max(now, self._free_at)
            steps.append(Step(at, b"", cut=True))
        return steps

    def _parts(self, data: bytes) -> list[bytes]:
        if self.faults.rate is None:
            return [data] if data else []
        size = max(1, min(_SLICE, self.faults.rate // 20 or 1))
        return [data[start : start + size] for start in range(0, len(data), size)]

    def _leave(self, size: int, now: float) -> float:
        begin = now + self.faults.delay_ms / 1000
        if self.faults.rate is None:
            return begin
        self._free_at = max(begin, self._free_at) + size / self.faults.rate
        return self._free_at

    def _flipped(self, data: bytes) -> bytes:
        changed: bytearray | None = None
        for flip in self.faults.flips:
            place = flip.offset - self.position
            if flip.side == self.side and 0 <= place < len(data):
                changed = bytearray(data) if changed is None else changed
                changed[place] ^= 1 << flip.bit
        return data if changed is None else bytes(changed)


def lanes(faults: Faults) -> dict[Side, Lane]:
    """The two directions of a new connection."""
    together = Budget(faults.cut_after)
    return {
        side: Lane(faults, side, together if faults.cut_side in (None, side) else Budget(None)) for side in ("C", "S")
    }
