"""The view: what one request sees of the shared pipeline.

A shallow copy whose heavy modules are proxies, whose scheduler is the request's own instance with a hook on every
step, and whose `encode_prompt` waits for its turn and remembers texts. The pipeline's class and code stay untouched.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pixwire_server.engine.batch_key import alone
from pixwire_server.engine.encode_cache import EncodeCache, memo_key
from pixwire_server.engine.proxy import ModuleProxy, Park, bind
from pixwire_server.engine.request import Call, Request, RequestCancelled, StepMoment
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

_DENOISER = {"": DENOISE}
_VAE = {"decode": DECODE, "encode": ENCODE}
HEAVY: Mapping[str, Mapping[str, str]] = {
    "unet": _DENOISER,
    "transformer": _DENOISER,
    "transformer_2": _DENOISER,
    "unconditional_transformer": _DENOISER,
    "controlnet": _DENOISER,
    "prior": _DENOISER,
    "vae": _VAE,
    "movq": _VAE,
}
"""Components that are replaced by proxies, with the stage of each method that parks ("": calling the module)."""

GUIDERS = ("guider", "ocr_guider")
"""Components that keep the state of a run, so that every request needs its own."""

DEVICE_TIMESTEPS = frozenset({"SanaSprintPipeline", "SanaSprintImg2ImgPipeline"})
"""Pipelines that calculate with vectors of timesteps and latents together, so both must be on the same device."""

OnStep = Callable[[Request, StepMoment], None]


def make_view(pipeline: Any, request: Request, park: Park, on_step: OnStep, cache: EncodeCache, *, ragged: bool) -> Any:
    """A view of `pipeline` for `request`. Cheap: no tensor is copied."""
    view = copy.copy(pipeline)
    # Past __setattr__: it would record the stand-ins in the pipeline's configuration.
    own = view.__dict__
    own.pop("_num_timesteps", None)  # of an earlier call of the pattern; see `_steps`
    pattern = pipeline.scheduler if request.scheduler is None else request.scheduler
    own["scheduler"] = _own_scheduler(pattern, request, on_step, own, _wants_cpu_timesteps(pipeline))
    for name, stages in HEAVY.items():
        if getattr(pipeline, name, None) is not None:
            own[name] = ModuleProxy(getattr(pipeline, name), name, stages, request, park, ragged=ragged)
    for name in GUIDERS:
        if getattr(pipeline, name, None) is not None:
            own[name] = _own_guider(getattr(pipeline, name), request.guidance)
    if hasattr(pipeline, "resolutions") and "width" in request.arguments:
        # Kandinsky replaces a size that is not in its list by the one nearest in shape, whatever its area.
        own["resolutions"] = [(request.arguments["width"], request.arguments["height"])]
    if hasattr(pipeline, "encode_prompt"):
        own["encode_prompt"] = _text_stage(view, request, park, cache)
    return view


def _own_guider(pattern: Any, scale: float | None) -> Any:
    """A fresh guider; the request's guidance scale takes the place of the model's."""
    if scale is None or "guidance_scale" not in pattern.config:
        return pattern.new()
    return pattern.new(guidance_scale=scale)


def _wants_cpu_timesteps(pipeline: Any) -> bool:
    """On a GPU, schedulers look things up by timestep: every step waits for the device unless it is on the CPU."""
    return pipeline.device.type != "cpu" and type(pipeline).__name__ not in DEVICE_TIMESTEPS


def _steps(own: Mapping[str, Any], scheduler: Any) -> int:
    """Scheduler steps of the whole run: what the pipeline counted (an image as input takes the place of the first
    ones), or else all there are. Samplers with several calls a step make more than was asked for."""
    counted = own.get("_num_timesteps")
    if isinstance(counted, int) and counted > 0:
        return counted
    return len(scheduler.timesteps) - (getattr(scheduler, "begin_index", None) or 0)


def _own_scheduler(pattern: Any, request: Request, on_step: OnStep, own: Mapping[str, Any], cpu_timesteps: bool) -> Any:
    """A fresh scheduler (never a copy of a used one: they keep the state of their last run) with our hooks."""
    scheduler = type(pattern).from_config(pattern.config)
    step = scheduler.step

    # The wrappers keep the signature visible: pipelines inspect it to see what to pass.
    @functools.wraps(step)
    def hooked_step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        if request.cancelled:
            raise RequestCancelled
        outputs = step(model_output, timestep, sample, *args, **kwargs)
        request.steps = _steps(own, scheduler)
        request.step = min(request.step + 1, request.steps)
        plain = outputs if isinstance(outputs, tuple) else tuple(outputs.values())
        on_step(request, StepMoment(scheduler, model_output, sample, plain))
        return outputs

    scheduler.step = hooked_step
    if cpu_timesteps:
        set_timesteps = scheduler.set_timesteps
        parameters = inspect.signature(set_timesteps)

        @functools.wraps(set_timesteps)
        def set_cpu_timesteps(*args: Any, **kwargs: Any) -> None:
            bound = parameters.bind(*args, **kwargs).arguments
            set_timesteps(**{name: "cpu" if name == "device" else value for name, value in bound.items()})

        scheduler.set_timesteps = set_cpu_timesteps
    return scheduler


def _text_stage(view: Any, request: Request, park: Park, cache: EncodeCache) -> Callable[..., Any]:
    """`encode_prompt` that answers from the cache, or waits for a turn and then encodes.

    The work is done by the request itself once the turn is granted, not by the hub: should it call a proxied module,
    that call parks like any other. The class method reads no state of the request but its arguments, which is what
    makes remembering its answers right.
    """
    encode_prompt = type(view).encode_prompt.__get__(view)
    own = {"pipeline class": type(view).__qualname__, "adapters": [(a.path, a.weight) for a in request.adapters]}

    @functools.wraps(encode_prompt)
    def encode(*args: Any, **kwargs: Any) -> Any:
        arguments = bind(encode_prompt, args, kwargs)
        key = None if arguments is None else memo_key(own | arguments)
        if key is not None and (known := cache.get(key)) is not None:
            return known[0]
        park(Call(request, "encode_prompt", ENCODE, _turn, {}, alone("encode_prompt")))
        if key is not None and (known := cache.get(key)) is not None:
            return known[0]  # somebody else encoded it while this request waited
        answer = encode_prompt(*args, **kwargs)
        if key is not None:
            cache.put(key, answer)
        return answer

    return encode


def _turn() -> None:
    """Nothing to run: the call exists to wait for the turn."""
