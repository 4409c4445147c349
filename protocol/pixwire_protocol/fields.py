"""Checks of head fields, made once from the registry's FieldSpecs (SPEC 8).

The same check serves both directions: a received value that fails is the peer's fault, one to be sent is ours.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pixwire_protocol.attachments import Attachment, Problem, attachments_from, attachments_problem
from pixwire_protocol.forms import MATCH, kind_name
from pixwire_protocol.forms import is_job_id as is_job_id  # both are wanted beside the fields, too
from pixwire_protocol.forms import show as show
from pixwire_protocol.heads import FieldSpec
from pixwire_protocol.limits import CLIENT_LIMITS, SERVER_LIMITS, Limits

Check = Callable[[Any], object]
"""Says yes by something true."""
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field, ready for use.

    kind     the one Python type its value has on the wire (a bool is no int)
    check    whether a value of that type lies within the limits
    convert  how a received value is stored, None: as it is
    prepare  how a value to be sent becomes one of that type, as far as possible
    plain    the type of a value to be sent that needs no preparation
    """

    spec: FieldSpec
    kind: type
    check: Check
    convert: Convert | None
    prepare: Convert
    plain: type

    @property
    def allowed(self) -> str:
        """What is allowed, in words: "an integer from 0 to 63"."""
        spec = self.spec
        if spec.type == "list[str]" and spec.pattern is not None:
            different = "different strings" if spec.distinct else "strings"
            return f"an array of at most {spec.maximum} {different}, each {_PATTERNS[spec.pattern].format(spec=spec)}"
        if spec.pattern is not None:
            return _PATTERNS[spec.pattern].format(spec=spec)
        if spec.choices:
            return ("an array of " if spec.type == "list[str]" else "one of ") + ", ".join(spec.choices)
        match spec.type:
            case "str":
                return f"a string of {spec.minimum or 0} to {spec.maximum} bytes"
            case "int":
                return "an integer" if spec.minimum is None else f"an integer from {spec.minimum} to {spec.maximum}"
            case "bool":
                return "true or false"
            case "list[attachment]":
                return f"an array of at most {spec.maximum} attachments"
            case "list[str]":
                return f"an array of at most {spec.maximum} strings of at most {spec.item_maximum} bytes"
        return "a map"

    def problem(self, value: Any) -> Problem:
        """What is wrong with this value, most exactly: the field or the part of it, its value, what is allowed."""
        if self.spec.type == _ATTACHMENTS:
            found = attachments_problem(value, self.spec.name, self.spec.maximum or 0)
            return found or (self.spec.name, value, self.allowed)
        return self.spec.name, value, self.allowed

    def sentence(self, problem: Problem) -> str:
        """What is wrong and what to do, for humans. A secret value is not shown."""
        name, value, allowed = self._bad_item(problem[1]) or problem
        if self.spec.type == "limits" and type(value) is dict:
            return _limits_problem(value) or "limits are wrong"
        got = f"this {kind_name(value)}" if self.spec.secret else show(value)
        return f"{name} must be {allowed}, not {got}"

    def _bad_item(self, value: Any) -> Problem | None:
        """The first string of a list that is wrong by itself: whoever sent eight of them wants to know which."""
        spec = self.spec
        if spec.type != "list[str]" or type(value) is not list or len(value) > (spec.maximum or 0):
            return None
        for index, item in enumerate(value):
            if not self.check([item]):
                each = _PATTERNS.get(spec.pattern or "", f"a string of at most {spec.item_maximum} bytes")
                allowed = f"one of {', '.join(spec.choices)}" if spec.choices else each.format(spec=spec)
                return f"{spec.name}[{index}]", item, allowed
            if spec.distinct and item in value[:index]:
                return f"{spec.name}[{index}]", item, "different from those before it"
        return None


_Kind = tuple[type, Check, Convert | None, Convert]


def _of_str(spec: FieldSpec, sender: str) -> _Kind:
    low, high = spec.minimum or 0, spec.maximum or 0
    if spec.pattern is not None:
        return str, MATCH[spec.pattern], None, _plain
    if spec.choices:
        return str, frozenset(spec.choices).__contains__, None, _plain

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
    if spec.choices:
        known = frozenset(spec.choices)

        def each_known(value: list[Any]) -> bool:
            return len(value) <= most and all(type(item) is str and item in known for item in value)

        return list, each_known, tuple, _to_plain_list
    if spec.pattern is not None:
        return list, _each_matching(spec), tuple, _to_list

    def fits(item: Any) -> bool:
        return (
            type(item) is str
            and len(item) <= longest
            and (item.isascii() or len(item.encode(errors="replace")) <= longest)
        )

    return list, lambda value: len(value) <= most and all(map(fits, value)), tuple, _to_list


def _each_matching(spec: FieldSpec) -> Check:
    """Whether all entries of a list have a form (and differ)."""
    most, matches, distinct = spec.maximum or 0, MATCH[spec.pattern or ""], spec.distinct

    def check(value: list[Any]) -> bool:
        if len(value) > most or not all(type(item) is str and matches(item) for item in value):
            return False
        return not distinct or len(set(value)) == len(value)

    return check


def _of_attachments(spec: FieldSpec, sender: str) -> _Kind:
    most = spec.maximum or 0

    def prepare(value: Any) -> Any:
        items = _to_list(value)
        if type(items) is not list:
            return value
        return [item.to_map() if type(item) is Attachment else item for item in items]

    return list, lambda value: attachments_problem(value, spec.name, most) is None, attachments_from, prepare


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


def _to_plain_list(value: Any) -> Any:
    items = _to_list(value)
    return [_plain(item) for item in items] if type(items) is list else value


def _plain(value: Any) -> Any:
    """ErrorCode, JobState and the like are as good as their numbers and strings."""
    return value.value if isinstance(value, Enum) else value


def _always(value: Any) -> bool:
    return True


_ATTACHMENTS: Final = "list[attachment]"
_KINDS: Final = {
    "str": _of_str,
    "int": _of_int,
    "bool": _of_bool,
    "list[str]": _of_list,
    "map": _of_map,
    "limits": _of_limits,
    _ATTACHMENTS: _of_attachments,
}
# What a string of a pattern is, in words.
_PATTERNS: Final = {
    "job_id": "a string of {spec.minimum} to {spec.maximum} characters A-Z a-z 0-9 . _ -",
    "traceparent": "a W3C traceparent such as 00-<32 hexadecimal digits>-<16 of them>-01, neither id all zeros",
    "tag": "a string of 1 to 64 bytes without control characters",
}


def make_field(spec: FieldSpec, sender: str) -> Field:
    """The ready field for a spec; sender says whose limits a `limits` field has."""
    kind, check, convert, prepare = _KINDS[spec.type](spec, sender)
    # Some lists are prepared in any case: that it is a list says nothing about what is in it.
    inside = kind is list and (spec.type == _ATTACHMENTS or bool(spec.choices))
    return Field(spec, kind, check, convert, prepare, type(None) if inside else kind)
