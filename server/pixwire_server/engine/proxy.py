"""Stand-ins for the heavy modules of a pipeline: calling one parks the request until the hub has run the call."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from pixwire_server.engine.batch_key import alone, sign
from pixwire_server.engine.request import Call, Request

Park = Callable[[Call], Any]


@cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Parameter names of a plain function, a `self` included; empty when it takes `*args`."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return ()
    return tuple(p.name for p in parameters)


def bind(method: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a method (bound, or set on the instance) by parameter name; None when they cannot be named."""
    if not args:
        return dict(kwargs)
    function = getattr(method, "__func__", None)
    names = _parameters(method) if function is None else _parameters(function)[1:]
    if len(names) < len(args):
        return None
    return {**dict(zip(names, args, strict=False)), **kwargs}


class ModuleProxy:
    """Looks like the module: `isinstance` sees its class and attributes are the real ones.

    Parked are calls of the methods named in `stages`, where "" stands for the module itself. What would change the
    module under the other requests' feet (moving it, resetting its caches) does nothing.
    """

    def __init__(
        self, module: Any, name: str, stages: Mapping[str, str], request: Request, park: Park, *, ragged: bool = True
    ) -> None:
        self.__dict__.update(_module=module, _name=name, _stages=stages, _request=request, _park=park, _ragged=ragged)

    @property
    def __class__(self) -> type[Any]:
        return type(self._module)

    @__class__.setter
    def __class__(self, value: type[Any]) -> None:
        raise TypeError("the class of a module in use cannot be changed")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "" not in self._stages:
            return self._module(*args, **kwargs)
        return self._submit("", self._module, self._module.forward, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in self._stages:
            method = getattr(self._module, name)
            return lambda *args, **kwargs: self._submit(name, method, method, args, kwargs)
        if name in _NEUTRAL:
            return _NEUTRAL[name](self)
        return getattr(self._module, name)

    def _submit(
        self, method: str, run: Any, signature_of: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        name, stage = ".".join(filter(None, (self._name, method))), self._stages[method]
        arguments = bind(signature_of, args, kwargs)
        if arguments is None:
            return self._park(Call(self._request, name, stage, lambda: run(*args, **kwargs), {}, alone(name, "*args")))
        if method in _TYPED:
            arguments = self._in_module_dtype(arguments)
        signature = sign(name, type(self._module).__name__, arguments, self._request.fingerprints, ragged=self._ragged)
        if self._request.adapters:
            signature = replace(signature, key=(signature.key, self._request.adapters))
        if signature.alone:
            arguments = self._on_module_device(arguments)
        return self._park(Call(self._request, name, stage, run, arguments, signature))

    def _on_module_device(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Timesteps are kept on the CPU (see `view`); where calls are joined that is seen to, here nobody else does."""
        device = getattr(self._module, "device", None)
        return {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()
        }

    def _in_module_dtype(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A VAE may be of another type than what it gets (see `loader`): pipelines would move it there and back."""
        dtype = self._module.dtype
        return {
            name: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in arguments.items()
        }


_TYPED = ("decode", "encode")
"""Methods whose arguments are brought to the module's type."""

_NEUTRAL: Mapping[str, Callable[[ModuleProxy], Any]] = {
    "to": lambda proxy: lambda *args, **kwargs: proxy,
    "_reset_stateful_cache": lambda proxy: lambda *args, **kwargs: None,
    "cache_context": lambda proxy: lambda *args, **kwargs: contextlib.nullcontext(),
}
