"""Maps inside RESULT and EVENT on their way to dataclasses (SPEC 8, 9): types are checked, unknown keys are ignored."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.forms import show
from pixwire_protocol.registry import ErrorCode

Map = Mapping[str, Any]
Part = TypeVar("Part")


class Fields(dict[str, tuple[type, bool]]):
    """Field -> (type on the wire, required). Numbers are never negative here."""

    __slots__ = ("kinds", "required")

    def __init__(self, table: Mapping[str, tuple[type, bool]]) -> None:
        super().__init__(table)
        self.kinds = {name: kind for name, (kind, _) in table.items()}
        self.required = tuple(name for name, (_, required) in table.items() if required)


_KINDS: Final[Mapping[type, str]] = {
    int: "an integer from 0",
    float: "a number from 0",
    str: "a string",
    list: "an array",
    dict: "a map",
    bool: "true or false",
}


def checked(values: Any, table: Fields, what: str) -> dict[str, Any]:
    """The known fields of a received map, each of the right type; nil counts as absent, an integer as a number.

    Raises RemoteProtocolError(BAD_HEAD) that names `what` and the first field that is wrong.
    """
    if type(values) is not dict:
        raise wrong(what, what, values, "a map")
    known: dict[str, Any] = {}
    kind_of = table.kinds.get
    for name, value in values.items():
        kind, given = kind_of(name), type(value)
        if given is kind:
            if (kind is int or kind is float) and value < 0:
                raise wrong(what, name, value, _KINDS[kind])
        elif kind is None or value is None:
            continue
        elif kind is not float or given is not int or value < 0:
            raise wrong(what, name, value, _KINDS[kind])
        known[name] = value
    for name in table.required:
        if name not in known:
            raise wrong(what, name, None, _KINDS[table[name][0]])
    return known


def strings(values: list[Any], what: str, name: str) -> tuple[str, ...]:
    """The entries of a received array of strings. Raises RemoteProtocolError(BAD_HEAD)."""
    if not all(type(value) is str for value in values):
        raise wrong(what, name, values, "an array of strings")
    return tuple(values)


def numbers(values: list[Any], what: str, name: str) -> tuple[float, ...]:
    """The entries of a received array of numbers. Raises RemoteProtocolError(BAD_HEAD)."""
    if not all(type(value) in (int, float) for value in values):
        raise wrong(what, name, values, "an array of numbers")
    return tuple(values)


def each(values: list[Any], read: Callable[[Any], Part]) -> tuple[Part, ...]:
    """The entries of a received array of maps."""
    return tuple(read(value) for value in values)


def wrong(what: str, name: str, value: Any, allowed: str) -> RemoteProtocolError:
    """The error for a map that is not right."""
    return RemoteProtocolError(ErrorCode.BAD_HEAD, f"{what} map: {name} must be {allowed}, not {show(value)} (SPEC 9)")
