"""Kinds of job and their parameters (SPEC 8): the tables, the check with helpful messages, and the canonical bytes.

The tail of SUBMIT is one msgpack map with these keys. The limits here are the protocol's; a model may allow less
(kinds, multiples, largest size, most steps), which the server checks when it knows the model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.forms import show
from pixwire_protocol.profile import pack_map, unpack_map
from pixwire_protocol.record import record

if TYPE_CHECKING:
    import hashlib

KIND: Final = "txt2img"
CONTENT_TYPE: Final = "application/msgpack"
MAX_SEED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """One parameter: its type on the wire, its range (int, float: values; str: characters), and what it means."""

    name: str
    type: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    required: bool
    description: str
    above: bool = False
    """Whether the minimum itself is not allowed (float)."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words: "an integer from 1 to 200"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type == ADAPTERS:
            return f"an array of at most {self.maximum} maps {{name, weight}}"
        kind = {"str": "a string", "int": "an integer", "float": "a number"}[self.type]
        unit = " characters" if self.type == "str" else ""
        blank = ", not only blanks" if self.required else ""
        start = "of" if unit else "above" if self.above else "from"
        return f"{kind} {start} {self.minimum} to {self.maximum}{unit}{blank}"


def _text(name: str, least: int, most: int, description: str, *, required: bool = False) -> ParamSpec:
    return ParamSpec(name, "str", least, most, (), required, description)


def _whole(name: str, least: int, most: int, description: str) -> ParamSpec:
    return ParamSpec(name, "int", least, most, (), False, description)


RAW_RGB: Final = "image/x-rgb8"
"""Three bytes a pixel, red first, rows from the top, nothing between them: width * height * 3 bytes (SPEC 8)."""
MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/avif", RAW_RGB)
ADAPTERS: Final = "list[adapter]"

PARAMS: Final[Mapping[str, ParamSpec]] = {
    spec.name: spec
    for spec in (
        _text("prompt", 1, 4000, "What the image shows.", required=True),
        _text("negative_prompt", 0, 4000, "What it should not show."),
        _text("model", 1, 256, "Name of the model; absent: the server's."),
        _whole("width", 16, 8192, "Pixels; the model has its own multiple and maximum."),
        _whole("height", 16, 8192, "Pixels; the model has its own multiple and maximum."),
        _whole("steps", 1, 200, "Denoising steps."),
        ParamSpec("guidance_scale", "float", 0.0, 50.0, (), False, "How closely to follow the prompt."),
        _whole("seed", 0, MAX_SEED, "Seed of artifact 0 (artifact i: seed + i); absent: the server draws one."),
        _whole("count", 1, 16, "Images to make."),
        ParamSpec("media_type", "str", None, None, MEDIA_TYPES, False, "Encoding of the images."),
        ParamSpec(
            "strength", "float", 0.0, 1.0, (), False, "How much of the image is made anew: 1 all of it.", above=True
        ),
        ParamSpec("control_scale", "float", 0.0, 2.0, (), False, "How closely to follow the control image."),
        ParamSpec("adapters", ADAPTERS, 0, 8, (), False, "LoRAs to add to the model, by the names it has for them."),
        ParamSpec("ip_scale", "float", 0.0, 2.0, (), False, "How much of its look comes from the style image."),
    )
}
# What is in one entry of `adapters`.
ADAPTER: Final[Mapping[str, ParamSpec]] = {
    spec.name: spec
    for spec in (
        ParamSpec("name", "str", 1, 256, (), True, "One of the model's adapters (LIST)."),
        ParamSpec("weight", "float", -4.0, 4.0, (), False, "How much of it; absent: 1."),
    )
}

IMAGE: Final = "image"
MASK: Final = "mask"
CONTROL: Final = "control"
STYLE: Final = "style"
# Parameter -> the attachment without which it means nothing.
_SCALES: Final = {"control_scale": CONTROL, "ip_scale": STYLE}


@dataclass(frozen=True, slots=True)
class KindSpec:
    """One kind of job: the attachments it must and may have, the parameters it does not take, and what it does."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    without: tuple[str, ...]
    description: str


KINDS: Final[Mapping[str, KindSpec]] = {
    spec.name: spec
    for spec in (
        KindSpec(KIND, (), (CONTROL, STYLE), ("strength",), "An image from the prompt alone."),
        KindSpec("img2img", (IMAGE,), (CONTROL, STYLE), (), "An image that begins with another one."),
        KindSpec("inpaint", (IMAGE, MASK), (CONTROL, STYLE), (), "An image painted anew where the mask is white."),
    )
}
_PLAIN: Final = KINDS[KIND]
_NOT_PLAIN: Final = ("strength", *_SCALES)
"""Without these, and without attachments, there is nothing in a job of that kind that does not go together."""
ATTACHMENTS: Final[Mapping[str, str]] = {
    IMAGE: "The image to begin with, scaled to width x height.",
    MASK: "Where to paint anew: white; scaled like the image.",
    CONTROL: "What a ControlNet follows, for models that have one.",
    STYLE: "What an IP-Adapter takes the look from, for models that have one.",
}


class ParamError(ValueError):
    """A parameter is wrong: field, value, what is allowed, and a sentence that says what to do (INVALID_ARGUMENT)."""

    def __init__(self, field: str, value: Any, allowed: str, message: str) -> None:
        super().__init__(field, value, allowed, message)
        self.field = field
        self.value = value
        self.allowed = allowed
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, Any]:
        """For ERROR.details."""
        return {"field": self.field, "value": show(self.value), "allowed": self.allowed}


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA of the model and how much of it, -4 to 4 (SPEC 8). Constructing checks nothing."""

    name: str
    weight: float = 1.0

    def to_map(self) -> dict[str, Any]:
        """The adapter's map; a weight of 1 is left out."""
        return {"name": self.name} if self.weight == 1.0 else {"name": self.name, "weight": self.weight}


@record
class GenerateParams:
    """The parameters of one job; None = not set, the server's or model's default applies.

    Constructing checks nothing: `validate()`, `pack()` and `parse()` do, `check_kind()` what depends on the kind.
    """

    prompt: str
    negative_prompt: str | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    count: int | None = None
    media_type: str | None = None
    strength: float | None = None
    control_scale: float | None = None
    adapters: tuple[Adapter, ...] = ()
    ip_scale: float | None = None

    def to_map(self) -> dict[str, Any]:
        """The set fields in table order, as they travel: adapters are maps, no adapters are left out."""
        values = {name: value for name in PARAMS if (value := getattr(self, name)) is not None}
        if self.adapters:
            values["adapters"] = [adapter.to_map() for adapter in self.adapters]
        else:
            values.pop("adapters", None)
        return values

    def validate(self) -> None:
        """Raises ParamError for the first field (in table order) that is wrong."""
        from_map(self.to_map())

    def pack(self, kind: str | None = None, attachments: "Sequence[Attachment | str]" = ()) -> bytes:
        """The canonical tail: set fields in table order, shortest msgpack forms. Raises ParamError.

        With a kind, also for what does not go together with it and these attachments (or their names).
        """
        return pack(self.to_map(), kind, attachments)


def pack(values: Mapping[str, Any], kind: str | None = None, attachments: "Sequence[Attachment | str]" = ()) -> bytes:
    """`GenerateParams.pack` of these fields, without the object. In table order, as they travel; None counts as absent.

    Raises ParamError.
    """
    given = _checked(values)
    if kind is not None and not (kind == KIND and not attachments and given.keys().isdisjoint(_NOT_PLAIN)):
        check_kind(GenerateParams(**given), kind, attachments)
    if "adapters" in given:
        given["adapters"] = [adapter.to_map() for adapter in given["adapters"]]
    return pack_map(given)


def parse(
    tail: bytes | bytearray | memoryview, kind: str = KIND, attachments: Sequence[Attachment] = ()
) -> GenerateParams:
    """The parameters in a SUBMIT's tail, right for this kind and these attachments.

    Raises ParamError, and nothing else, for anything that is not right; an unknown kind has the field "kind".
    """
    try:
        values = unpack_map(bytes(tail))
    except RemoteProtocolError as error:
        message = f"the parameters are not one msgpack map: {error.message}"
        raise ParamError("params", bytes(tail), "one msgpack map", message) from error
    params = from_map(values)
    check_kind(params, kind, attachments)
    return params


def check_kind(params: GenerateParams, kind: str, attachments: Sequence[Attachment | str] = ()) -> None:
    """Whether kind, parameters and attachments (or their names) go together. Raises ParamError for the first that
    does not."""
    spec = KINDS.get(kind)
    if spec is _PLAIN and not attachments and params.strength is params.control_scale is params.ip_scale is None:
        return  # what most jobs are
    if spec is None:
        raise ParamError(
            "kind", kind, ", ".join(KINDS), f"unknown kind {kind[:64]!r}; the kinds are {', '.join(KINDS)}"
        )
    names = [item if isinstance(item, str) else item.name for item in attachments] if attachments else ()
    for name in spec.required:
        if name not in names:
            text = ATTACHMENTS[name]
            message = f"{kind} needs an attachment {name!r}: {text[0].lower()}{text[1:]}"
            raise _wrong_attachments(spec, ", ".join(names) or "none", message)
    for name in names:
        if name not in spec.required and name not in spec.optional:
            message = f"{kind} has no attachment {name[:64]!r}{_nearest(name, (*spec.required, *spec.optional))}"
            raise _wrong_attachments(spec, name, message)
    for name in spec.without:
        if getattr(params, name) is not None:
            message = f"{kind} takes no {name}: leave it out, or use another kind"
            raise ParamError(name, getattr(params, name), f"absent with {kind}", message)
    for field, name in _SCALES.items():
        if getattr(params, field) is not None and name not in names:
            message = f"{field} needs the attachment {name!r}: attach a {name} image, or leave it out"
            raise ParamError(field, getattr(params, field), f"absent without the attachment {name}", message)


def _wrong_attachments(spec: KindSpec, value: str, message: str) -> ParamError:
    allowed = f"{' and '.join(spec.required) or 'none'}; optional: {', '.join(spec.optional) or 'none'}"
    return ParamError("attachments", value, allowed, message)


def from_map(values: Mapping[str, Any]) -> GenerateParams:
    """The parameters in a map; nil counts as absent, integers are accepted for numbers. Raises ParamError."""
    return GenerateParams(**_checked(values))


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are set, in their order. Raises ParamError."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        spec = PARAMS.get(name)
        if spec is None:
            raise _unknown(name, value)
        if value is not None:
            given[name] = _CHECKS[spec.type](spec, value)
    if "prompt" not in given:
        raise _wrong(PARAMS["prompt"], None, "say what the image should show")
    last_seed = given.get("seed", 0) + given.get("count", 1) - 1
    if last_seed > MAX_SEED:
        allowed = f"seed + count - 1 at most {MAX_SEED}"
        message = f"seed {given['seed']} is too high for {given['count']} images: {allowed}; choose a smaller seed"
        raise ParamError("seed", given["seed"], allowed, message)
    return given


def fingerprint(kind: str, tail: bytes | bytearray | memoryview, attachments: Sequence[Attachment] = ()) -> str:
    """What names a submission (SPEC 8), as 64 hexadecimal digits: the same submission has the same one.

    SHA-256 over kind, a zero byte, for each attachment in the order of their names its name, a zero byte, its sha256
    (the 64 digits) and a zero byte, then the raw tail.
    """
    digest = _sha256()(kind.encode())
    digest.update(b"\0")
    if attachments:
        for attachment in sorted(attachments, key=lambda attachment: attachment.name):
            digest.update(f"{attachment.name}\0{attachment.sha256}\0".encode())
    digest.update(tail)
    return digest.hexdigest()


@cache
def _sha256() -> "Callable[[bytes], hashlib._Hash]":
    """Loaded when it is needed, in the server: OpenSSL takes a client without TLS five milliseconds."""
    from hashlib import sha256

    return sha256


def _check_str(spec: ParamSpec, value: Any) -> str:
    if type(value) is not str:
        raise _wrong(spec, value, "send a string")
    if spec.choices:
        if value not in spec.choices:
            raise _wrong(spec, value, "choose one of them" + _nearest(value, spec.choices))
        return value
    if not _within(spec, len(value)):
        raise _wrong(spec, value, f"it has {len(value)} characters; shorten it" if value else "it is empty")
    if not value.isascii() and value.encode(errors="replace").decode() != value:
        raise _wrong(spec, value, "it contains half a surrogate pair; send valid Unicode")
    if spec.required and not value.strip():
        hint = "say what the image should show" if spec.name == "prompt" else "give a name"
        raise _wrong(spec, value, hint)
    return value


def _check_int(spec: ParamSpec, value: Any) -> int:
    if type(value) is not int:
        hint = f"send {int(value)}" if type(value) is float and value.is_integer() else "send a whole number"
        raise _wrong(spec, value, hint)
    if not _within(spec, value):
        raise _wrong(spec, value, f"choose {spec.minimum if value < (spec.minimum or 0) else spec.maximum} or so")
    return value


def _check_float(spec: ParamSpec, value: Any) -> float:
    if type(value) not in (int, float):
        raise _wrong(spec, value, "send a number")
    if not _within(spec, value) or not math.isfinite(value) or (spec.above and value == spec.minimum):
        raise _wrong(spec, value, "choose a number in that range")
    return float(value)


def _check_adapters(spec: ParamSpec, value: Any) -> tuple[Adapter, ...]:
    if type(value) not in (list, tuple) or len(value) > (spec.maximum or 0):
        raise _wrong(spec, value, "send fewer, or none")
    adapters: dict[str, Adapter] = {}
    for index, item in enumerate(value):
        adapter = _adapter(item, f"adapters[{index}]")
        if adapter.name in adapters:
            allowed = "a name that no other adapter of the job has"
            message = f"adapters[{index}].name is {show(adapter.name)} again but must be {allowed}: add up the weights"
            raise ParamError(f"adapters[{index}].name", adapter.name, allowed, message)
        adapters[adapter.name] = adapter
    return tuple(adapters.values())


def _adapter(value: Any, where: str) -> Adapter:
    """One entry of adapters; `where` is what it is called in errors."""
    if type(value) is not dict:
        message = f"{where} is {show(value)} but must be a map {{name, weight}}: give its name"
        raise ParamError(where, value, "a map {name, weight}", message)
    given: dict[str, Any] = {}
    for key, item in value.items():
        spec = ADAPTER.get(key)
        if spec is None:
            known = ", ".join(ADAPTER)
            message = f"unknown key {str(key)[:64]!r} in {where}; the keys are {known}"
            raise ParamError(f"{where}.{str(key)[:64]}", item, known, message)
        if item is not None:
            given[key] = _CHECKS[spec.type](replace(spec, name=f"{where}.{key}"), item)
    if "name" not in given:
        raise _wrong(replace(ADAPTER["name"], name=f"{where}.name"), None, "say which adapter")
    return Adapter(**given)


_CHECKS: Final[Mapping[str, Callable[[ParamSpec, Any], Any]]] = {
    "str": _check_str,
    "int": _check_int,
    "float": _check_float,
    ADAPTERS: _check_adapters,
}


def _within(spec: ParamSpec, value: float) -> bool:
    return spec.minimum is not None and spec.maximum is not None and spec.minimum <= value <= spec.maximum


def _wrong(spec: ParamSpec, value: Any, hint: str) -> ParamError:
    got = "is missing" if value is None else f"is {show(value)}"
    return ParamError(spec.name, value, spec.allowed, f"{spec.name} {got} but must be {spec.allowed}: {hint}")


def _unknown(name: Any, value: Any) -> ParamError:
    known = ", ".join(PARAMS)
    hint = _nearest(str(name), PARAMS) or f"; the parameters are {known}"
    return ParamError(str(name)[:64], value, known, f"unknown parameter {str(name)[:64]!r}{hint}")


def _nearest(name: str, known: Any) -> str:
    """'; did you mean X?' for a near miss. difflib is imported late: it is slow, and errors are rare."""
    from difflib import get_close_matches

    close = get_close_matches(name[:64], list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
