"""The pipelines of one family over one set of weights: text to image, image to image, inpainting.

diffusers has a class for each of them. Their components are the same objects, so a further one costs no memory, and
their calls of the denoiser share passes.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixwire_server.engine.api import CONTROL, IMG2IMG, INPAINT, REQUIRED_INPUTS, TXT2IMG

Task = tuple[str, bool]
"""A kind of task, and whether a control image comes with it."""


@dataclass(frozen=True, slots=True)
class Family:
    """Class names in diffusers; "" where it has none. The last three are those of a model with a ControlNet."""

    txt2img: str = ""
    img2img: str = ""
    inpaint: str = ""
    control: str = ""
    control_img2img: str = ""
    control_inpaint: str = ""

    def classes(self) -> dict[Task, str]:
        """The pipelines there are, by task."""
        every = {
            (TXT2IMG, False): self.txt2img,
            (IMG2IMG, False): self.img2img,
            (INPAINT, False): self.inpaint,
            (TXT2IMG, True): self.control,
            (IMG2IMG, True): self.control_img2img,
            (INPAINT, True): self.control_inpaint,
        }
        return {task: name for task, name in every.items() if name}


def _regular(stem: str) -> Family:
    """A family whose classes are named as most are."""
    parts = ("", "Img2Img", "Inpaint", "ControlNet", "ControlNetImg2Img", "ControlNetInpaint")
    return Family(*(f"{stem}{part}Pipeline" for part in parts))


FAMILIES: tuple[Family, ...] = (
    _regular("StableDiffusion"),
    _regular("StableDiffusionXL"),
    _regular("Flux"),
    Family("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
    Family("ChromaPipeline", "ChromaImg2ImgPipeline"),  # its inpainting asks for a setting that its models lack
    Family("QwenImagePipeline", "QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline", "QwenImageControlNetPipeline"),
    Family("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    Family("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
    Family("SanaSprintPipeline", "SanaSprintImg2ImgPipeline"),
    # Editing models: one class with and without a picture
    Family("FluxKontextPipeline", "FluxKontextPipeline", "FluxKontextInpaintPipeline"),
    Family("Flux2Pipeline", "Flux2Pipeline"),
    Family("Flux2KleinPipeline", "Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
    Family(inpaint="FluxFillPipeline"),
)
"""Which pipelines belong together. A class of no family is served for what it does itself."""

ONLY: Mapping[str, tuple[str, ...]] = {
    "StableDiffusionXLImg2ImgPipeline": (IMG2IMG, INPAINT),  # the refiner
    "StableDiffusionInpaintPipeline": (INPAINT,),  # nine channels of input
    "StableDiffusionXLInpaintPipeline": (INPAINT,),
    "FluxFillPipeline": (INPAINT,),
}
"""Classes that models made for pictures as input are saved as, and the kinds these models are for."""

LOADED = frozenset(ONLY).union(*({family.txt2img, family.control} - {""} for family in FAMILIES))
"""Classes a model folder may name."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A pipeline over the shared components and the parameters of its call."""

    pipeline: Any
    parameters: Mapping[str, inspect.Parameter]


def variants(pipeline: Any) -> dict[Task, Variant]:
    """Everything the components of a loaded pipeline can do, the pipeline itself included."""
    import diffusers

    found: dict[Task, Variant] = {}
    for task, name in _classes(type(pipeline).__name__, getattr(pipeline, "controlnet", None) is not None).items():
        kind = getattr(diffusers, name, None)
        made = pipeline if kind is type(pipeline) else None if kind is None else _sibling(kind, pipeline)
        if made is not None:
            made.set_progress_bar_config(disable=True)
            found[task] = Variant(made, inspect.signature(type(made).__call__).parameters)
    return found


def _classes(loaded: str, has_controlnet: bool) -> dict[Task, str]:
    for family in FAMILIES:
        classes = family.classes()
        if loaded not in classes.values():
            continue
        allowed = ONLY.get(loaded, tuple(REQUIRED_INPUTS))
        return {task: name for task, name in classes.items() if task[0] in allowed and (has_controlnet or not task[1])}
    return {(TXT2IMG, False): loaded}


def _sibling(kind: type[Any], pipeline: Any) -> Any:
    """A `kind` over the components and settings of `pipeline`; None when it needs one that is not there."""
    known = {**pipeline.config, **pipeline.components}
    arguments = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in known:
            arguments[name] = known[name]
        elif name != "self" and parameter.default is parameter.empty:
            return None
    return kind(**arguments)


def kinds(found: Mapping[Task, Variant]) -> tuple[str, ...]:
    """The kinds of task, in the order of their names' table."""
    return tuple(kind for kind in REQUIRED_INPUTS if any(task[0] == kind for task in found))


def inputs(found: Mapping[Task, Variant]) -> tuple[str, ...]:
    """The names of all inputs that are understood."""
    names = [name for kind in kinds(found) for name in REQUIRED_INPUTS[kind]]
    names += [CONTROL] * any(controlled for _, controlled in found)
    return tuple(dict.fromkeys(names))
