"""Parameters of a txt2img job (SPEC 9): the table, the check with helpful messages, and the canonical bytes.

The tail of SUBMIT is one msgpack map with these keys. The limits here are the protocol's; a model may allow less
(multiples, largest size, most steps), which the server checks when it knows the model.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.fields import show
from pixwire_protocol.profile import pack_map, unpack_map

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

    @property
    def allowed(self) -> str:
        """What is allowed, in words: "an integer from 1 to 200"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        kind = {"str": "a string", "int": "an integer", "float": "a number"}[self.type]
        unit = " characters" if self.type == "str" else ""
        blank = ", not only blanks" if self.required else ""
        return f"{kind} {'of' if unit else 'from'} {self.minimum} to {self.maximum}{unit}{blank}"


def _text(name: str, least: int, most: int, description: str, *, required: bool = False) -> ParamSpec:
    return ParamSpec(name, "str", least, most, (), required, description)


def _whole(name: str, least: int, most: int, description: str) -> ParamSpec:
    return ParamSpec(name, "int", least, most, (), False, description)


MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp")

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
    )
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
class GenerateParams:
    """The parameters of one txt2img job; None = not set, the server's or model's default applies.

    Constructing checks nothing: `validate()`, `pack()` and `parse()` do.
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

    def to_map(self) -> dict[str, Any]:
        """The set fields in table order."""
        values = ((name, getattr(self, name)) for name in PARAMS)
        return {name: value for name, value in values if value is not None}

    def validate(self) -> None:
        """Raises ParamError for the first field (in table order) that is wrong."""
        from_map(self.to_map())

    def pack(self) -> bytes:
        """The canonical tail: set fields in table order, shortest msgpack forms. Raises ParamError."""
        return pack_map(from_map(self.to_map()).to_map())


def parse(tail: bytes | bytearray | memoryview) -> GenerateParams:
    """The parameters in a SUBMIT's tail. Raises ParamError, and nothing else, for anything that is not right."""
    try:
        values = unpack_map(bytes(tail))
    except RemoteProtocolError as error:
        message = f"the parameters are not one msgpack map: {error.message}"
        raise ParamError("params", bytes(tail), "one msgpack map", message) from error
    return from_map(values)


def from_map(values: Mapping[str, Any]) -> GenerateParams:
    """The parameters in a map; nil counts as absent, integers are accepted for numbers. Raises ParamError."""
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
    return GenerateParams(**given)


def fingerprint(kind: str, tail: bytes | bytearray | memoryview) -> str:
    """sha256 of kind, a zero byte and the raw tail, in hex: the same submission has the same one (SPEC 9)."""
    digest = hashlib.sha256(kind.encode())
    digest.update(b"\0")
    digest.update(tail)
    return digest.hexdigest()


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
        raise _wrong(spec, value, "say what the image should show")
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
    if not _within(spec, value) or not math.isfinite(value):
        raise _wrong(spec, value, "choose a number in that range")
    return float(value)


_CHECKS: Final[Mapping[str, Callable[[ParamSpec, Any], Any]]] = {
    "str": _check_str,
    "int": _check_int,
    "float": _check_float,
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
