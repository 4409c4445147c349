"""Whatever joins, leaves, is cancelled or breaks: every image that is made is that of its request alone.

Hypothesis draws requests, the moments they join, cancellations and faults (a pass that fails, memory that runs out, a
scheduler that raises, NaN). Afterwards every request has ended exactly once, and every image is the plain pipeline's:
computed in float64, equal bits in float32.
"""

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, plain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixwire_server.engine.device import is_out_of_memory
from pixwire_server.engine.request import NotFiniteError

pytestmark = QUIET

NAMES = ("sd15", "flux", "qwen", "zimage", "sana")
KINDS = 4
STEPS = (2, 3, 3, 4)
DENOISERS = ("unet", "transformer")


class TransientError(RuntimeError):
    """A pass that fails once."""


class BrokenSchedulerError(ValueError):
    """A request's own code that fails."""


@dataclass(frozen=True)
class Join:
    """Submit request `k` of the family; `nan`: its first noise is NaN; `breaks`: its scheduler raises at this step."""

    k: int
    nan: bool = False
    breaks: int | None = None


@dataclass(frozen=True)
class Fault:
    """The next pass of the denoiser fails; `memory`: as for want of memory."""

    memory: bool


@dataclass(frozen=True)
class Cancel:
    """Cancel the request submitted as number `which`, if there is one and it still runs."""

    which: int


@dataclass(frozen=True)
class Tick:
    """Run passes."""

    passes: int


joins = st.builds(
    Join,
    st.integers(0, KINDS - 1),
    nan=st.sampled_from([False] * 7 + [True]),
    breaks=st.sampled_from([None] * 6 + [0, 1]),
)
ticks = st.builds(Tick, st.integers(1, 4))
others = st.one_of(st.builds(Cancel, st.integers(0, 5)), st.builds(Fault, st.booleans()))
plans = st.lists(st.one_of(joins, ticks, joins, ticks, others), min_size=4, max_size=14)


class Bench:
    """One family's pipeline, whose denoiser fails when a fault is armed, and the images of its requests alone."""

    def __init__(self, name: str) -> None:
        self.family = FAMILIES[name]
        self.pipeline = self.family.pipeline(torch.float64)
        self.alone = [plain(self.pipeline, self.job(k)) for k in range(KINDS)]
        self.fault: Fault | None = None
        self.noise = self._first_noise()
        model = next(m for part in DENOISERS if (m := getattr(self.pipeline, part, None)) is not None)
        forward = model.forward

        @functools.wraps(forward)
        def failing(*args: Any, **kwargs: Any) -> Any:
            fault, self.fault = self.fault, None
            if fault is None:
                return forward(*args, **kwargs)
            raise torch.OutOfMemoryError("CUDA out of memory") if fault.memory else TransientError("once")

        model.forward = failing

    def job(self, k: int) -> dict[str, Any]:
        return self.family.job(k, torch.float64, num_inference_steps=STEPS[k])

    def _first_noise(self) -> torch.Tensor:
        """Latents of the shape that the pipeline's loop has."""
        seen: list[torch.Tensor] = []

        class Watching(Lab):
            def stepped(self, request: Any, moment: Any) -> None:
                seen.append(moment.sample)

        lab = Watching(self.pipeline)
        lab.submit(0, self.job(0))
        lab.run()
        return seen[0]


@functools.cache
def bench(name: str) -> Bench:
    return Bench(name)


def scheduler_that_breaks(pattern: Any, at: int) -> Any:
    """A scheduler as `pattern` that raises in step `at`."""

    class Breaking(type(pattern)):  # type: ignore[misc]
        def step(self, *args: Any, **kwargs: Any) -> Any:
            self.calls = getattr(self, "calls", -1) + 1
            if self.calls == at:
                raise BrokenSchedulerError(f"step {at}")
            return super().step(*args, **kwargs)

    Breaking.__name__ = type(pattern).__name__
    return Breaking.from_config(pattern.config)


class Run:
    """One plan, carried out."""

    def __init__(self, made: Bench, max_rows: int) -> None:
        self.made = made
        self.lab = Lab(made.pipeline, max_rows=max_rows)
        self.joined: list[Join] = []
        made.fault = None

    def do(self, action: Join | Cancel | Fault | Tick) -> None:
        if isinstance(action, Join):
            self._join(action)
        elif isinstance(action, Cancel):
            self.lab.hub.cancel(action.which)
        elif isinstance(action, Fault):
            self.made.fault = action
        else:
            for _ in range(action.passes):
                self.lab.hub.tick()

    def _join(self, join: Join) -> None:
        arguments = self.made.job(join.k)
        if join.nan:
            arguments["latents"] = self.made.noise * float("nan")
        pattern = self.made.pipeline.scheduler
        broken = None if join.breaks is None else scheduler_that_breaks(pattern, join.breaks)
        self.lab.submit(len(self.joined), arguments, broken)
        self.joined.append(join)

    def check(self) -> None:
        """Everybody ended once, and every image is that of its request alone."""
        assert self.lab.hub.resident == 0
        for number, join in enumerate(self.joined):
            heard = [event[0] for event in self.lab.events if event[1] == number and event[0] != "step"]
            assert heard == ["left", "ended"], (number, heard)
            self._check(self.lab.requests[number], join)

    def _check(self, request: Any, join: Join) -> None:
        if request.cancelled:
            assert request.result is None
            assert request.error is None
        elif request.error is not None:
            own = isinstance(request.error, BrokenSchedulerError)
            assert own or isinstance(request.error, TransientError) or is_out_of_memory(request.error)
            assert join.breaks is not None or not own, "another request's failure"
        elif join.nan:
            with pytest.raises(NotFiniteError, match="not finite"):
                request.images  # noqa: B018 - the property raises
        else:
            difference = distance(request.images, self.made.alone[join.k])
            assert difference == 0.0, "the image depends on its neighbours"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans, max_rows=st.sampled_from([3, 4, 64]))
def test_every_image_that_is_made_is_that_of_its_request_alone(
    name: str, plan: list[Join | Cancel | Fault | Tick], max_rows: int
) -> None:
    run = Run(bench(name), max_rows)
    for action in plan:
        run.do(action)
    run.made.fault = None
    run.lab.run()
    run.check()


def test_a_transient_failure_of_a_shared_pass_fails_nobody() -> None:
    run = Run(bench("sd15"), 64)
    for action in (Join(1), Join(2), Join(3), Tick(1), Fault(memory=False), Tick(1), Fault(memory=True)):
        run.do(action)
    run.lab.run()
    run.check()
    assert all(request.error is None for request in run.lab.requests.values())
