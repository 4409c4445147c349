"""Checks of head fields, made once from the registry's FieldSpecs (SPEC 8).

The same check serves both directions: a received value that fails is the peer's fault, one to be sent is ours.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pixwire_protocol.heads import FieldSpec
from pixwire_protocol.limits import CLIENT_LIMITS, SERVER_LIMITS, Limits

_JOB_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
MAX_JOB_ID: Final = 64

_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "integer",
    type(None): "nil",
    bytes: "byte string",
    list: "array",
    dict: "map",
}

Check = Callable[[Any], bool]
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field, ready for use.

    kind     the one Python type its value has on the wire (a bool is no int)
    check    whether a value of that type lies within the limits
    convert  how a received value is stored, None: as it is
    prepare  how a value to be sent becomes one of that type, as far as possible
    """

    spec: FieldSpec
    kind: type
    check: Check
    convert: Convert | None
    prepare: Convert

    @property
    def allowed(self) -> str:
        """What is allowed, in words: "an integer from 0 to 63"."""
        spec = self.spec
        if spec.pattern is not None:
            return f"a string of {spec.minimum} to {spec.maximum} characters A-Z a-z 0-9 . _ -"
        match spec.type:
            case "str":
                return f"a string of {spec.minimum or 0} to {spec.maximum} bytes"
            case "int":
                return "an integer" if spec.minimum is None else f"an integer from {spec.minimum} to {spec.maximum}"
            case "bool":
                return "true or false"
            case "list[str]":
                return f"an array of at most {spec.maximum} strings of at most {spec.item_maximum} bytes"
        return "a map"

    def problem(self, value: Any) -> str:
        """The sentence that says what is wrong with this value and what to do."""
        if self.spec.type == "limits" and type(value) is dict:
            return _limits_problem(value) or "limits are wrong"
        return f"{self.spec.name} must be {self.allowed}, not {show(value)}"


def is_job_id(value: str) -> bool:
    """Whether value is a job id: 1 to 64 of A-Z a-z 0-9 . _ - (SPEC 9)."""
    if not 0 < len(value) <= MAX_JOB_ID or not value.isascii():
        return False
    # The first question answers for UUIDs and is the cheaper one.
    return value.replace("-", "").isalnum() or not value.encode().translate(None, _JOB_ID_BYTES)


def show(value: Any) -> str:
    """A value for an error message: its type and at most 60 characters of it."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    text = text if len(text) <= 60 else text[:57] + "..."
    kind = _NAMES.get(type(value), type(value).__name__)
    return f"{text} ({kind})" if text else f"{'an' if kind == 'array' else 'a'} {kind}"


_Kind = tuple[type, Check, Convert | None, Convert]


def _of_str(spec: FieldSpec, sender: str) -> _Kind:
    low, high = spec.minimum or 0, spec.maximum or 0
    if spec.pattern == "job_id":
        return str, is_job_id, None, _plain

    def check(value: str) -> bool:
        return low <= len(value) <= high and (value.isascii() or len(value.encode(errors="replace")) <= high)

    return str, check, None, _plain


def _of_int(spec: FieldSpec, sender: str) -> _Kind:
    low, high = spec.minimum, spec.maximum
    if low is None or high is None:
        return int, _always, None, _plain
    return int, lambda value: low <= value <= high, None, _plain


def _of_bool(spec: FieldSpec, sender: str) -> _Kind:
    return bool, _always, None, _plain


def _of_list(spec: FieldSpec, sender: str) -> _Kind:
    most, longest = spec.maximum or 0, spec.item_maximum or 0

    def fits(item: Any) -> bool:
        return (
            type(item) is str
            and len(item) <= longest
            and (item.isascii() or len(item.encode(errors="replace")) <= longest)
        )

    return list, lambda value: len(value) <= most and all(map(fits, value)), tuple, _to_list


def _of_map(spec: FieldSpec, sender: str) -> _Kind:
    return dict, _always, None, lambda value: dict(value) if isinstance(value, Mapping) else value


def _of_limits(spec: FieldSpec, sender: str) -> _Kind:
    names = SERVER_LIMITS if sender == "server" else CLIENT_LIMITS

    def prepare(value: Any) -> Any:
        return value.to_map(names) if type(value) is Limits else value

    return dict, lambda value: _limits_problem(value) is None, Limits.from_map, prepare


def _limits_problem(value: dict[str, Any]) -> str | None:
    try:
        Limits.from_map(value)
    except ValueError as error:
        return str(error)
    return None


def _to_list(value: Any) -> Any:
    return list(value) if isinstance(value, Collection) and not isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """ErrorCode, JobState and the like are as good as their numbers and strings."""
    return value.value if isinstance(value, Enum) else value


def _always(value: Any) -> bool:
    return True


_KINDS: Final = {
    "str": _of_str,
    "int": _of_int,
    "bool": _of_bool,
    "list[str]": _of_list,
    "map": _of_map,
    "limits": _of_limits,
}


def make_field(spec: FieldSpec, sender: str) -> Field:
    """The ready field for a spec; sender says whose limits a `limits` field has."""
    return Field(spec, *_KINDS[spec.type](spec, sender))
