"""Requests of the OpenAI images API, and what they mean here. Pure.

Fields of that API are translated, PXW's parameters are taken under their own names (`extra_body` of the OpenAI
clients), and so are the names that diffusers has for two of them. What cannot be had here is refused, not ignored;
hints that only tell OpenAI's models how hard to try have no effect.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol import params as vocabulary
from pixwire_protocol.params import KIND, MASK, MEDIA_TYPES, PARAMS, ParamError
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.http import fields
from pixwire_server.jobs import RequestError, Terms

B64, URL = "b64_json", "url"
MAX_PARTIAL: Final = 3
FORMATS: Final[Mapping[str, str]] = {
    **{media_type.removeprefix("image/"): media_type for media_type in MEDIA_TYPES if "x-" not in media_type},
    "rgb8": vocabulary.RAW_RGB,
}
"""output_format -> media type; the names that OpenAI has, and those of what else can be made here."""

RENAMED: Final[Mapping[str, str]] = {
    "n": "count",
    "num_inference_steps": "steps",
    "num_images_per_prompt": "count",
}
"""What OpenAI and diffusers call a parameter -> its name here."""

HINTS: Final[Mapping[str, tuple[str, ...] | None]] = {
    "quality": ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
    "style": ("vivid", "natural"),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "complexity": ("low", "medium", "high"),
    "input_fidelity": ("low", "high"),
    "user": None,
    "safety_identifier": None,
}
"""Fields that are taken and have no effect, with the values that they may have (None: any string)."""

OPTIONS: Final = ("size", "output_format", "response_format", "stream", "partial_images", "output_compression")
KNOWN: Final = (*PARAMS, *RENAMED, *OPTIONS, *HINTS, *fields.TERMS)
_SIZE: Final = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for images: the job that makes them, and how they are wanted. `previews`: pictures on the way."""

    kind: str
    tail: bytes
    terms: Terms
    form: str = B64
    stream: bool = False
    previews: int = 0
    operation: str = "image_generation"
    """What OpenAI's events are called after."""


def generation(values: Mapping[str, Any]) -> Wish:
    """POST /v1/images/generations. Raises RequestError."""
    return _wish(values, KIND, (), "image_generation")


def edit(values: Mapping[str, Any], attachments: Sequence[str]) -> Wish:
    """POST /v1/images/edits with files for these attachments. Raises RequestError."""
    return _wish(values, "inpaint" if MASK in attachments else "img2img", attachments, "image_edit")


def _wish(values: Mapping[str, Any], kind: str, attachments: Sequence[str], operation: str) -> Wish:
    fields.only(values, KNOWN)
    given = {name: value for name, value in values.items() if value is not None}
    for name, allowed in HINTS.items():
        if name in given:
            fields.text(name, given[name]) if allowed is None else fields.choice(name, given[name], allowed)
    stream = fields.flag("stream", given.get("stream", False))
    form = fields.choice("response_format", given.get("response_format", B64), (B64, URL))
    if stream and form == URL:
        raise fields.wrong("response_format", form, B64, "events carry the images themselves: leave it out")
    compression = given.get("output_compression", 100)
    if fields.whole("output_compression", compression, 0, 100) != 100:
        raise fields.wrong("output_compression", compression, 100, "the compression cannot be chosen: leave it out")
    partial = fields.whole("partial_images", given.get("partial_images", 0), 0, MAX_PARTIAL)
    return Wish(
        kind=kind,
        tail=_pack(given, kind, attachments),
        terms=fields.terms(given),
        form=form,
        stream=stream,
        previews=partial if stream else 0,
        operation=operation,
    )


def _pack(given: Mapping[str, Any], kind: str, attachments: Sequence[str]) -> bytes:
    values = {name: given[name] for name in PARAMS if name in given}
    called: dict[str, str] = {}
    for said, name in RENAMED.items():
        if said in given:
            if name in values:
                raise fields.wrong(said, given[said], "absent", f"{called.get(name, name)} says the same: give one")
            values[name], called[name] = given[said], said
    if "output_format" in given:
        if "media_type" in values:
            raise fields.wrong("output_format", given["output_format"], "absent", "media_type says the same: give one")
        values["media_type"] = FORMATS[fields.choice("output_format", given["output_format"], tuple(FORMATS))]
    if given.get("size", _AUTO) != _AUTO:
        if "width" in values or "height" in values:
            raise fields.wrong("size", given["size"], "absent", "width and height say the same: give size or the two")
        values["width"], values["height"] = size(given["size"])
    try:
        return vocabulary.from_map(values).pack(kind, attachments)
    except ParamError as error:
        raise refusal(error, called) from error


def size(value: Any) -> tuple[int, int]:
    """Width and height in `1024x768`. Raises RequestError."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise fields.wrong("size", value, "WIDTHxHEIGHT in pixels, such as 512x512, or auto")
    return int(match[1]), int(match[2])


def refusal(error: ParamError, called: Mapping[str, str]) -> RequestError:
    """A wrong parameter, under the name that the client used for it."""
    said = called.get(error.field, error.field)
    message = error.message if said == error.field else f"{said} ({error.message})"
    return RequestError(ErrorCode.INVALID_ARGUMENT, message, error.details | {"field": said})


def partial_due(step: int, steps: int, wanted: int, sent: int) -> bool:
    """Whether the preview after `step` of `steps` is the next of `wanted` pictures, spread evenly over the steps."""
    return sent < wanted and step * (wanted + 1) >= steps * (sent + 1)
