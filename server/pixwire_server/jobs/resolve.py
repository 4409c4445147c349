"""From what a client asked for to what the engine will do: every choice made, everything within the model's limits.

Done before the job is journalled, so that a rerun after a crash makes the same choices, the seed included.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from pixwire_protocol import params as vocabulary
from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import GenerateParams, ParamError
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import IMG2IMG, INPAINT, TXT2IMG, Adapter, GenerateTask, ModelCard, TaskInput

from .catalogue import Catalogue
from .errors import RequestError, invalid
from .pictures import FORMATS, Picture

MEDIA_TYPE = "image/png"
INPAINT_STRENGTH = 1.0
"""What is under the mask is painted anew, not changed."""

DRAWN_SEEDS = 2**32
"""A drawn seed is below this: short enough to be typed, and exact in languages whose only numbers are floats."""

_MAXIMA = (("width", "max_width"), ("height", "max_height"), ("steps", "max_steps"), ("count", "max_count"))
_SIZES = ("width", "height")
_PARAMS = tuple(field.name for field in fields(GenerateParams))
_all = attrgetter(*_PARAMS)


def draw_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(DRAWN_SEEDS)


def parse(kind: str, tail: bytes, attachments: Sequence[Attachment], models: Catalogue) -> GenerateParams:
    """The parameters of a request as they were sent, for one of `models`. Raises RequestError."""
    if kind not in models.kinds():
        raise _unsupported(kind, models.kinds(), "the models here do")
    try:
        params = vocabulary.parse(tail, kind, attachments)
    except ParamError as error:
        raise RequestError(ErrorCode.INVALID_ARGUMENT, error.message, error.details) from error
    check_model(kind, [one.name for one in attachments], params, models)
    return params


def check_model(kind: str, attachments: Collection[str], params: GenerateParams, models: Catalogue) -> ModelCard:
    """The card of the model that `params` name. Raises RequestError when it does not do this kind of job, has no use
    for one of the attachments, or has no adapter of a name."""
    card = models.card(params.model)
    if kind not in card.kinds:
        raise _unsupported(kind, card.kinds, f"{card.name} does")
    for name in attachments:
        if name not in card.attachments:
            message = f"attachments: {card.name} has no use for {name!r}; leave it out"
            raise invalid("attachments", name, list(card.attachments), message)
    known = models.find(params.model).adapters
    for index, adapter in enumerate(params.adapters):
        if adapter.name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            message = f"adapters[{index}].name: {card.name} has no adapter {adapter.name!r}; {has}"
            raise invalid(f"adapters[{index}].name", adapter.name, list(known), message)
    return card


def _unsupported(kind: str, kinds: Sequence[str], who: str) -> RequestError:
    message = f"kind: {kind!r} is not served here; {who} {_names(kinds)}"
    return RequestError(ErrorCode.UNSUPPORTED, message, {"field": "kind", "value": kind, "allowed": list(kinds)})


def check_attachments(attachments: Sequence[Attachment], max_bytes: int) -> None:
    """Raise RequestError for the first attachment that is too large or of a type that is not read here."""
    for index, one in enumerate(attachments):
        if one.size > max_bytes:
            field = f"attachments[{index}].size"
            message = f"{field}: {one.name!r} has {one.size} bytes; this server takes at most {max_bytes}"
            raise invalid(field, one.size, f"at most {max_bytes}", message)
        if one.media_type not in FORMATS:
            field = f"attachments[{index}].media_type"
            message = f"{field}: {one.media_type!r} is not read here; send {_names(FORMATS)}"
            raise invalid(field, one.media_type, list(FORMATS), message)


def resolve(
    asked: GenerateParams,
    card: ModelCard,
    draw: Callable[[], int] = draw_seed,
    kind: str = TXT2IMG,
    image: Picture | None = None,
) -> GenerateParams:
    """`asked` with every default filled in, checked against the model; `image` is what the job starts from.

    Raises RequestError.
    """
    width, height = (card.default_width, card.default_height) if image is None else fit(image, card)
    defaults: dict[str, Any] = {
        "model": card.name,
        "negative_prompt": "",
        "width": width,
        "height": height,
        "steps": card.default_steps,
        "guidance_scale": card.default_guidance_scale,
        "count": 1,
        "media_type": MEDIA_TYPE,
    }
    if kind in (IMG2IMG, INPAINT):
        defaults["strength"] = INPAINT_STRENGTH if kind == INPAINT else card.default_strength
    if asked.seed is None:
        defaults["seed"] = draw()
    usual = defaults.get
    values: list[Any] = [
        usual(name) if value is None else value for name, value in zip(_PARAMS, _all(asked), strict=True)
    ]
    params = GenerateParams(*values)
    check(params, card)
    return params


def fit(image: Picture, card: ModelCard) -> tuple[int, int]:
    """The size of `image`, made smaller with its proportions if the model cannot do it, in the model's multiples."""
    scale = min(1.0, card.max_width / image.width, card.max_height / image.height)
    multiple = card.size_multiple
    width, height = (max(1, int(side * scale) // multiple) * multiple for side in (image.width, image.height))
    return width, height


def steps(params: GenerateParams) -> int:
    """The steps that are computed: of a picture that is only partly painted anew, the last ones."""
    whole = params.steps or 0
    return whole if params.strength is None else min(whole, int(whole * params.strength))


def task(handle: int, params: GenerateParams, kind: str = TXT2IMG, inputs: tuple[TaskInput, ...] = ()) -> GenerateTask:
    """What the engine is told. `params` comes from `resolve`."""
    values = params.to_map() | {"adapters": tuple(Adapter(one.name, one.weight) for one in params.adapters)}
    return GenerateTask(handle=handle, kind=kind, inputs=inputs, **values)


def check(params: GenerateParams, card: ModelCard) -> None:
    """Raise RequestError when this model cannot do that."""
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
    if not steps(params):
        message = f"strength: {params.strength} of {params.steps} steps leaves none to compute; raise one of the two"
        raise invalid("strength", params.strength, f"at least 1 / steps ({1 / (params.steps or 1):.3g})", message)


def _refuse_size(name: str, value: int, multiple: int, maximum: int) -> None:
    below = value // multiple * multiple
    nearest = [size for size in (below, below + multiple) if multiple <= size <= maximum]
    message = f"{name}: {value} is not a multiple of {multiple}; the nearest are {_names(nearest)}"
    raise invalid(name, value, f"a multiple of {multiple}, at most {maximum}", message)


def _names(values: Any) -> str:
    return " or ".join(str(value) for value in values)
