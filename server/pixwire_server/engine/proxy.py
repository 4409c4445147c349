"""Stand-ins for the heavy modules of a pipeline: calling one parks the request until the hub has run the call."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch.utils import _pytree as pytree

from pixwire_server.engine import known
from pixwire_server.engine.batch_key import Signature, alone, sign
from pixwire_server.engine.collate import is_gaussian
from pixwire_server.engine.overlay import PARTS, Overlay
from pixwire_server.engine.request import Call, Request
from pixwire_server.scheduling.composition import DECODE

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
        if name in _KNOWN:
            return known.of_module(self._module, name)
        if name in _DRESSED and (overlays := self._overlays()):
            with contextlib.ExitStack() as stack:
                for overlay in overlays:
                    stack.enter_context(overlay.worn())
                return getattr(self._module, name)
        return getattr(self._module, name)

    def _submit(
        self, method: str, run: Any, signature_of: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        name, stage = ".".join(filter(None, (self._name, method))), self._stages[method]
        arguments = bind(signature_of, args, kwargs)
        if arguments is None:
            call = Call(self._request, name, stage, lambda: run(*args, **kwargs), {}, alone(name, "*args"))
            return self._answer(call, method)
        if method in _TYPED:
            arguments = self._in_module_dtype(arguments)
        signature = sign(name, type(self._module).__name__, arguments, self._request.fingerprints, ragged=self._ragged)
        if self._request.model or self._request.adapters:
            signature = replace(signature, key=(signature.key, self._request.model, self._request.adapters))
        if overlays := self._overlays():
            signature, run = _dressed(signature, name, run, overlays)
        if signature.alone:
            arguments = self._on_module_device(arguments)
        return self._answer(Call(self._request, name, stage, run, arguments, signature), method)

    def _answer(self, call: Call, method: str) -> Any:
        answer = self._park(call)
        if call.stage == DECODE:
            self._request.watch(answer)
        elif method == "encode":
            _seed_samples(answer, self._request.noise)
        return answer

    def _overlays(self) -> list[Overlay]:
        return [overlay for overlay in self._request.overlays if overlay.model is self._module]

    def _on_module_device(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Timesteps are kept on the CPU (see `view`); where calls are joined that is seen to, here nobody else does.

        Hooks (offload) bring the arguments themselves to where they compute; until then the module is elsewhere, or
        nowhere (meta).
        """
        if hasattr(self._module, "_hf_hook"):
            return arguments
        device = getattr(self._module, "device", None)
        return {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()
        }

    def _in_module_dtype(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A VAE may be of another type than what it gets (see `loader`): pipelines would move it there and back."""
        dtype = known.of_module(self._module, "dtype")
        return {
            name: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in arguments.items()
        }


def _dressed(
    signature: Signature, name: str, run: Callable[..., Any], overlays: Sequence[Overlay]
) -> tuple[Signature, Callable[..., Any]]:
    """The signature and the call of a module that wears overlays."""
    if any(overlay.key is None for overlay in overlays):
        signature = alone(name, "its attention processors divide the rows of a pass among themselves")
    else:
        signature = replace(signature, key=(signature.key, tuple(overlay.key for overlay in overlays)))

    def run_dressed(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for overlay in overlays:
                stack.enter_context(overlay.worn())
            return run(*args, **kwargs)

    return signature, run_dressed


def _seed_samples(answer: Any, noise: Sequence[torch.Generator]) -> None:
    """Let latents that are sampled without a generator take their noise from the request's seeds.

    diffusers would take it from the global random state, which no seed of a request determines. A single image gets
    the noise that `torch.manual_seed(seed)` ahead of the plain pipeline gives on a CPU; image i of several that of the
    seed `seed + i`.
    """
    for leaf in pytree.tree_leaves(answer):
        if is_gaussian(leaf) and noise:
            leaf.sample = functools.partial(_sample, leaf, noise)


def _sample(gaussian: Any, own: Sequence[torch.Generator], generator: Any = None) -> torch.Tensor:
    plain = type(gaussian).sample
    rows, images = gaussian.mean.shape[0], len(own)
    if generator is not None or images == 1 or rows % images:
        return plain(gaussian, own[0] if generator is None else generator)  # type: ignore[no-any-return]
    shape = (rows // images, *gaussian.mean.shape[1:])  # the rows are all images once, or several times (guidance)
    drawn = [torch.randn(shape, generator=each, dtype=gaussian.mean.dtype) for each in own]
    noise = torch.stack(drawn, 1).flatten(0, 1).to(gaussian.mean.device)
    return gaussian.mean + gaussian.std * noise  # type: ignore[no-any-return]


_TYPED = ("decode", "encode")
"""Methods whose arguments are brought to the module's type."""

_NEUTRAL: Mapping[str, Callable[[ModuleProxy], Any]] = {
    "to": lambda proxy: lambda *args, **kwargs: proxy,
    "_reset_stateful_cache": lambda proxy: lambda *args, **kwargs: None,
    "cache_context": lambda proxy: lambda *args, **kwargs: contextlib.nullcontext(),
    "set_attn_processor": lambda proxy: lambda *args, **kwargs: None,
}
"""What would change the shared module, and what happens in its stead."""

_KNOWN = ("device", "dtype")
"""Attributes that the module would walk all its parts for."""

_DRESSED = ("attn_processors", *PARTS)
"""Attributes that a pipeline sees as its request's overlays make them."""
