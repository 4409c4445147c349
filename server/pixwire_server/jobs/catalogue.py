"""The models of the engine, as the rest of the server sees them: which there are, what they accept, how they are."""

from collections.abc import Callable, Iterable

from pixwire_protocol import status
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api
from pixwire_server.engine.api import MEDIA_TYPES, ModelCard, ModelInfo, ModelState

from .errors import RequestError, invalid

OnChanged = Callable[[str], None]


class Catalogue:
    """What the engine last told about its models. Survives the engine: while it starts anew, jobs still come.

    The first model is the default one. Lives in the event loop.
    """

    def __init__(self, infos: Iterable[ModelInfo] = ()) -> None:
        self._infos = {info.name: info for info in infos}
        self.changes = 0
        """How often something about some model has changed."""
        self._kinds: tuple[str, ...] | None = None  # as long as nothing changes
        self._callbacks: list[OnChanged] = []

    def infos(self) -> tuple[ModelInfo, ...]:
        """All models, the default one first."""
        return tuple(self._infos.values())

    def get(self, name: str) -> ModelInfo | None:
        """What is known of this model; None: it is not served (any more)."""
        return self._infos.get(name)

    def on_changed(self, callback: OnChanged) -> None:
        """Call `callback(name)` whenever a model has changed, come or gone, with the catalogue as it is then."""
        self._callbacks.append(callback)

    def off_changed(self, callback: OnChanged) -> None:
        """Counterpart of `on_changed`."""
        self._callbacks.remove(callback)

    def report(self, report: api.Report) -> None:
        """Take in what the engine says; reports about other things are ignored."""
        if isinstance(report, api.Ready):
            names = self._infos.keys() | {info.name for info in report.models}
            self._infos = {info.name: info for info in report.models}
        elif isinstance(report, api.ModelChanged):
            self._infos[report.model.name] = report.model
            names = {report.model.name}
        elif isinstance(report, api.ModelRemoved):
            self._infos.pop(report.name, None)
            names = {report.name}
        else:
            return
        self._kinds = None
        self.changes += 1
        for name in sorted(names):
            for callback in tuple(self._callbacks):
                callback(name)

    @property
    def default(self) -> ModelInfo:
        """The model of requests that name none. Raises RuntimeError when there is no model at all."""
        for info in self._infos.values():
            return info
        raise RuntimeError("the engine has not started yet")

    def find(self, name: str | None) -> ModelInfo:
        """The model of this name, the default one for None. Raises RequestError(INVALID_ARGUMENT) for another name."""
        found = self._infos.get(name) if name is not None else next(iter(self._infos.values()), None)
        if found is None:
            names = list(self._infos)
            served = " or ".join(map(repr, names)) or "no model at all now"
            hint = f" ({names[0]!r} when left out)" if names else ""
            raise invalid(
                "model", name or "", names, f"model: {name!r} is not served here; this server serves {served}{hint}"
            )
        return found

    def card(self, name: str | None = None) -> ModelCard:
        """What this model accepts. Raises RequestError: INVALID_ARGUMENT as `find`, UNSUPPORTED if it cannot load."""
        info = self.find(name)
        if info.card is None or info.state == ModelState.FAILED:
            others = [other.name for other in self._infos.values() if other.state != ModelState.FAILED]
            why = info.message or "it was never loaded"
            message = f"model: {info.name!r} cannot be used: {why}" + (f"; use {' or '.join(others)}" if others else "")
            raise RequestError(
                ErrorCode.UNSUPPORTED, message, {"field": "model", "value": info.name, "allowed": others}
            )
        return info.card

    def where(self, name: str) -> str:
        """The device and the number type this model computes with; "" while they are not known."""
        info = self._infos.get(name)
        return "" if info is None or info.card is None else f"{info.card.device}/{info.card.dtype}"

    def kinds(self) -> tuple[str, ...]:
        """What kinds of jobs at least one model does."""
        if self._kinds is None:
            cards = (info.card for info in self._infos.values() if info.card)
            self._kinds = tuple(dict.fromkeys(kind for card in cards for kind in card.kinds))
        return self._kinds

    def listed(self) -> tuple[status.ModelInfo, ...]:
        """All models as a list shows them, the default one first."""
        return tuple(shown(info, default=not index) for index, info in enumerate(self._infos.values()))


_NOT_KNOWN = ModelCard("", "", 0, 0.0, 0, 0, 0, 0, 0, 0, 0, "", "", kinds=())
"""Stands in for the card of a model that could not even be looked at."""


def shown(info: ModelInfo, *, default: bool = False) -> status.ModelInfo:
    """A model as a list shows it (SPEC 8)."""
    card = info.card or _NOT_KNOWN
    return status.ModelInfo(
        name=info.name,
        default=default,
        pipeline=card.pipeline_class,
        kinds=card.kinds,
        attachments=card.attachments,
        defaults={
            "steps": card.default_steps,
            "guidance_scale": card.default_guidance_scale,
            "width": card.default_width,
            "height": card.default_height,
            "strength": card.default_strength,
        },
        limits={
            "size_multiple": card.size_multiple,
            "max_width": card.max_width,
            "max_height": card.max_height,
            "max_steps": card.max_steps,
            "max_count": card.max_count,
        },
        media_types=MEDIA_TYPES,
        state=str(info.state),
        bytes=info.bytes or None,
        adapters=info.adapters,
        pinned=info.pinned,
        device=card.device,
        dtype=card.dtype,
        message=info.message or None,
    )
