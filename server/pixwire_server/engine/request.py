"""One resident request, and the call it is parked in."""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pixwire_server.engine.api import Adapter
from pixwire_server.engine.batch_key import Fingerprints, Signature
from pixwire_server.engine.overlay import Overlay
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE, NO_STANDING, Standing

ENDED = "ended"
_STAGES = (ENCODE, DENOISE, DECODE, ENDED)


TURN = "encode_prompt"
"""Name of the call by which a request waits for its turn to encode its text (see `view`)."""


class RequestCancelled(BaseException):
    """Unwinds the pipeline of a cancelled request. Not an Exception: no pipeline may swallow it."""


class NotFiniteError(Exception):
    """The model returned NaN or infinity; the text is for whoever asked for the image."""


class Request:
    """One run of a pipeline: its arguments, its place in the loop, its account. Owned by the hub.

    `arguments` are those of the pipeline's `__call__`. `scheduler` replaces the pipeline's own as the pattern for this
    request's private instance, `pipeline` the hub's own as what is run, `guidance` the scale of a guidance component.
    `model` names the model it runs on, of several; calls of different models never share a pass. `adapters` are in the
    model whenever it computes for this request: `switch` sees to it before each pass.
    `overlays` are what it changes in the denoiser for its own passes only, `standing` decides its turns. `fill` tells,
    of rows and their cap, up to how many rows a denoiser pass is filled; None: it is not.
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
        model: str = "",
        switch: Callable[[tuple[Adapter, ...]], None] | None = None,
        overlays: tuple[Overlay, ...] = (),
        standing: Standing = NO_STANDING,
        fill: Callable[[int, int], int] | None = None,
    ) -> None:
        self.handle = handle
        self.arguments = dict(arguments)
        self.scheduler = scheduler
        self.pipeline = pipeline
        self.guidance = guidance
        self.adapters = adapters
        self.model = model
        self.switch = switch
        self.overlays = overlays
        self.standing = standing
        self.fill = fill
        self.fingerprints = Fingerprints()
        self.parked: Call | None = None
        self.step = 0
        self.steps = 0
        self.timestep: float | None = None
        """Of the latest step, when it is known without waiting for a GPU."""
        self.holds_place = True
        self.passes = 0
        self.pass_share = 0.0
        self.pass_rows = 0
        self.clock = StageClock()
        self.result: Any = None
        self.error: Exception | None = None
        self.cancelled = False
        self.stream: Any = None
        """The stream of a GPU in which it makes its picture, if that is not the common one; see `decode_lane`."""
        self._made: Any = None
        self._finite: list[torch.Tensor] = []

    @functools.cached_property
    def noise(self) -> list[torch.Generator]:
        """A generator for each image with the seed of its own: for noise that a pipeline draws without a generator."""
        generators = self.arguments.get("generator")
        every = generators if isinstance(generators, list) else [generators]
        return [torch.Generator("cpu").manual_seed(g.initial_seed()) for g in every if g is not None]

    def watch(self, answer: Any) -> None:
        """Note whether a decoded answer has NaN or infinity in it; nobody waits for a GPU here."""
        self._finite += [
            leaf.isfinite().all()
            for leaf in pytree.tree_leaves(answer)
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        ]

    @property
    def images(self) -> torch.Tensor:
        """The images [n, channels, height, width] in 0..1 of a request that has a result.

        Raises NotFiniteError when the model returned NaN or infinity anywhere: pipelines clamp colours, so that such
        an answer would look like a black or white image. Waits for the device.
        """
        if self._made is not None:
            self._made.synchronize()
        images = as_tensor(self.result[0])
        self.watch(images)
        if not all(bool(finite) for finite in self._finite):
            raise NotFiniteError(
                "the model returned numbers that are not finite (NaN or infinity), so there is no image; "
                "another seed, size or adapter may do, or the server's operator may choose a wider type (float32)"
            )
        return images

    def end(self) -> None:
        """Its pipeline has returned: what is under way in a stream of its own now is what its images wait for."""
        if self.stream is not None:
            self._made = self.stream.record_event()

    def took_part(self, sharers: int, rows: int) -> None:
        """Account for one denoiser pass of `rows` rows, shared by `sharers` requests."""
        self.passes += 1
        self.pass_share += 1 / sharers
        self.pass_rows += rows


def as_tensor(images: Any) -> torch.Tensor:
    """Images as most pipelines return them; a few older ones give arrays [n, height, width, channels] for `pt`, too."""
    return images if isinstance(images, torch.Tensor) else torch.from_numpy(images).permute(0, 3, 1, 2)


class StageClock:
    """When a request first entered each of its stages. A stage lasts until the next one that was entered."""

    def __init__(self) -> None:
        self._entered = {ENCODE: time.perf_counter()}
        self.began = time.monotonic()
        """The same moment on the clock that all processes of the machine share."""

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
