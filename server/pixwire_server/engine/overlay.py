"""Overlays: what one request changes in the shared denoiser, put on for its own passes and taken off after each.

Some techniques exchange the attention processors of a model (perturbed attention guidance) or add parts to it
(IP-Adapter). On a shared model that would change everybody's images. An overlay holds the exchanged parts instead and
puts them on around a pass; between passes the model is always as it was loaded.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PARTS = ("encoder_hid_proj", "text_encoder_hid_proj", "image_proj")
"""Attributes of a denoiser that an IP-Adapter sets."""

_SETTING = "encoder_hid_dim_type"
"""The entry of its configuration that an IP-Adapter changes, as diffusers does: the attribute, not the item."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Exchanged parts of `model`, a denoiser.

    Calls whose overlays have equal `key` share passes; `None` says that the parts divide the rows of a pass among
    themselves, so that each request computes alone. `scale` is what the new processors weigh their answer with, where
    they do.
    """

    model: Any
    processors: Mapping[Any, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)
    setting: str | None = None
    key: Hashable = None
    scale: float | None = None

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """Put the parts on, and at the end those that were there before, also after an error."""
        before = snapshot(self.model, self.processors)
        _dress(self)
        try:
            yield
        finally:
            _dress(before)


def snapshot(model: Any, modules: Mapping[Any, Any] | None = None) -> Overlay:
    """The model's parts as they are now: the processors of all its attention layers, or of `modules` only."""
    chosen = attention_layers(model) if modules is None else modules
    parts = {name: getattr(model, name) for name in PARTS if hasattr(model, name)}
    return Overlay(model, {module: module.processor for module in chosen}, parts, _setting(model))


def attention_layers(model: Any) -> list[Any]:
    """Modules whose attention processor can be exchanged."""
    return [module for module in model.modules() if hasattr(module, "processor") and hasattr(module, "set_processor")]


def changed_by(model: Any, change: Callable[[], object]) -> Overlay:
    """What `change` does to the model, as an overlay; the model itself is as before again."""
    before = snapshot(model)
    try:
        change()
        after = snapshot(model)
    finally:
        _dress(before)
    new = {module: now for module, now in after.processors.items() if now is not before.processors[module]}
    return Overlay(model, new, after.parts, after.setting)


def _dress(overlay: Overlay) -> None:
    model = overlay.model
    for module, processor in overlay.processors.items():
        module.set_processor(processor)
        if overlay.scale is not None and hasattr(processor, "scale"):
            several = isinstance(processor.scale, list)
            processor.scale = [overlay.scale] * len(processor.scale) if several else overlay.scale
    for name in PARTS:
        if name in overlay.parts:
            setattr(model, name, overlay.parts[name])
        elif hasattr(model, name):
            delattr(model, name)
    if _setting(model) != overlay.setting:
        setattr(model.config, _SETTING, overlay.setting)


def _setting(model: Any) -> str | None:
    return getattr(model.config, _SETTING, None)
