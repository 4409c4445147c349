"""From what a client asked for to what the engine will do: every choice made, everything within the model's limits.

Done before the job is journalled, so that a rerun after a crash makes the same choices, the seed included.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pixwire_protocol import params as vocabulary
from pixwire_protocol.params import GenerateParams, ParamError
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import GenerateTask, ModelCard

from .errors import RequestError, invalid

KINDS = ("txt2img",)
MEDIA_TYPE = "image/png"

DRAWN_SEEDS = 2**32
"""A drawn seed is below this: short enough to be typed, and exact in languages whose only numbers are floats."""

_MAXIMA = (("width", "max_width"), ("height", "max_height"), ("steps", "max_steps"), ("count", "max_count"))
_SIZES = ("width", "height")


def draw_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(DRAWN_SEEDS)


def parse(kind: str, tail: bytes) -> GenerateParams:
    """The parameters of a request as they were sent. Raises RequestError."""
    if kind not in KINDS:
        raise RequestError(
            ErrorCode.UNSUPPORTED,
            f"kind: {kind!r} is not served here; use {_names(KINDS)}",
            {"field": "kind", "value": kind, "allowed": list(KINDS)},
        )
    try:
        return vocabulary.parse(tail)
    except ParamError as error:
        raise RequestError(ErrorCode.INVALID_ARGUMENT, error.message, error.details) from error


def resolve(asked: GenerateParams, card: ModelCard, draw: Callable[[], int] = draw_seed) -> GenerateParams:
    """`asked` with every default filled in, checked against the model. Raises RequestError."""
    defaults: dict[str, Any] = {
        "model": card.name,
        "negative_prompt": "",
        "width": card.default_width,
        "height": card.default_height,
        "steps": card.default_steps,
        "guidance_scale": card.default_guidance_scale,
        "count": 1,
        "media_type": MEDIA_TYPE,
    }
    missing = {name: value for name, value in defaults.items() if getattr(asked, name) is None}
    if asked.seed is None:
        missing["seed"] = draw()
    params = replace(asked, **missing)
    check(params, card)
    return params


def task(handle: int, params: GenerateParams) -> GenerateTask:
    """What the engine is told. `params` comes from `resolve`."""
    values = params.to_map()
    del values["model"]
    return GenerateTask(handle=handle, **values)


def check(params: GenerateParams, card: ModelCard) -> None:
    """Raise RequestError when this model cannot do that."""
    if params.model != card.name:
        message = f"model: {params.model!r} is not served here; this server serves {card.name!r} (used when left out)"
        raise invalid("model", params.model, [card.name], message)
    for name, limit in _MAXIMA:
        value, maximum = getattr(params, name), getattr(card, limit)
        if value > maximum:
            raise invalid(
                name, value, f"at most {maximum}", f"{name}: {value} is more than {card.name} can do: {maximum}"
            )
    for name in _SIZES:
        value = getattr(params, name)
        if value % card.size_multiple:
            _refuse_size(name, value, card.size_multiple, getattr(card, f"max_{name}"))


def _refuse_size(name: str, value: int, multiple: int, maximum: int) -> None:
    below = value // multiple * multiple
    nearest = [size for size in (below, below + multiple) if multiple <= size <= maximum]
    message = f"{name}: {value} is not a multiple of {multiple}; the nearest are {_names(nearest)}"
    raise invalid(name, value, f"a multiple of {multiple}, at most {maximum}", message)


def _names(values: Any) -> str:
    return " or ".join(str(value) for value in values)
