"""Frozen dataclasses that are quick to make (no SPEC section: an implementation detail).

The constructor that `dataclass(frozen=True)` writes calls object.__setattr__ per field. Every frame makes one or two
records, so that of @record stores through the slots' own descriptors, and a @sparse_record is made of one dict with the
fields that there are. The other methods do what a dataclass's do; they are the same functions for all classes, because
compiling a set for each took a quarter of the time to import a client.
"""

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A frozen slots dataclass with fields, all of which are arguments, and without a __post_init__."""
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    names: dict[str, Any] = {"MISSING": MISSING}
    arguments, lines = [], []
    for part in fields(made):
        name = part.name
        names |= {f"set_{name}": getattr(made, name).__set__, f"default_{name}": part.default}
        value = name
        if part.default_factory is not MISSING:
            names |= {f"default_{name}": MISSING, f"make_{name}": part.default_factory}
            value = f"make_{name}() if {name} is MISSING else {name}"
        is_required = part.default is part.default_factory is MISSING
        arguments.append(name if is_required else f"{name}=default_{name}")
        lines.append(f"    set_{name}(self, {value})")
    made.__getstate__, made.__setstate__ = _get_state, _set_state
    _complete(made, f"def __init__(self, {', '.join(arguments)}):\n" + "\n".join(lines), names)
    return made  # type: ignore[no-any-return]


@dataclass_transform(frozen_default=True)
def sparse_record(cls: type[T]) -> type[T]:
    """A frozen dataclass with many fields, most of which have their default (a constant): what an object does not hold
    is looked up in its class. See `filled`.
    """
    made: Any = dataclass(init=False, repr=False, eq=False)(cls)
    parts = fields(made)
    arguments = [part.name if part.default is MISSING else f"{part.name}=cls.{part.name}" for part in parts]
    items = ", ".join(f"'{part.name}': {part.name}" for part in parts)
    names = {"cls": made, "hold": made.__dict__["__dict__"].__set__}
    _complete(made, f"def __init__(self, {', '.join(arguments)}):\n    hold(self, {{{items}}})", names)
    return made  # type: ignore[no-any-return]


def filled(cls: type[T], values: dict[str, Any]) -> T:
    """A @sparse_record of these fields, the required ones among them. The dict becomes a part of it."""
    made = object.__new__(cls)
    object.__setattr__(made, "__dict__", values)
    return made


def _complete(made: Any, source: str, names: dict[str, Any]) -> None:
    """Gives the class its constructor and what else a frozen dataclass has, but for what it defines itself."""
    exec(compile(source, f"<record {made.__name__}>", "exec"), names)  # noqa: S102 - as dataclass itself does
    made.__init__ = names["__init__"]
    made.__init__.__qualname__ = f"{made.__qualname__}.__init__"
    made.__init__.__annotations__ = {part.name: part.type for part in fields(made)} | {"return": None}
    made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
    compared = [part.name for part in fields(made) if part.compare]
    made.__compared__ = attrgetter(*compared)
    if "__repr__" not in made.__dict__:
        made.__repr__ = _show
    if "__eq__" not in made.__dict__:
        made.__eq__, made.__hash__ = _is_equal, _hash


def _is_equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = self.__class__.__compared__
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(self.__class__.__compared__(self))


def _show(self: Any) -> str:
    shown = ", ".join(f"{part.name}={getattr(self, part.name)!r}" for part in fields(self) if part.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(self: Any, name: str, value: Any) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, part.name) for part in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for part, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, part.name, value)
