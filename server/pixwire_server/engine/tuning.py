"""The settings of one model that say how it computes: memory format, attention, quantisation, offload, compilation.

All of them are off by default but those named "auto", which are on where they are known to help: on a GPU.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from pixwire_server.engine.api import ModelSettings
from pixwire_server.engine.card import denoiser
from pixwire_server.engine.folder import ModelRefusedError
from pixwire_server.engine.settings import CHOICES

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Rows of a pass of a compiled model: it is compiled once for each of them, not for every number."""


def check(settings: ModelSettings) -> None:
    """Raise ModelRefusedError for a value that does not exist."""
    for name, allowed in CHOICES.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise ModelRefusedError(f"{name} = {value!r} must be one of {', '.join(allowed)}")


def quantize(pipeline: Any, settings: ModelSettings, dtype: torch.dtype) -> None:
    """Narrow the weights of the denoiser as configured. Raises ModelRefusedError as `apply`."""
    if settings.quantization != "none":
        _QUANTIZE[settings.quantization](denoiser(pipeline), dtype)


def apply(pipeline: Any, settings: ModelSettings, device: torch.device) -> None:
    """Set a loaded pipeline up as configured. Raises ModelRefusedError for what it or this machine cannot do."""
    model = denoiser(pipeline)
    gpu = device.type == "cuda"
    if settings.attention != "auto":
        _attend(model, settings.attention)
    if settings.channels_last == "on" or (settings.channels_last == "auto" and gpu):
        for part in _modules(pipeline, "unet", "vae", "controlnet"):
            _channels_last(part)
    _set_vae(getattr(pipeline, "vae", None), settings, gpu)
    if settings.offload != "none":
        _offload(pipeline, settings.offload, device)
    if settings.compile != "off":
        _compile(model, settings.compile, device)


def bucket(rows: int, cap: int) -> int:
    """The rows that a pass of a compiled model is filled up to."""
    return next((size for size in BUCKETS if rows <= size <= cap), max(rows, cap))


def size(pipeline: Any) -> int:
    """Bytes of all weights and buffers of a pipeline; what components share counts once."""
    storages = {}
    for module in _modules(pipeline, *pipeline.components):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _modules(pipeline: Any, *names: str) -> Iterable[torch.nn.Module]:
    found = (getattr(pipeline, name, None) for name in names)
    return [module for module in found if isinstance(module, torch.nn.Module)]


def _channels_last(module: torch.nn.Module) -> None:
    """The weights of 4 dimensions; `Module.to` fails at a VAE of films, whose weights have 5."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _attend(model: Any, backend: str) -> None:
    if not hasattr(model, "set_attention_backend"):
        raise ModelRefusedError(f"attention = {backend!r}: {type(model).__name__} has no choice of it; use auto")
    try:
        model.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ModelRefusedError(f"attention = {backend!r} cannot be used here: {error}") from error


def _set_vae(vae: Any, settings: ModelSettings, gpu: bool) -> None:
    """Tiles bound the memory of large images on a GPU; the engine decodes images one by one as it is."""
    if settings.vae_tiling == "on" or (settings.vae_tiling == "auto" and gpu):
        _enable(vae, "enable_tiling", asked=settings.vae_tiling == "on")
    if settings.vae_slicing == "on":
        _enable(vae, "enable_slicing", asked=True)


def _enable(vae: Any, method: str, *, asked: bool) -> None:
    if hasattr(vae, method):
        try:
            getattr(vae, method)()
            return
        except NotImplementedError:
            pass
    if asked:
        raise ModelRefusedError(f"vae_{method.removeprefix('enable_')} = 'on': {type(vae).__name__} cannot do that")


def _float8(model: Any, dtype: torch.dtype) -> None:
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)


def _int8(model: Any, dtype: torch.dtype) -> None:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_  # type: ignore[import-not-found]
    except ImportError as error:
        raise ModelRefusedError(
            f"quantization = 'int8' needs the package torchao, which cannot be loaded ({error}); "
            "install it, or use float8"
        ) from error
    quantize_(model, Int8WeightOnlyConfig())


_QUANTIZE: Mapping[str, Callable[[Any, torch.dtype], None]] = {"float8": _float8, "int8": _int8}


def _offload(pipeline: Any, how: str, device: torch.device) -> None:
    if device.type != "cuda":
        raise ModelRefusedError(f"offload = {how!r} saves memory of a GPU, and this model runs on {device}; use none")
    if how == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    # Called by every pipeline at its end: it would take the modules away from the others that still compute.
    pipeline.maybe_free_model_hooks = lambda: None


def _compile(model: Any, how: str, device: torch.device) -> None:
    """Compiled when a shape is first seen; exactly as many graphs as there are shapes, hence `bucket`."""
    if how == "graphs" and device.type != "cuda":
        raise ModelRefusedError(f"compile = 'graphs' means CUDA graphs, and this model runs on {device}; use on or off")
    mode = "reduce-overhead" if how == "graphs" else "default"
    model.compile(mode=mode, dynamic=False, fullgraph=False)
