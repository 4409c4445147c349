"""The parameters of requests without attachments: `resolve.parse` and `resolve.resolve`, once for those sent again.

People draw the same prompt many times over, and programs send what they sent before: a tail that came lately is neither
unpacked nor checked again while the models are as they were. A request that names no seed is resolved each time.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pixwire_protocol.params import GenerateParams

from . import model, resolve
from .catalogue import Catalogue

REMEMBERED = 256
"""Requests remembered; all are forgotten when there are more."""

LONGEST = 4096
"""Bytes of a tail that is remembered."""


@dataclass(slots=True)
class Resolved:
    """What a request asks for."""

    params: GenerateParams
    """With every choice made."""
    text: str | None
    """The same as the journal keeps it; None: not worked out yet."""


class Resolver:
    """Lives in the event loop. `draw` gives a seed for a request that names none."""

    def __init__(self, models: Catalogue, draw: Callable[[], int]) -> None:
        self._models = models
        self._draw = draw
        self._known: dict[tuple[str, bytes], tuple[GenerateParams, Resolved | None]] = {}
        self._changes = models.changes

    def of(self, kind: str, tail: bytes) -> Resolved:
        """What this request asks for. Raises RequestError."""
        if self._changes != self._models.changes:
            self._changes = self._models.changes
            self._known.clear()
        asked, resolved = self._known.get((kind, tail), (None, None))
        if resolved is not None:
            return resolved
        fresh = asked is None
        if asked is None:
            asked = resolve.parse(kind, tail, (), self._models)
        params = resolve.resolve(asked, self._models.card(asked.model), self._draw)
        repeatable = asked.seed is not None
        resolved = Resolved(params, model.params_text(params) if repeatable else None)
        if fresh and len(tail) <= LONGEST:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[kind, tail] = asked, resolved if repeatable else None
        return resolved
