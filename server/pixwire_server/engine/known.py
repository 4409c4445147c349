"""What every request asks of its pipeline and always gets the same answer to: found out once.

diffusers works these out in every call, by walking all modules and reading signatures: where the pipeline computes, of
what it consists, a scheduler built from its configuration. That is several milliseconds of Python for each image.

    asked                      found out anew when
    device, execution device   a component is on another device, or has got or lost hooks (offload); of a pipeline that
                               is offloaded, whose parts move all the time, only the latter
    device, dtype of a module  its first parameter is of another device or type
    keys of the constructor    never: a class has one
    a fresh scheduler          the pattern has another configuration

Belongs to the engine thread. Nothing here keeps a pipeline, a module or a scheduler alive.
"""

import copy
import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy
import torch

_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)
_KEPT = "_known_places"


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a pipeline is and where it computes, true while its `stamp` is."""

    stamp: Hashable
    device: torch.device
    execution: torch.device
    moving: bool
    """Whether its parts are carried to the device for their passes, and away again."""


_pipelines: WeakKeyDictionary[Any, _Places] = WeakKeyDictionary()
_modules: WeakKeyDictionary[torch.nn.Module, tuple[Hashable, dict[str, Any]]] = WeakKeyDictionary()
_schedulers: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()


def view_of(pipeline: Any) -> Any:
    """A shallow copy of `pipeline` that knows the answers; everything else about its class is as it was."""
    kind = _class_of(pipeline)
    if not hasattr(kind, "_get_signature_keys") or not hasattr(kind, "_execution_device"):
        return copy.copy(pipeline)
    view = object.__new__(_knowing(kind))
    view.__dict__.update(pipeline.__dict__)
    view.__dict__[_KEPT] = _places(pipeline)
    return view


def device_of(pipeline: Any) -> torch.device:
    """`pipeline.device`."""
    return _places(pipeline).device if hasattr(type(pipeline), "_get_signature_keys") else pipeline.device


def of_module(module: Any, name: str) -> Any:
    """The attribute `device` or `dtype` of a module."""
    first = next(module.parameters(), None) if isinstance(module, torch.nn.Module) else None
    if first is None:
        return getattr(module, name)
    stamp = first.device, first.dtype
    known = _modules.get(module)
    if known is None or known[0] != stamp:
        known = _modules[module] = stamp, {}
    answers = known[1]
    if name not in answers:
        answers[name] = getattr(module, name)
    return answers[name]


def fresh_scheduler(pattern: Any) -> Any:
    """A scheduler that has never been used, configured as `pattern` is. A copy of a used one would keep the state of
    its last run.
    """
    config = pattern.config
    known = _schedulers.get(pattern)
    if known is None or known[0] is not config:
        known = _schedulers[pattern] = config, type(pattern).from_config(config)
    unused = known[1]
    values = {name: _copied(value, config=unused.config) for name, value in vars(unused).items()}
    if any(value is _UNKNOWN for value in values.values()):
        return type(pattern).from_config(config)
    made = object.__new__(type(unused))
    made.__dict__.update(values)
    return made


def signature_of(thing: Any, method: str) -> inspect.Signature:
    """How a method of its class is called on `thing`."""
    return _signature(_class_of(thing), method)


@cache
def _signature(kind: Any, method: str) -> inspect.Signature:
    signature = inspect.signature(getattr(kind, method))
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _class_of(thing: Any) -> Any:
    return type(thing)


# ---------------------------------------------------------------------------------------------- pipelines


@cache
def _keys(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the constructor's arguments: components, and what else there is."""
    needed, others = kind._get_signature_keys(kind)
    return tuple(needed), tuple(others)


def _places(pipeline: Any) -> _Places:
    names, _ = _keys(_class_of(pipeline))
    parts = [pipeline.__dict__.get(name) for name in names]
    stamp = tuple(_place(part) for part in parts if isinstance(part, torch.nn.Module))
    known = _pipelines.get(pipeline)
    if known is None or known.stamp != stamp:
        moving = any("_hf_hook" in vars(part) for part in parts if isinstance(part, torch.nn.Module))
        known = _pipelines[pipeline] = _Places(stamp, pipeline.device, pipeline._execution_device, moving)
    return known


def _place(module: torch.nn.Module) -> Hashable:
    first = next(module.parameters(), None)
    own = vars(module)
    return None if first is None else first.device, "_hf_hook" in own, "_diffusers_hook" in own


@cache
def _knowing(kind: Any) -> Any:
    """A class like `kind`, under its name, whose instances answer from what is known."""

    def answer_keys(own: type[Any], asked: Any) -> tuple[list[str], list[str]]:
        needed, others = _keys(kind if isinstance(asked, own) else asked)
        return list(needed), list(others)

    def execution_device(view: Any) -> torch.device:
        places: _Places = view.__dict__[_KEPT]
        return places.execution

    def device(view: Any) -> torch.device:
        places: _Places = view.__dict__[_KEPT]
        return kind.device.fget(view) if places.moving else places.device

    answers: dict[str, Any] = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_get_signature_keys": classmethod(answer_keys),
        "_execution_device": property(execution_device),
        "device": property(device),
    }
    return type(kind)(kind.__name__, (kind,), answers)


# ---------------------------------------------------------------------------------------------- schedulers

_UNKNOWN = object()
_NUMBERS = "biuf"
"""Kinds of numpy arrays that hold no references."""


def _copied(value: Any, config: Any) -> Any:
    """A value of an unused scheduler for a second one; `_UNKNOWN` for what is not known to be copied rightly."""
    if isinstance(value, _PLAIN) or value is config:
        return value
    copies = _COPIES.get(type(value))
    return _UNKNOWN if copies is None else copies(value)


def _copied_items(items: Any) -> Any:
    return type(items)(items) if all(isinstance(item, _PLAIN) for item in items) else _UNKNOWN


_COPIES: dict[type, Callable[[Any], Any]] = {
    torch.Tensor: torch.Tensor.clone,
    numpy.ndarray: lambda array: array.copy() if array.dtype.kind in _NUMBERS else _UNKNOWN,
    list: _copied_items,
    tuple: _copied_items,
}
