"""One resident request, and the call it is parked in."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pixwire_server.engine.api import Adapter
from pixwire_server.engine.batch_key import Fingerprints, Signature
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

ENDED = "ended"
_STAGES = (ENCODE, DENOISE, DECODE, ENDED)


class RequestCancelled(BaseException):
    """Unwinds the pipeline of a cancelled request. Not an Exception: no pipeline may swallow it."""


class Request:
    """One run of a pipeline: its arguments, its place in the loop, its account. Owned by the hub.

    `arguments` are those of the pipeline's `__call__`. `scheduler` replaces the pipeline's own as the pattern for this
    request's private instance, `pipeline` the hub's own as what is run, `guidance` the scale of a guidance component.
    `adapters` are in the model whenever it computes for this request.
    After the end exactly one of `result`, `error`, `cancelled` tells how it went.
    """

    def __init__(
        self,
        handle: int,
        arguments: Mapping[str, Any],
        scheduler: Any = None,
        pipeline: Any = None,
        guidance: float | None = None,
        adapters: tuple[Adapter, ...] = (),
    ) -> None:
        self.handle = handle
        self.arguments = dict(arguments)
        self.scheduler = scheduler
        self.pipeline = pipeline
        self.guidance = guidance
        self.adapters = adapters
        self.fingerprints = Fingerprints()
        self.parked: Call | None = None
        self.step = 0
        self.steps = 0
        self.holds_place = True
        self.passes = 0
        self.pass_share = 0.0
        self.clock = StageClock()
        self.result: Any = None
        self.error: Exception | None = None
        self.cancelled = False

    def took_part(self, sharers: int) -> None:
        """Account for one denoiser pass shared by `sharers` requests."""
        self.passes += 1
        self.pass_share += 1 / sharers


class StageClock:
    """When a request first entered each of its stages. A stage lasts until the next one that was entered."""

    def __init__(self) -> None:
        self._entered = {ENCODE: time.perf_counter()}

    def enter(self, stage: str) -> None:
        """Mark the first entry of a stage; later ones change nothing."""
        self._entered.setdefault(stage, time.perf_counter())

    def milliseconds(self, stage: str) -> float:
        """How long the request was in `stage`; 0.0 if it never was."""
        start = self._entered.get(stage)
        if start is None:
            return 0.0
        later = [self._entered[s] for s in _STAGES[_STAGES.index(stage) + 1 :] if s in self._entered]
        return (min(later, default=time.perf_counter()) - start) * 1000


@dataclass(slots=True, eq=False)
class Call:
    """A call of a heavy module, parked until it gets its turn.

    `run` takes `arguments`; when it returns, `result` or `error` is set. `order` is given on parking and rises.
    """

    request: Request
    name: str
    stage: str
    run: Callable[..., Any]
    arguments: Mapping[str, Any]
    signature: Signature
    order: int = 0
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class StepMoment:
    """What a scheduler saw and returned in one step: enough to predict the final image."""

    scheduler: Any
    model_output: torch.Tensor
    sample: torch.Tensor
    outputs: tuple[Any, ...]
