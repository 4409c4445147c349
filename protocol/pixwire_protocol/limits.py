"""The limits a connection declares (SPEC 6, 11): what HELLO and WELCOME carry in their `limits` map."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pixwire_protocol.registry import LIMITS


def default(name: str) -> int:
    """The registry's default of a limit."""
    return LIMITS[name].default


@dataclass(frozen=True, slots=True)
class Limits:
    """Declared limits; what is not declared has its default. Bytes, counts and milliseconds as in the registry.

    A HELLO carries only the first three: the rest belongs to the server.
    """

    max_frame: int = default("max_frame")
    stream_window: int = default("stream_window")
    connection_window: int = default("connection_window")
    max_streams: int = default("max_streams")
    idle_ms: int = default("idle_ms")
    ping_timeout_ms: int = default("ping_timeout_ms")
    min_ping_ms: int = default("min_ping_ms")
    max_upload: int = default("max_upload")
    retain_ms: int = default("retain_ms")
    dedupe_ms: int = default("dedupe_ms")
    stream_rate: int = default("stream_rate")

    def to_map(self, names: tuple[str, ...]) -> dict[str, int]:
        """The map with these names."""
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> "Limits":
        """Limits from a received map: unknown keys are ignored, nil is absent. ValueError names what is wrong."""
        known = {name: values[name] for name in DECLARED if values.get(name) is not None}
        for name, value in known.items():
            problem = limit_problem(name, value)
            if problem is not None:
                raise ValueError(problem)
        return cls(**known)


DECLARED: Final = tuple(field.name for field in fields(Limits))
CLIENT_LIMITS: Final = tuple(name for name in DECLARED if LIMITS[name].declared == "both")
SERVER_LIMITS: Final = DECLARED


def limit_problem(name: str, value: Any) -> str | None:
    """What is wrong with this value of this limit, or None."""
    spec = LIMITS[name]
    if type(value) is int and spec.minimum <= value <= spec.maximum:
        return None
    return f"{name} must be an integer from {spec.minimum} to {spec.maximum} ({spec.unit}), not {value!r:.40}"
