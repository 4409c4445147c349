"""What a loaded pipeline can be asked for, read from its class and components."""

import importlib.util
import inspect
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixwire_server.engine.api import IMG2IMG, ModelCard
from pixwire_server.engine.families import LOADED, Task
from pixwire_server.engine.folder import DEFAULTS_FILE, ModelRefusedError
from pixwire_server.engine.variants import Variant, inputs, kinds
from pixwire_server.engine.view import GUIDERS

log = logging.getLogger(__name__)

MAX_SIDE = 8192
MAX_STEPS = 200
MAX_COUNT = 16
_DEFAULT_SIDE = 1024

_REQUIRED = ("prompt", "height", "width", "num_inference_steps", "generator", "output_type", "num_images_per_prompt")

_UNSUITABLE: Mapping[str, str] = {
    "KandinskyCombined": "Kandinsky 2.1 gave way to 2.2, which is served",
    "KandinskyImg2ImgCombined": "Kandinsky 2.1 gave way to 2.2, which is served",
    "KandinskyInpaintCombined": "Kandinsky 2.1 gave way to 2.2, which is served",
    "Prior": "it makes embeddings, not images",
    "Decoder": "it needs the embeddings that another pipeline makes; serve the combined pipeline",
    "SuperResolution": "it enlarges pictures, which is no kind of task here",
    "Upscale": "it enlarges pictures, which is no kind of task here",
    "Refiner": "it needs the latents of another pipeline as its picture",
    "QwenImageEditInpaint": "it makes about a megapixel, whatever size is asked for",
    "LongCatImageEdit": "it makes about a megapixel, whatever size is asked for",
    "Layered": "it takes a picture apart into several transparent layers",
    "Latte": "it makes videos",
    "ShapE": "it makes three-dimensional shapes",
}
"""Parts of the names of classes that are in no family, and why such a pipeline cannot be served."""

_PACKAGES: Mapping[str, str] = {"OmniGenPipeline": "torchvision", "Cosmos2TextToImagePipeline": "cosmos_guardrail"}
"""Classes that do not run without a package that the server does not bring along."""

_GUIDER_CLASSES = (
    "ClassifierFreeGuidance",
    "ClassifierFreeZeroStarGuidance",
    "AdaptiveProjectedGuidance",
    "AdaptiveProjectedMixGuidance",
    "TangentialClassifierFreeGuidance",
)
"""Guidance components that calculate with the model's answers and leave the model alone."""

_GUIDANCE = ("guidance_scale", "true_cfg_scale", "distilled_guidance_scale")

_NAME = "name"
_MAX_NAME = 100

_OVERRIDES: Mapping[str, tuple[type[int] | type[float], float, float]] = {
    "steps": (int, 1, MAX_STEPS),
    "guidance_scale": (float, 0, 50),
    "strength": (float, 0.01, 1),
    "width": (int, 16, MAX_SIDE),
    "height": (int, 16, MAX_SIDE),
    "max_width": (int, 16, MAX_SIDE),
    "max_height": (int, 16, MAX_SIDE),
    "control_mode": (int, 0, 31),
}
"""Numbers in `pixwire_defaults.json`: type, least, greatest. Its one other key is `name`."""


def check_pipeline_class(pipeline_class: Any) -> None:
    """Raise ModelRefusedError unless the class makes images of a text, or is one of `families`."""
    name = pipeline_class.__name__
    if name in LOADED:
        return
    if ".deprecated." in pipeline_class.__module__:
        raise ModelRefusedError(f"{name} cannot be served: diffusers has deprecated it.")
    for part, why in _UNSUITABLE.items():
        if part in name:
            raise ModelRefusedError(f"{name} cannot be served: {why}. Served are pipelines that make images of a text.")
    if (package := _PACKAGES.get(name, "")) and importlib.util.find_spec(package) is None:
        raise ModelRefusedError(f"{name} cannot be served: it does not run without the package {package}.")
    parameters = inspect.signature(pipeline_class.__call__).parameters
    missing = [parameter for parameter in _REQUIRED if parameter not in parameters]
    if missing:
        raise ModelRefusedError(
            f"{name} cannot be served: its call takes no {', '.join(missing)}. Served are text-to-image pipelines."
        )
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in {"self", "prompt"}
    ]
    if needed or "num_frames" in parameters:
        raise ModelRefusedError(
            f"{name} cannot be served: it needs {', '.join(needed) or 'num_frames'} besides a text."
        )


def check_pipeline(pipeline: Any) -> None:
    """Raise ModelRefusedError for components that do not fit the engine; warn of those that only cost time."""
    for name in GUIDERS:
        guider = getattr(pipeline, name, None)
        if guider is not None and type(guider).__name__ not in _GUIDER_CLASSES:
            raise ModelRefusedError(
                f"{type(pipeline).__name__} cannot be served with the guidance {type(guider).__name__}: it may change "
                f"the model that other requests use. Known to be harmless: {', '.join(_GUIDER_CLASSES)}."
            )
    if denoiser(pipeline) is None:
        raise ModelRefusedError(f"{type(pipeline).__name__} cannot be served: it has neither a unet nor a transformer.")
    scheduler = type(pipeline.scheduler).__name__
    if scheduler == "DPMSolverSDEScheduler":
        raise ModelRefusedError(
            "the scheduler DPMSolverSDEScheduler takes its noise from the global random state, so a seed would not "
            "give the same image twice; use DPMSolverMultistepScheduler with algorithm_type sde-dpmsolver++"
        )
    if scheduler == "LMSDiscreteScheduler":
        log.warning("LMSDiscreteScheduler costs about 2 ms of one core for each request and step; others cost 0.1 ms")


def denoiser(pipeline: Any) -> Any:
    """The model that is called in every step; None when there is none the engine knows."""
    parts = (getattr(pipeline, name, None) for name in ("transformer", "unet", "decoder"))
    return next((part for part in parts if part is not None), None)


def describe(pipeline: Any, found: Mapping[Task, Variant], folder: Path, dtype: str) -> ModelCard:
    """The card of a loaded pipeline and its variants.

    Raises ModelRefusedError for a defaults file that does not fit.
    """
    model = denoiser(pipeline)
    parameters = inspect.signature(type(pipeline).__call__).parameters
    overrides = read_overrides(folder / DEFAULTS_FILE)
    multiple = _size_multiple(pipeline, model)
    height, width = _default_size(pipeline, model, multiple)
    width, height = int(overrides.get("width", width)), int(overrides.get("height", height))
    for side, value in (("width", width), ("height", height)):
        if value % multiple:
            raise ModelRefusedError(f"{folder / DEFAULTS_FILE}: {side} = {value} is not a multiple of {multiple}")
    train_steps = pipeline.scheduler.config.get("num_train_timesteps") or MAX_STEPS
    named = [parameters[name].default for name in _GUIDANCE if name in parameters and parameters[name].default]
    guiders = [guider.config.get("guidance_scale") for name in GUIDERS if (guider := getattr(pipeline, name, None))]
    guidance = next(iter([*guiders, *named]), None)
    return ModelCard(
        name=overrides.get(_NAME, folder.resolve().name),
        pipeline_class=type(pipeline).__name__,
        default_steps=int(overrides.get("steps", parameters["num_inference_steps"].default)),
        default_guidance_scale=float(overrides.get("guidance_scale", guidance or 0.0)),
        default_width=width,
        default_height=height,
        size_multiple=multiple,
        max_width=int(overrides.get("max_width", _max_side(width, multiple))),
        max_height=int(overrides.get("max_height", _max_side(height, multiple))),
        max_steps=min(MAX_STEPS, int(train_steps)),
        max_count=MAX_COUNT,
        device=str(pipeline.device),
        dtype=dtype,
        kinds=kinds(found),
        attachments=inputs(found),
        default_strength=float(overrides.get("strength", _default_strength(found))),
    )


def call_settings(pipeline: Any, folder: Path) -> dict[str, Any]:
    """Arguments of every call that the operator chose: which of its kinds of control image a ControlNet for several
    is given (`control_mode`; the first one unless another is chosen). Raises ModelRefusedError."""
    chosen = read_overrides(folder / DEFAULTS_FILE).get("control_mode")
    several = "ControlNetUnion" in type(pipeline).__name__
    return {"control_mode": chosen or 0} if several or chosen is not None else {}


def _default_strength(found: Mapping[Task, Variant]) -> float:
    """The family's own for image to image; 1 where there is none to choose."""
    variant = found.get((IMG2IMG, False))
    if variant is None:
        return 0.8
    return float(variant.parameters["strength"].default) if "strength" in variant.parameters else 1.0


def read_overrides(path: Path) -> dict[str, Any]:
    """The operator's defaults beside the model; empty without the file. Raises ModelRefusedError naming a bad key."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelRefusedError(f"{path} must hold one JSON object")
    for key, value in values.items():
        if key == _NAME:
            if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= _MAX_NAME:
                raise ModelRefusedError(f"{path}: name = {value!r} must be 1 to {_MAX_NAME} printable characters")
            continue
        if key not in _OVERRIDES:
            raise ModelRefusedError(f"{path}: unknown key {key!r}; known are {', '.join((_NAME, *_OVERRIDES))}")
        kind, least, greatest = _OVERRIDES[key]
        fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        if not fits or not least <= value <= greatest:
            raise ModelRefusedError(f"{path}: {key} = {value!r} must be {kind.__name__} from {least} to {greatest}")
    return values


_SCALES = ("vae_scale_factor", "vae_scale_factor_spatial", "movq_scale_factor")

_MULTIPLES: Mapping[str, int] = {
    "QwenImage21": 32, "Ideogram4": 16, "Kandinsky3": 64, "KandinskyV22": 64, "StableCascade": 128, "GlmImage": 32,
}  # fmt: skip
"""Families whose pipelines round sizes further than their models need, by the beginning of the class name."""


def _vae_scale(pipeline: Any) -> int:
    return int(next((getattr(pipeline, name) for name in _SCALES if hasattr(pipeline, name)), 1))


def _size_multiple(pipeline: Any, model: Any) -> int:
    """Pixels of one token of the denoiser. Pipelines check for multiples of 8 whatever their VAE, hence that too."""
    config = model.config
    patch = config.get("patch_size") or max(config.get("all_patch_size") or (1,))
    patch = max(patch) if isinstance(patch, list | tuple) else patch
    if hasattr(pipeline, "_pack_latents") or hasattr(pipeline, "_patchify_latents"):
        patch = max(patch, 2)  # done by the pipeline, not the model
    own = next((value for stem, value in _MULTIPLES.items() if type(pipeline).__name__.startswith(stem)), 1)
    return math.lcm(_vae_scale(pipeline) * int(patch), own, 8)


def _default_size(pipeline: Any, model: Any, multiple: int) -> tuple[int, int]:
    """Height and width the model was made for, in pixels, as its pipeline derives them."""
    named = inspect.signature(type(pipeline).__call__).parameters
    sides = [named[name].default for name in ("height", "width") if name in named]
    if not any(hasattr(pipeline, name) for name in _SCALES) and all(isinstance(side, int) for side in sides) and sides:
        return _rounded(sides[0], multiple), _rounded(sides[-1], multiple)
    own = pipeline.config.get("default_sample_size") or pipeline.__dict__.get("default_sample_size")
    sample = own or model.config.get("sample_size")
    if sample is None:
        return _DEFAULT_SIDE // multiple * multiple, _DEFAULT_SIDE // multiple * multiple
    height, width = (sample, sample) if isinstance(sample, int) else sample
    scale = _vae_scale(pipeline)
    return _rounded(height * scale, multiple), _rounded(width * scale, multiple)


def _rounded(side: int, multiple: int) -> int:
    return max(multiple, side // multiple * multiple)


def _max_side(default: int, multiple: int) -> int:
    """Twice the default: beyond it models repeat themselves, and memory grows with the fourth power of the side."""
    return min(2 * default, MAX_SIDE // multiple * multiple)
