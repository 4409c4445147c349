"""What the admission decision looks at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job."""

    key: int
    """Names the job in the decision; has no meaning here."""
    alone: bool = False
    """Must share the engine with nobody: it was running each time an engine died and may be the cause."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine can take now."""

    places: int
    """Jobs that may be denoised at once; at least 1."""
    occupied: int = 0
    """Jobs that hold a denoise place."""
    in_flight: int = 0
    """Jobs the engine works on at all: `occupied` and those whose image is being decoded or encoded."""
    alone: bool = False
    """One of those in flight must share the engine with nobody."""
