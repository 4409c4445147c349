"""From a task to the arguments of a pipeline's call."""

from collections.abc import Mapping
from typing import Any

import torch

from pixwire_server.engine.api import (
    CONTROL,
    IMAGE,
    INPAINT,
    MASK,
    MEDIA_TYPES,
    REQUIRED_INPUTS,
    TXT2IMG,
    GenerateTask,
    ModelCard,
)
from pixwire_server.engine.variants import Task, Variant


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
    "output_type": "pt",
    "return_dict": False,
}
"""Arguments that every request gets where the pipeline has them."""


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
    if len(names) != len(set(names)) or set(names) - {CONTROL} != set(required):
        raise InvalidTaskError(
            f"inputs = {', '.join(names) or 'none'}: {task.kind} takes {' and '.join(required) or 'none'}, each once"
        )
    variant = variants.get((task.kind, CONTROL in names))
    if variant is None:
        raise InvalidTaskError(f"inputs: {card.name} takes no control for {task.kind}; leave it out")
    return variant


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
        "prompt": task.prompt,
        "num_inference_steps": task.steps,
        "num_images_per_prompt": task.count,
        "generator": generators if task.count > 1 else generators[0],
    }
    if "intermediate_timesteps" in parameters and task.steps != _STEPS_WITH_INTERMEDIATE:
        arguments["intermediate_timesteps"] = None
    sizes = {"width": task.width, "height": task.height}  # a pipeline without them goes by its picture
    sizes["max_area"] = task.width * task.height  # otherwise the pipeline rescales to about a megapixel
    given = {**FIXED, **sizes, **_pictures(task, variant, inputs)}
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
        given["mask_image"] = pictures[MASK]
    if CONTROL in pictures:
        # One for all images: the pipelines repeat a list of pictures by the number of images again.
        given["control_image" if "control_image" in variant.parameters else "image"] = inputs[CONTROL]
        given["controlnet_conditioning_scale"] = task.control_scale
    return given


def metadata(task: GenerateTask, seed: int, model: str) -> dict[str, str]:
    """What is written into a PNG file about its making."""
    text = {
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt,
        "seed": str(seed),
        "steps": str(task.steps),
        "guidance_scale": f"{task.guidance_scale:g}",
        "strength": f"{task.strength:g}" if task.kind != TXT2IMG else "",
        "model": model,
    }
    return {name: value for name, value in text.items() if value}
