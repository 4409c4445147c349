"""What becomes of a request, as the application sees it, and what that comes to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Every request ends as exactly one of these."""

    DONE = "done"
    """The right image, within the patience."""
    LATE = "late"
    """The right image, after it."""
    REFUSED = "refused"
    """The service said no when it was asked; nothing was computed for it."""
    EXPIRED = "expired"
    """Taken, then given up by the service or by the client, when its time was over."""
    FAILED = "failed"
    """An error instead of an image."""
    LOST = "lost"
    """Under way when the service was killed, and gone: nobody will answer it, and there is nobody to ask."""
    UNREACHABLE = "unreachable"
    """Never taken: there was no service."""
    WRONG = "wrong"
    """An image, but not the one that was asked for."""


class NoImageError(Exception):
    """What an application raises in place of an image; `kind` says what kind of end that is."""

    def __init__(self, kind: Kind, why: str = "") -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind
        self.why = why


@dataclass(frozen=True, slots=True)
class Answer:
    """An image, and when the service was at what, in seconds of the clock that all processes of a machine share.

    accepted, started, ended: None where the service does not say.
    """

    image: bytes
    accepted: float | None = None
    started: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. Seconds of the same clock; `due` is when it should have been sent."""

    number: int
    kind: Kind
    due: float
    sent: float
    over: float
    answer: Answer | None = None
    why: str = ""

    @property
    def latency(self) -> float:
        """From the moment it was due: a client that comes late does not hide a slow service."""
        return self.over - self.due


@dataclass(frozen=True, slots=True)
class Tally:
    """A run, counted."""

    outcomes: Sequence[Outcome]
    seconds: float
    counts: Counter[Kind] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", Counter(outcome.kind for outcome in self.outcomes))

    def row(self) -> dict[str, float]:
        """Counts of every kind, and how many images came in time per second."""
        row: dict[str, float] = {str(kind): self.counts[kind] for kind in Kind}
        return row | {"asked": len(self.outcomes), "in_time_per_s": self.counts[Kind.DONE] / self._span()}

    def _span(self) -> float:
        """The length of the trace, or until the last image that came in time: images made after its end count with the
        time that they took.
        """
        begin = min((one.due for one in self.outcomes), default=0.0)
        return max([self.seconds, *(one.over - begin for one in self.outcomes if one.kind is Kind.DONE)])


def latencies(outcomes: Iterable[Outcome]) -> list[float]:
    """Of those that have their image, in seconds."""
    return [outcome.latency for outcome in outcomes if outcome.kind in (Kind.DONE, Kind.LATE)]


def overtaken(outcomes: Iterable[Outcome]) -> float:
    """The share of images that came after the image of a request which was sent later."""
    ends = [outcome.over for outcome in sorted(outcomes, key=lambda one: one.sent) if outcome.answer is not None]
    soonest, late = float("inf"), 0
    for end in reversed(ends):
        late += end > soonest
        soonest = min(soonest, end)
    return late / max(1, len(ends))


PARTS = ("transport", "queue", "compute", "delivery")


def split(outcome: Outcome) -> dict[str, float] | None:
    """Milliseconds of each part of an image's way; they add up to `total`. None when the service does not say.

    transport: from the call to the service's door. queue: until it is computed, the disk included. compute: until the
    image is a file. delivery: until the application has it.
    """
    answer = outcome.answer
    if answer is None or answer.accepted is None or answer.started is None or answer.ended is None:
        return None
    marks = (outcome.sent, answer.accepted, answer.started, answer.ended, outcome.over)
    parts = {name: (b - a) * 1000 for name, a, b in zip(PARTS, marks, marks[1:], strict=False)}
    return parts | {"total": (outcome.over - outcome.sent) * 1000}


def to_map(outcome: Outcome) -> dict[str, Any]:
    """For a record, without the image."""
    return {"number": outcome.number, "kind": str(outcome.kind), "ms": outcome.latency * 1000, "why": outcome.why}
