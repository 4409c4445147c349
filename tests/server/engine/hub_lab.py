"""Running the same requests through the hub and through the plain pipeline."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import pytest
import tiny_more as more
import tiny_pipelines as tiny
import tiny_rare as rare
import torch

from pixwire_server.engine.hub import Hub
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.request import Request, StepMoment

QUIET = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        # numpy on how torch implements its array protocol, raised where schedulers compute their sigmas
        "__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
        # diffusers on its own imports
        ".*FluxPosEmbed:FutureWarning",
        ".*LoraLoaderMixin:FutureWarning",
        # diffusers on arguments and methods that its own older pipelines use, torch on an empty layer of one
        "The decode_latents method is deprecated:FutureWarning",
        "`callback_steps` is deprecated:FutureWarning",
        "Initializing zero-element tensors is a no-op:UserWarning",
        # torch on types in which a depth estimator is not narrowed
        "In CPU autocast:UserWarning",
        # peft on a second adapter
        "Already found a `peft_config`:UserWarning",
    )
]
"""Marks for tests that run whole pipelines."""

STEPS = (4, 6, 3, 5, 4, 6)
GUIDANCE = (4.0, 2.5, 6.0, 1.0, 3.0, 7.0)  # 1.0: without classifier-free guidance, half the rows


@dataclass(frozen=True)
class Family:
    """A kind of pipeline and how request k of a mixed set differs from the others."""

    build: Callable[[], Any]
    text: Callable[[int], dict[str, object]]
    guidance: str = "guidance_scale"
    extra: Mapping[str, object] = field(default_factory=dict)
    tolerance: float = 0.0  # in float64; some models calculate a part of them in float32 whatever they are given
    dtype: torch.dtype = torch.float64  # the widest that the model runs in
    enlarged: int = 1  # what sizes with pictures are multiplied by

    @property
    def pipeline_class(self) -> type[Any]:
        made: type[Any] = get_type_hints(self.build)["return"]
        return made

    def pipeline(self, dtype: torch.dtype = torch.float32) -> Any:
        pipeline = self.build().to(dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def job(self, k: int, dtype: torch.dtype = torch.float32, **changes: object) -> dict[str, Any]:
        """The arguments of request k, with a fresh generator."""
        arguments = {
            "height": 32, "width": 32, "num_inference_steps": STEPS[k], self.guidance: GUIDANCE[k], "output_type": "pt",
            "return_dict": False, "generator": generator(k),
        }  # fmt: skip
        arguments |= self.text(k) | dict(self.extra) | changes
        return {name: cast(value, dtype) for name, value in arguments.items()}


def _prompt(k: int) -> dict[str, object]:
    return {"prompt": "cat dog " * (k + 1), "negative_prompt": "dog" * k}


def _sprint_text(k: int) -> dict[str, object]:
    text = tiny.masked_text(k, 5 + k, 8)
    return {name: value for name, value in text.items() if "negative" not in name} | {"num_inference_steps": 2}


NO_BINS = {"negative_prompt": None, "use_resolution_binning": False}
FAMILIES = {
    "sd15": Family(tiny.sd15, _prompt),
    "sdxl": Family(tiny.sdxl, _prompt),
    "sd3": Family(tiny.sd3, _prompt),
    "flux": Family(tiny.flux, tiny.flux_text),
    "pixart": Family(tiny.pixart, lambda k: tiny.masked_text(k, 5 + k, 32), extra=NO_BINS),
    "lumina2": Family(tiny.lumina2, lambda k: tiny.masked_text(k, 5 + k, 8)),
    "sana": Family(tiny.sana, lambda k: tiny.masked_text(k, 5 + k, 8), extra=NO_BINS),
    "qwen": Family(tiny.qwen, lambda k: tiny.ragged_text(k, 5 + k), guidance="true_cfg_scale"),
    "zimage": Family(tiny.zimage, lambda k: tiny.listed_text(k, 5 + 9 * k)),
    "sd2": Family(more.sd2, _prompt),
    "sd35": Family(more.sd35, _prompt),
    "lcm": Family(more.lcm, lambda k: {"prompt": "cat dog " * (k + 1)}),
    "turbo": Family(more.turbo, _prompt, extra={"guidance_scale": 0.0}),
    "pixart_alpha": Family(more.pixart_alpha, lambda k: tiny.masked_text(k, 5 + k, 32), extra=NO_BINS),
    "sana_sprint": Family(
        more.sana_sprint, _sprint_text, extra={"use_resolution_binning": False, "intermediate_timesteps": None}
    ),
    "chroma": Family(more.chroma, more.chroma_text),
    "auraflow": Family(more.auraflow, lambda k: tiny.masked_text(k, 9, 32)),
    "cogview4": Family(more.cogview4, lambda k: more.two_texts(k, 16, 32)),
    "cogview3": Family(more.cogview3, lambda k: more.two_texts(k, 16, 32)),
    "flux2": Family(more.flux2, lambda k: {"prompt_embeds": tiny.noise(1, 12, 16, seed=k)}, enlarged=2),
    "flux2_klein": Family(more.flux2_klein, lambda k: more.two_texts(k, 12, 16), enlarged=2),
    "hunyuan_dit": Family(
        more.hunyuan_dit, more.hunyuan_dit_text, extra={"use_resolution_binning": False}, tolerance=1e-5
    ),
    "hunyuan_image": Family(more.hunyuan_image, more.hunyuan_image_text, guidance="distilled_guidance_scale"),
    "lumina": Family(more.lumina, lambda k: tiny.masked_text(k, 9, 32), extra={"clean_caption": False}),
    "flux_kontext": Family(rare.flux_kontext, tiny.flux_text, extra={"max_area": 32 * 32, "_auto_resize": False}),
    "ovis": Family(rare.ovis, lambda k: more.two_texts(k, 12, 32), extra={"negative_prompt": None}),
    "bria": Family(rare.bria, lambda k: more.two_texts(k, 12, 32)),
    "prx": Family(rare.prx, lambda k: tiny.masked_text(k, 9, 32), extra={"use_resolution_binning": False}),
    "kandinsky5": Family(rare.kandinsky5, rare.kandinsky5_text, tolerance=1e-5, dtype=torch.float32),
    "krea2": Family(rare.krea2, rare.krea2_text),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def cast(value: object, dtype: torch.dtype) -> object:
    """Tensors of floating point numbers as `dtype`, also in lists; anything else as it is."""
    if isinstance(value, list):
        return [cast(item, dtype) for item in value]
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def plain(pipeline: Any, arguments: Mapping[str, Any], scheduler: Any = None) -> torch.Tensor:
    """The images of the unmodified pipeline, alone."""
    original = pipeline.scheduler
    if scheduler is not None:
        pipeline.scheduler = scheduler
    try:
        images: torch.Tensor = pipeline(**arguments)[0]
        return images
    finally:
        pipeline.scheduler = original


class Lab:
    """A hub that records what its observer hears."""

    def __init__(self, pipeline: Any, max_rows: int = 64, exact: bool = False, **options: Any) -> None:
        self.runner = PassRunner(max_rows, exact)
        self.hub = Hub(pipeline, self.runner, self, **options)
        self.requests: dict[int, Request] = {}
        self.events: list[tuple[Any, ...]] = []
        self.grad_modes: set[bool] = set()

    def stepped(self, request: Request, moment: StepMoment) -> None:
        self.grad_modes.add(torch.is_grad_enabled())
        self.events.append(("step", request.handle, request.step, request.steps))

    def left(self, request: Request) -> None:
        self.events.append(("left", request.handle))

    def ended(self, request: Request) -> None:
        self.events.append(("ended", request.handle))

    def submit(self, handle: int, arguments: Mapping[str, Any], scheduler: Any = None, **options: Any) -> Request:
        self.requests[handle] = Request(handle, arguments, scheduler, **options)
        self.hub.submit(self.requests[handle])
        return self.requests[handle]

    def run(self) -> None:
        while self.hub.tick():
            pass

    def run_until(self, done: Callable[[], bool]) -> None:
        while not done():
            assert self.hub.tick(), "the hub ran dry before the condition came true"

    def images(self, handle: int) -> torch.Tensor:
        request = self.requests[handle]
        if request.error is not None:
            raise request.error
        return request.images


def run_all(pipeline: Any, jobs: Iterable[Mapping[str, Any]], **options: Any) -> Lab:
    """All jobs at once, to the end; handles count from 0."""
    lab = Lab(pipeline, **options)
    for handle, arguments in enumerate(jobs):
        lab.submit(handle, arguments)
    lab.run()
    return lab


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of images in 0..1, after the cast to float32."""
    assert a.shape == b.shape
    return float((a.float() - b.float()).abs().max())
