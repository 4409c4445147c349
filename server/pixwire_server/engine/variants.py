"""The pipelines of one family over one set of weights: text to image, image to image, inpainting.

diffusers has a class for each of them. Their components are the same objects, so a further one costs no memory, and
their calls of the denoiser share passes.
"""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixwire_server.engine.api import CONTROL, REQUIRED_INPUTS, STYLE
from pixwire_server.engine.families import CONTROLS, Task, siblings
from pixwire_server.engine.overlay import Overlay

log = logging.getLogger(__name__)

STYLE_PARAMETER = "ip_adapter_image"
"""What diffusers calls the picture for an IP-Adapter."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A pipeline over the shared components, the parameters of its call and the IP-Adapter of the model.

    `settings` are arguments that the operator chose for every call.
    """

    pipeline: Any
    parameters: Mapping[str, inspect.Parameter]
    style: Overlay | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_style(self) -> bool:
        """Whether a task may bring a picture whose look is taken over."""
        return self.style is not None and STYLE_PARAMETER in self.parameters


def variants(
    pipeline: Any, style: Overlay | None = None, settings: Mapping[str, Any] | None = None
) -> dict[Task, Variant]:
    """Everything the components of a loaded pipeline can do, the pipeline itself included."""
    import diffusers

    found: dict[Task, Variant] = {}
    has_control = any(getattr(pipeline, name, None) is not None for name in CONTROLS)
    for task, name in siblings(type(pipeline).__name__, has_control=has_control).items():
        kind = getattr(diffusers, name, None)
        made = pipeline if kind is type(pipeline) else None if kind is None else _sibling(kind, pipeline)
        if made is not None:
            _complete(made)
            made.set_progress_bar_config(disable=True)
            parameters = inspect.signature(type(made).__call__).parameters
            given = {name: value for name, value in (settings or {}).items() if name in parameters}
            found[task] = Variant(made, parameters, style, given)
    return found


def _complete(pipeline: Any) -> None:
    """ChromaInpaintPipeline (diffusers 0.42.1) asks the model for a setting that no Chroma model has; absent is no."""
    if type(pipeline).__name__ == "ChromaInpaintPipeline" and "guidance_embeds" not in pipeline.transformer.config:
        pipeline.transformer.config.guidance_embeds = False


def _sibling(kind: type[Any], pipeline: Any) -> Any:
    """A `kind` over the components and settings of `pipeline`; None when it needs one that is not there, or others."""
    known = {**pipeline.config, **pipeline.components}
    arguments = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in known:
            arguments[name] = known[name]
        elif name != "self" and parameter.default is parameter.empty:
            return None
    try:
        return kind(**arguments)
    except ValueError as error:  # a ControlNet of an earlier version, for example
        log.info("no %s for this model: %s", kind.__name__, error)
        return None


def kinds(found: Mapping[Task, Variant]) -> tuple[str, ...]:
    """The kinds of task, in the order of their names' table."""
    return tuple(kind for kind in REQUIRED_INPUTS if any(task[0] == kind for task in found))


def inputs(found: Mapping[Task, Variant]) -> tuple[str, ...]:
    """The names of all inputs that are understood."""
    names = [name for kind in kinds(found) for name in REQUIRED_INPUTS[kind]]
    names += [CONTROL] * any(controlled for _, controlled in found)
    names += [STYLE] * any(variant.takes_style for variant in found.values())
    return tuple(dict.fromkeys(names))
