"""The view: what one request sees of the shared pipeline.

A shallow copy whose heavy modules are proxies, whose scheduler is the request's own instance with a hook on every
step, and whose `encode_prompt` waits for its turn and remembers texts. The pipeline's class and code stay untouched.
"""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pixwire_server.engine import known
from pixwire_server.engine.batch_key import Rule, Signature, alone
from pixwire_server.engine.encode_cache import EncodeCache, memo_key
from pixwire_server.engine.overlay import changed_by
from pixwire_server.engine.proxy import ModuleProxy, Park, bind
from pixwire_server.engine.request import TURN, Call, Request, RequestCancelled, StepMoment
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

_DENOISER = {"": DENOISE}
_TEXT = {"": ENCODE}
_VAE = {"decode": DECODE, "encode": ENCODE}
HEAVY: Mapping[str, Mapping[str, str]] = {
    "unet": _DENOISER,
    "transformer": _DENOISER,
    "transformer_2": _DENOISER,
    "unconditional_transformer": _DENOISER,
    "controlnet": _DENOISER,
    "prior": _DENOISER,
    "prior_prior": _DENOISER,
    "decoder": _DENOISER,
    "text_encoder": _TEXT,
    "text_encoder_2": _TEXT,
    "text_encoder_3": _TEXT,
    "vae": _VAE,
    "movq": _VAE,
    "vqgan": _VAE,
}
"""Components that are replaced by proxies, with the stage of each method that parks ("": calling the module)."""

CHAINED = ("prior_pipe", "decoder_pipe")
"""Pipelines that a pipeline runs one after the other; the steps of the last one are the request's."""

GUIDERS = ("guider", "ocr_guider")
"""Components that keep the state of a run, so that every request needs its own."""

RESCALING = ("HiDreamImagePipeline",)
"""Pipelines that make every image of the area of `default_sample_size`."""

DEVICE_TIMESTEPS = frozenset(
    {"SanaSprintPipeline", "SanaSprintImg2ImgPipeline", "StableCascadePriorPipeline", "StableCascadeDecoderPipeline"}
)
"""Pipelines that calculate with vectors of timesteps and latents together, so both must be on the same device."""

_PATIENCE = 4
"""Turns a text is waited for that another request is encoding: there are at most so many encoders one after another."""

OnStep = Callable[[Request, StepMoment], None]


def _unheard(request: Request, moment: StepMoment) -> None:
    """Steps ahead of the main loop (a prior's) are nobody's progress."""


def make_view(pipeline: Any, request: Request, park: Park, on_step: OnStep, cache: EncodeCache, *, ragged: bool) -> Any:
    """A view of `pipeline` for `request`. Cheap: no tensor is copied."""
    park = _outside_autocast(park)
    view = known.view_of(pipeline)
    # Past __setattr__: it would record the stand-ins in the pipeline's configuration.
    own = view.__dict__
    own.pop("_num_timesteps", None)  # of an earlier call of the pattern; see `_steps`
    pattern = pipeline.scheduler if request.scheduler is None else request.scheduler
    cpu_timesteps = _wants_cpu_timesteps(pipeline)
    own["scheduler"] = _own_scheduler(pattern, request, on_step, own, cpu_timesteps)
    for name in view.components:
        if name.endswith("_scheduler") and getattr(pipeline, name, None) is not None:
            own[name] = _own_scheduler(getattr(pipeline, name), request, _unheard, {}, cpu_timesteps)
    for name in CHAINED:
        if hasattr(pipeline, name):
            hears = on_step if name == CHAINED[-1] else _unheard
            own[name] = make_view(getattr(pipeline, name), request, park, hears, cache, ragged=ragged)
    for name, stages in HEAVY.items():
        if getattr(pipeline, name, None) is not None:
            own[name] = ModuleProxy(getattr(pipeline, name), name, stages, request, park, ragged=ragged)
    for name in GUIDERS:
        if getattr(pipeline, name, None) is not None:
            own[name] = _own_guider(getattr(pipeline, name), request.guidance)
    if hasattr(pipeline, "resolutions") and "width" in request.arguments:
        # Kandinsky replaces a size that is not in its list by the one nearest in shape, whatever its area.
        own["resolutions"] = [(request.arguments["width"], request.arguments["height"])]
    if hasattr(getattr(pipeline, "vae_image_processor", None), "get_default_height_width"):
        # JoyImage replaces a size by the one of its list that is nearest in shape.
        own["vae_image_processor"] = copy.copy(pipeline.vae_image_processor)
        own["vae_image_processor"].get_default_height_width = lambda image, height, width: (height, width)
    if type(pipeline).__name__ in RESCALING and "width" in request.arguments:
        # It replaces a size by one of the same shape and the area of its own default.
        area = request.arguments["width"] * request.arguments["height"]
        own["default_sample_size"] = math.sqrt(area) * (1 + 1e-9) / pipeline.vae_scale_factor
    if hasattr(pipeline, "_set_pag_attn_processor"):
        own["_set_pag_attn_processor"] = _own_processors(view, pipeline, request)
    if hasattr(pipeline, "encode_prompt"):
        own["encode_prompt"] = _text_stage(view, request, park, cache)
    return view


def take_apart(view: Any) -> None:
    """Break the circles in which the parts of a used view refer to each other and to its request.

    Else its latents and images would stay until the garbage collector comes by, which sees how many objects there are
    and not that they hold the memory of a GPU.
    """
    if view is None:
        return
    own = vars(view)
    for name in CHAINED:
        take_apart(own.get(name))
    for part in own.values():
        if "step" in getattr(part, "__dict__", ()):  # a scheduler with our hooks, so the request's own
            vars(part).clear()
    own.clear()


def _outside_autocast(park: Park) -> Park:
    """A request that waited inside `autocast` would leave it on for all others: it fails instead."""

    def checked(call: Call) -> Any:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            raise RuntimeError(
                f"{call.name} is called inside autocast, which would change the images of other requests"
            )
        return park(call)

    return checked


def _own_processors(view: Any, pipeline: Any, request: Request) -> Callable[..., None]:
    """Attention processors that the pipeline would set on the shared denoiser are the request's overlay instead."""
    name = "unet" if hasattr(pipeline, "unet") else "transformer"
    set_on_model = type(view)._set_pag_attn_processor.__get__(pipeline)

    def keep(*args: Any, **kwargs: Any) -> None:
        overlay = changed_by(getattr(pipeline, name), lambda: set_on_model(*args, **kwargs))
        request.overlays = (*request.overlays, overlay)

    return keep


def _own_guider(pattern: Any, scale: float | None) -> Any:
    """A fresh guider; the request's guidance scale takes the place of the model's."""
    if scale is None or "guidance_scale" not in pattern.config:
        return pattern.new()
    return pattern.new(guidance_scale=scale)


def _wants_cpu_timesteps(pipeline: Any) -> bool:
    """On a GPU, schedulers look things up by timestep: every step waits for the device unless it is on the CPU."""
    return known.device_of(pipeline).type != "cpu" and type(pipeline).__name__ not in DEVICE_TIMESTEPS


def _steps(own: Mapping[str, Any], scheduler: Any) -> int:
    """Scheduler steps of the whole run: what the pipeline counted (an image as input takes the place of the first
    ones), or else all there are. Samplers with several calls a step make more than was asked for."""
    counted = own.get("_num_timesteps")
    if isinstance(counted, int) and counted > 0:
        return counted
    return len(scheduler.timesteps) - (getattr(scheduler, "begin_index", None) or 0)


def _own_scheduler(pattern: Any, request: Request, on_step: OnStep, own: Mapping[str, Any], cpu_timesteps: bool) -> Any:
    """A fresh scheduler with our hooks."""
    scheduler = known.fresh_scheduler(pattern)
    step = scheduler.step

    # The wrappers keep the signature visible: pipelines inspect it to see what to pass.
    @functools.wraps(step)
    def hooked_step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        if request.cancelled:
            raise RequestCancelled
        outputs = step(model_output, timestep, sample, *args, **kwargs)
        request.steps = _steps(own, scheduler)
        request.step = min(request.step + 1, request.steps)
        request.timestep = _number(timestep)
        plain = outputs if isinstance(outputs, tuple) else tuple(outputs.values())
        on_step(request, StepMoment(scheduler, model_output, sample, plain))
        return outputs

    hooked_step.__signature__ = known.signature_of(scheduler, "step")  # type: ignore[attr-defined]
    scheduler.step = hooked_step
    if cpu_timesteps:
        set_timesteps = scheduler.set_timesteps
        parameters = known.signature_of(scheduler, "set_timesteps")

        @functools.wraps(set_timesteps)
        def set_cpu_timesteps(*args: Any, **kwargs: Any) -> None:
            bound = parameters.bind(*args, **kwargs).arguments
            set_timesteps(**{name: "cpu" if name == "device" else value for name, value in bound.items()})

        scheduler.set_timesteps = set_cpu_timesteps
    return scheduler


def _number(timestep: Any) -> float | None:
    """A timestep as a number: whole where the scheduler's are; None rather than wait for a GPU, or if it is no one."""
    if isinstance(timestep, torch.Tensor) and timestep.numel() == 1 and timestep.device.type == "cpu":
        return timestep.item()
    return timestep if isinstance(timestep, int | float) else None


def _text_stage(view: Any, request: Request, park: Park, cache: EncodeCache) -> Callable[..., Any]:
    """`encode_prompt` that answers from the cache, or waits for a turn and then encodes.

    The work is done by the request itself once the turn is granted, not by the hub. Its calls of text encoders park
    like any other, so that the texts of several requests share passes; two equal texts are encoded once. The class
    method reads no state of the request but its arguments, which is what makes remembering its answers right.
    """
    encode_prompt = type(view).encode_prompt.__get__(view)
    own = {
        "pipeline class": type(view).__qualname__,
        "model": request.model,
        "adapters": [(a.path, a.weight) for a in request.adapters],
    }

    shared = any(isinstance(view.__dict__.get(name), ModuleProxy) for name in HEAVY if HEAVY[name] is _TEXT)

    @functools.wraps(encode_prompt)
    def encode(*args: Any, **kwargs: Any) -> Any:
        arguments = bind(encode_prompt, args, kwargs)
        key = None if arguments is None else memo_key(own | arguments)
        if key is not None and (known := cache.get(key)) is not None:
            return known[0]
        for _ in range(_PATIENCE):
            park(_turn(request, shared))
            if key is None or key not in cache.pending:
                break
        if key is None:
            return encode_prompt(*args, **kwargs)
        if (known := cache.get(key)) is not None:
            return known[0]  # somebody else encoded it while this request waited
        with cache.encoding(key):
            answer = encode_prompt(*args, **kwargs)
        cache.put(key, answer)
        return answer

    return encode


def _turn(request: Request, shared: bool) -> Call:
    """A call that exists to wait for the turn.

    `shared`: all that wait get it together. Where the text encoders park by themselves a turn costs next to nothing.
    """
    if not shared:
        return Call(request, TURN, ENCODE, _nothing, {}, alone(TURN))
    signature = Signature((TURN, request.model, request.adapters), 0, {"": Rule.DROP})
    return Call(request, TURN, ENCODE, _nothing, {"": None}, signature)


def _nothing(**_: None) -> None:
    """What a turn computes."""
