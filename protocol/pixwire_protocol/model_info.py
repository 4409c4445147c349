"""A model as it travels in lists (SPEC 8), as a frozen dataclass."""

from dataclasses import dataclass
from typing import Any, Final

from pixwire_protocol.heads import BODIES
from pixwire_protocol.maps import Fields, Map, checked, strings, wrong

_MODEL: Final = Fields(
    {
        "name": (str, True),
        "default": (bool, True),
        "pipeline": (str, True),
        "kinds": (list, True),
        "attachments": (list, True),
        "defaults": (dict, True),
        "limits": (dict, True),
        "media_types": (list, True),
        "state": (str, False),
        "bytes": (int, False),
        "adapters": (list, False),
        "pinned": (bool, False),
        "device": (str, False),
        "dtype": (str, False),
        "message": (str, False),
    }
)
_LISTS: Final = ("kinds", "attachments", "media_types", "adapters")
_NUMBERS: Final = {name: BODIES[f"model_{name}"] for name in ("defaults", "limits")}
_OPTIONAL_NUMBERS: Final = ("strength",)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model in a list. SPEC 8.12. What older servers do not say has the defaults.

    Attributes:
        name: what the parameter `model` calls it.
        default: whether it runs when no model is named.
        pipeline: its family, for people.
        kinds: what it can do: "txt2img", "img2img", "inpaint".
        attachments: the pictures that it understands: "image", "mask", "control", "style".
        defaults: `steps`, `guidance_scale`, `width`, `height` where parameters are absent; `strength` where it has one.
        limits: `size_multiple`, `max_width`, `max_height` (pixels), `max_steps`, `max_count`.
        media_types: what it can make.
        state: "loaded", "loading", "available" (loaded when somebody asks for it) or "failed".
        bytes: memory that it takes while it is loaded.
        adapters: the names that the parameter `adapters` may have.
        pinned: whether it stays loaded when room is short.
        device: where it runs; empty when not known.
        dtype: in which number format; empty when not known.
        message: why it failed.
    """

    name: str
    default: bool
    pipeline: str
    kinds: tuple[str, ...]
    attachments: tuple[str, ...]
    defaults: Map
    limits: Map
    media_types: tuple[str, ...]
    state: str = "loaded"
    bytes: int | None = None
    adapters: tuple[str, ...] = ()
    pinned: bool = False
    device: str = ""
    dtype: str = ""
    message: str | None = None

    def to_map(self) -> dict[str, Any]:
        """The model's map; what is None is left out."""
        values = {name: value for name in _MODEL if (value := getattr(self, name)) is not None}
        return values | {name: list(values[name]) for name in _LISTS} | {name: dict(values[name]) for name in _NUMBERS}

    @classmethod
    def from_map(cls, values: Map) -> "ModelInfo":
        """From a received map; unknown keys are ignored. Raises RemoteProtocolError(BAD_HEAD)."""
        known = checked(values, _MODEL, "model")
        for name in _LISTS:
            if name in known:
                known[name] = strings(known[name], "model", name)
        for name, keys in _NUMBERS.items():
            for key in keys:
                value = known[name].get(key)
                if type(value) not in (int, float) and (value is not None or key not in _OPTIONAL_NUMBERS):
                    raise wrong("model", f"{name}.{key}", value, "a number")
        return cls(**known)
