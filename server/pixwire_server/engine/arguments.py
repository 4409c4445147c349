"""From a task to the arguments of a pipeline's call."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from pixwire_server.engine.api import MEDIA_TYPES, GenerateTask, ModelCard


class InvalidTaskError(Exception):
    """The task does not fit the model. Names field, value and what is allowed."""


TRUE_CFG = frozenset({"QwenImagePipeline", "QwenImage21Pipeline"})
"""Pipelines whose classifier-free guidance is called `true_cfg_scale` and needs a negative prompt to take part."""

FIXED: Mapping[str, Any] = {
    "use_resolution_binning": False,  # it would compute another size than asked for and rescale
    "clean_caption": False,  # it depends on optional packages, so the same seed would not give the same image
    "output_type": "pt",
    "return_dict": False,
}
"""Arguments that every request gets where the pipeline has them."""


def check(task: GenerateTask, card: ModelCard, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raise InvalidTaskError unless the model can do the task."""
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
    if task.negative_prompt and "negative_prompt" not in parameters:
        raise InvalidTaskError(f"negative_prompt: {card.name} ({card.pipeline_class}) takes none; leave it out")


def build(task: GenerateTask, card: ModelCard, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """The keyword arguments for `pipeline(**arguments)`.

    Noise comes from CPU generators, one for each image with the seed `seed + i`: an image depends neither on the
    device nor on how many were asked for at once.
    """
    generators = [torch.Generator("cpu").manual_seed(task.seed + i) for i in range(task.count)]
    arguments: dict[str, Any] = {
        "prompt": task.prompt,
        "width": task.width,
        "height": task.height,
        "num_inference_steps": task.steps,
        "num_images_per_prompt": task.count,
        "generator": generators if task.count > 1 else generators[0],
    }
    arguments |= {name: value for name, value in FIXED.items() if name in parameters}
    guidance = "true_cfg_scale" if card.pipeline_class in TRUE_CFG else "guidance_scale"
    if guidance in parameters:
        arguments[guidance] = task.guidance_scale
    if task.negative_prompt:
        arguments["negative_prompt"] = task.negative_prompt
    elif card.pipeline_class in TRUE_CFG:
        arguments["negative_prompt"] = " "
    if "max_area" in parameters:
        arguments["max_area"] = task.width * task.height  # otherwise the pipeline rescales to about a megapixel
    return arguments


def metadata(task: GenerateTask, seed: int, model: str) -> dict[str, str]:
    """What is written into a PNG file about its making."""
    text = {
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt,
        "seed": str(seed),
        "steps": str(task.steps),
        "guidance_scale": f"{task.guidance_scale:g}",
        "model": model,
    }
    return {name: value for name, value in text.items() if value}
