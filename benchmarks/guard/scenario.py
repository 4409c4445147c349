"""What a scenario is: some work on a hot path that can be done again and again, and what it moved."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from benchmarks.guard.counting import Counter, peak_memory

Figures = dict[str, float]
"""By name; all of them are better when they are smaller, and none depends on the machine's speed."""
WARM_UPS = 3


@dataclass(slots=True)
class Moved:
    """Bytes and writes that left one side, summed up by the scenario's transport."""

    bytes: int = 0
    writes: int = 0


@dataclass(slots=True)
class Stage:
    """A scenario that is set up. `work` does `operations` operations, synchronously; `moved` is what they sent."""

    work: Callable[[], object]
    operations: int
    moved: Moved | None = None


Prepare = Callable[[Counter], AbstractContextManager[Stage]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A name and how to set it up. `memory`: peak memory counts as well; for images, which must not be copied about."""

    name: str
    prepare: Prepare = field(repr=False)
    memory: bool = True


def measure(scenario: Scenario) -> Figures:
    """The figures of one operation."""
    counter = Counter()
    with scenario.prepare(counter) as stage:
        for _ in range(WARM_UPS):
            stage.work()
        if stage.moved is not None:
            stage.moved.bytes = stage.moved.writes = 0
        with counter.on() as counts:
            stage.work()
        figures: Figures = {
            "instructions": counts.instructions / stage.operations,
            "calls": counts.calls / stage.operations,
        }
        if stage.moved is not None:
            figures["bytes sent"] = stage.moved.bytes / stage.operations
            if stage.moved.writes:
                figures["writes"] = stage.moved.writes / stage.operations
        if scenario.memory:
            figures["peak memory, KiB"] = peak_memory(stage.work) / 1024
    return figures


def every(*groups: Callable[[], Iterator[Scenario]]) -> list[Scenario]:
    """All scenarios of the groups, in order."""
    return [scenario for group in groups for scenario in group()]
