"""How much of everything is measured, and what the parts get to do it with."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from benchmarks import measure
from benchmarks.transport.driving import Figures
from benchmarks.transport.stage import Setting, Stage
from benchmarks.transport.work import SIZES

Rounds = dict[str, list[Figures]]
"""What each row came to, round after round."""
Run = Callable[[], Figures]
OF: Final = " | "
"""In the name of a row: its table, then the contestant."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds of one run of each kind, sizes of crowds, and how often what needs fresh servers is repeated."""

    requests_s: float
    fetches_s: float
    small_s: float
    warm_up: bool
    watchers: int
    connections: tuple[int, ...]
    fresh_rounds: int
    sizes: tuple[int, ...] = SIZES
    large: int = SIZES[-1]
    every_s: float = 0.002
    """Between two small requests beside a large fetch."""
    brief: bool = False
    """Whether the crowds and the other circumstances are shown with three contestants only."""


FULL: Final = Scale(0.3, 0.15, 1.0, True, 1000, (1000, 10_000), 3)
QUICK: Final = Scale(0.03, 0.01, 0.1, False, 100, (50, 500), 1, brief=True)


@dataclass(slots=True)
class Context:
    """What a part gets; use it in a `with`. `folder` is on the disk that is measured, `pair` makes a certificate with
    its key and what to trust.
    """

    scale: Scale
    rounds: int
    folder: Path
    step: Callable[[], None] = lambda: None
    pair: Callable[[], tuple[str, str, str]] | None = None
    only: tuple[str, ...] = ()
    """Contestants; none: all of them."""
    _common: Stage | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def common(self) -> Stage:
        """The stage that parts share which do not need a fresh one; it ends with the context."""
        if self._common is None:
            self._common = self._stack.enter_context(self.stage("common", Setting(self.scale.sizes)))
        return self._common

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wants(self, name: str) -> bool:
        """Whether the contestant was asked for."""
        return not self.only or name in self.only

    def stage(self, name: str, setting: Setting) -> Stage:
        """A fresh stage in a folder of its own; use it in a `with`."""
        return Stage(self.folder / name, setting)

    async def in_turn(self, runs: Mapping[str, Run], warm_up: Mapping[str, Run] | None = None) -> Rounds:
        """Every row once per round, round after round."""
        if warm_up is not None:
            await measure.in_turn(1, {name: _waited(run) for name, run in warm_up.items()}, self.step)
        return await measure.in_turn(self.rounds, {name: _waited(run) for name, run in runs.items()}, self.step)


def _waited(run: Run) -> Callable[[], Awaitable[Figures]]:
    async def waited() -> Figures:
        return run()

    return waited


class Part(Protocol):
    """One part of the benchmark: a module or an object."""

    @property
    def name(self) -> str:
        """What --only calls it."""

    @property
    def title(self) -> str:
        """Of its table."""

    def steps(self, context: Context) -> int:
        """How often `context.step` will be called, about."""

    async def run(self, context: Context) -> Rounds:
        """Measure."""
