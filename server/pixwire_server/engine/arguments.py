"""From a task to the arguments of a pipeline's call."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import torch

from pixwire_server.engine import style
from pixwire_server.engine.api import (
    CONTROL,
    IMAGE,
    INPAINT,
    MASK,
    MEDIA_TYPES,
    REQUIRED_INPUTS,
    STYLE,
    TXT2IMG,
    GenerateTask,
    ModelCard,
)
from pixwire_server.engine.families import Task
from pixwire_server.engine.overlay import Overlay
from pixwire_server.engine.variants import STYLE_PARAMETER, Variant


class InvalidTaskError(Exception):
    """The task does not fit the model. Names field, value and what is allowed."""


TRUE_CFG = ("QwenImage",)
"""Families whose classifier-free guidance is called `true_cfg_scale` and needs a negative prompt to take part."""

FIXED: Mapping[str, Any] = {
    "use_resolution_binning": False,  # it would compute another size than asked for and rescale
    "clean_caption": False,  # it depends on optional packages, so the same seed would not give the same image
    "_auto_resize": False,  # as the first
    "enable_prompt_rewrite": False,  # a language model would write another text, with random numbers of its own
    "use_pe": False,  # the same
    "guidance_schedule": None,  # the request's own guidance holds for all steps
    "use_kv_cache": False,  # the caches of one request would keep it from sharing passes
    "output_type": "pt",
    "return_dict": False,
}
"""Arguments that every request gets where the pipeline has them."""


_CONTROL_WEIGHTS = ("controlnet_conditioning_scale", "adapter_conditioning_scale")
_JSON_EDITORS = ("BriaFiboEditPipeline",)
_EDIT_KEY = "edit_instruction"
_MASKS = ("mask_image", "mask", "control_mask")

_STEPS_WITH_INTERMEDIATE = 2
"""The one number of steps for which Sana Sprint's default of `intermediate_timesteps` is meant."""


def check(task: GenerateTask, card: ModelCard, variants: Mapping[Task, Variant]) -> Variant:
    """The variant of the model that does the task. Raises InvalidTaskError when it cannot be done."""
    for side, value, greatest in (("width", task.width, card.max_width), ("height", task.height, card.max_height)):
        if not card.size_multiple <= value <= greatest or value % card.size_multiple:
            raise InvalidTaskError(
                f"{side} = {value} must be a multiple of {card.size_multiple} up to {greatest} for {card.name}"
            )
    for name, value, greatest in (("steps", task.steps, card.max_steps), ("count", task.count, card.max_count)):
        if not 1 <= value <= greatest:
            raise InvalidTaskError(f"{name} = {value} must be from 1 to {greatest} for {card.name}")
    if task.media_type not in MEDIA_TYPES:
        raise InvalidTaskError(f"media_type = {task.media_type!r} must be one of {', '.join(MEDIA_TYPES)}")
    variant = _variant(task, card, variants)
    if task.negative_prompt and not _takes_negative(variant):
        raise InvalidTaskError(f"negative_prompt: {card.name} ({card.pipeline_class}) takes none; leave it out")
    if task.kind != TXT2IMG:
        _check_strength(task, variant, card)
    return variant


def _guided_by_true_cfg(variant: Variant) -> bool:
    return type(variant.pipeline).__name__.startswith(TRUE_CFG)


def _takes_negative(variant: Variant) -> bool:
    """Models distilled for guidance (Flux) have the parameter, but ignore it as long as `true_cfg_scale` is 1."""
    if "negative_prompt" not in variant.parameters:
        return False
    return "true_cfg_scale" not in variant.parameters or _guided_by_true_cfg(variant)


def _variant(task: GenerateTask, card: ModelCard, variants: Mapping[Task, Variant]) -> Variant:
    if task.kind not in card.kinds:
        raise InvalidTaskError(f"kind = {task.kind!r} must be one of {', '.join(card.kinds)} for {card.name}")
    names = [item.name for item in task.inputs]
    required = REQUIRED_INPUTS[task.kind]
    if len(names) != len(set(names)) or set(names) - {CONTROL, STYLE} != set(required):
        raise InvalidTaskError(
            f"inputs = {', '.join(names) or 'none'}: {task.kind} takes {' and '.join(required) or 'none'}, each once"
        )
    variant = variants.get((task.kind, CONTROL in names))
    if variant is None and CONTROL in names:
        raise InvalidTaskError(f"inputs: {card.name} takes no control for {task.kind}; leave it out")
    if variant is None:
        raise InvalidTaskError(f"inputs: {card.name} needs a control for {task.kind}; add a control image")
    _check_weights(task, names, variant, card)
    return variant


def _check_weights(task: GenerateTask, names: Collection[str], variant: Variant, card: ModelCard) -> None:
    if CONTROL in names and task.control_scale != 1 and not _weight_of_control(variant):
        raise InvalidTaskError(
            f"control_scale = {task.control_scale:g}: {card.name} follows its control as it was trained; leave it out"
        )
    if STYLE in names and not variant.takes_style:
        raise InvalidTaskError(f"inputs: {card.name} takes no style for {task.kind}; leave it out")


def _weight_of_control(variant: Variant) -> str:
    """What the pipeline calls the weight of its control image; "" when it has none."""
    return next((name for name in _CONTROL_WEIGHTS if name in variant.parameters), "")


def _check_strength(task: GenerateTask, variant: Variant, card: ModelCard) -> None:
    if "strength" not in variant.parameters and task.strength != 1:
        raise InvalidTaskError(
            f"strength = {task.strength:g}: {card.name} edits as the prompt says, whatever the strength; leave it out"
        )
    if not 0 < task.strength <= 1:
        raise InvalidTaskError(f"strength = {task.strength:g} must be above 0 and at most 1")
    if int(task.steps * task.strength) < 1:
        raise InvalidTaskError(
            f"strength = {task.strength:g} of steps = {task.steps} leaves no step to compute; "
            f"use a strength of at least {1 / task.steps:.3g} or more steps"
        )


def build(task: GenerateTask, variant: Variant, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments for `variant.pipeline(**arguments)`; `inputs` are the pictures by name.

    Noise comes from CPU generators, one for each image with the seed `seed + i`: an image depends neither on the
    device nor on how many were asked for at once.
    """
    parameters = variant.parameters
    generators = [torch.Generator("cpu").manual_seed(task.seed + i) for i in range(task.count)]
    arguments: dict[str, Any] = {
        "prompt": _prompt(task, variant),
        "num_inference_steps": task.steps,
        "num_images_per_prompt": task.count,
        "generator": generators if task.count > 1 else generators[0],
    }
    if "intermediate_timesteps" in parameters and task.steps != _STEPS_WITH_INTERMEDIATE:
        arguments["intermediate_timesteps"] = None
    sizes = {"width": task.width, "height": task.height}  # a pipeline without them goes by its picture
    sizes["max_area"] = task.width * task.height  # otherwise the pipeline rescales to about a megapixel
    sizes["output_resolution"] = round(math.sqrt(sizes["max_area"]))  # the same
    given = {**FIXED, **variant.settings, **sizes, **_pictures(task, variant, inputs)}
    arguments |= {name: value for name, value in given.items() if name in parameters}
    true_cfg = _guided_by_true_cfg(variant)
    scale = {
        "true_cfg_scale" if true_cfg else "guidance_scale": task.guidance_scale,
        "distilled_guidance_scale": task.guidance_scale,
    }
    arguments |= {name: value for name, value in scale.items() if name in parameters}
    if task.negative_prompt:
        arguments["negative_prompt"] = task.negative_prompt
    elif true_cfg:
        arguments["negative_prompt"] = " "
    return arguments


def _prompt(task: GenerateTask, variant: Variant) -> str:
    """The prompt in the form that the pipeline takes: one model for editing asks for JSON."""
    if type(variant.pipeline).__name__ in _JSON_EDITORS and _EDIT_KEY not in task.prompt:
        return json.dumps({_EDIT_KEY: task.prompt})
    return task.prompt


def overlays(task: GenerateTask, variant: Variant) -> tuple[Overlay, ...]:
    """What the task changes in the denoiser for its own passes."""
    if variant.style is None or all(item.name != STYLE for item in task.inputs):
        return ()
    return (style.at(variant.style, task.ip_scale),)


def _pictures(task: GenerateTask, variant: Variant, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs and what belongs to them, by the names the pipelines have for them.

    Several images get a picture each: most pipelines would sample the latents of a single one from the first
    generator for all of them. To editing models, which sample nothing, several pictures are several sources.
    """
    each = task.count > 1 and "strength" in variant.parameters
    pictures = {name: [picture] * task.count if each else picture for name, picture in inputs.items()}
    given: dict[str, Any] = {}
    if task.kind != TXT2IMG:
        given |= {"image": pictures[IMAGE], "strength": task.strength}
    if task.kind == INPAINT:
        mask = next(name for name in _MASKS if name in variant.parameters)
        given[mask] = pictures[MASK]
        if mask == "control_mask":  # the model's ControlNet does the inpainting
            given["control_image"] = given.pop("image")
    if CONTROL in pictures:
        # One for all images: the pipelines repeat a list of pictures by the number of images again.
        given["control_image" if "control_image" in variant.parameters else "image"] = inputs[CONTROL]
        given[_weight_of_control(variant)] = task.control_scale
    if STYLE in pictures:
        given[STYLE_PARAMETER] = [inputs[STYLE]]
    return given
