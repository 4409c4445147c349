"""The models of one engine: loaded when they are needed, kept while they fit, known when they are not loaded.

    AVAILABLE -want-> LOADING -read-> LOADED -no task, room is short-> AVAILABLE        LOADING -refused-> FAILED

Everything here belongs to the engine thread; loads run in the worker's. A model that must make room takes no new tasks
(it *drains*), so that a busy one cannot keep the others out for ever.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pixwire_server.engine import device, library, loader
from pixwire_server.engine.adapters import AdapterError, Adapters
from pixwire_server.engine.api import (
    Adapter,
    EngineConfig,
    ModelCard,
    ModelChanged,
    ModelInfo,
    ModelRemoved,
    ModelSettings,
    ModelState,
    Report,
)
from pixwire_server.engine.folder import LoadFailedError, ModelRefusedError, check_folder, own_name
from pixwire_server.engine.gate import Gate
from pixwire_server.engine.loader import LoadedModel
from pixwire_server.engine.probe import CardCache, probe, remember
from pixwire_server.engine.room import Held, make_room
from pixwire_server.engine.worker import Worker

log = logging.getLogger(__name__)

RESCAN_S = 10.0
"""How often the adapter folders are looked at."""


class ModelUnavailableError(Exception):
    """There is no such model, or it cannot be loaded; the text says which there are, or why."""


@dataclass(slots=True, eq=False)
class Model:
    """One model. `key` differs from load to load: what is remembered about one is not used for another."""

    settings: ModelSettings
    state: ModelState = ModelState.AVAILABLE
    card: ModelCard | None = None
    need: int = 0
    """Bytes it will take, as its files say; `bytes` are those it does take."""
    bytes: int = 0
    message: str = ""
    files: dict[str, str] | None = None
    loaded: LoadedModel | None = None
    lora: Adapters | None = None
    key: str = ""
    users: int = 0
    used: int = 0
    leaving: bool = False
    gone: bool = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def info(self) -> ModelInfo:
        """What the server is told."""
        names = tuple(sorted(self.files or ()))
        return ModelInfo(self.name, self.state, self.card, self.bytes, self.settings.pinned, names, self.message)


class Models:
    """All models of the engine, the first the default one.

    `on_settled(model)` is called when one that was wanted is loaded, has failed or is gone. `emit` gets the reports.
    """

    def __init__(
        self,
        *,
        budget: int = 0,
        cache_dir: str = "",
        emit: Callable[[Report], None] = lambda report: None,
        wake: Callable[[], None] = lambda: None,
        load: Callable[[ModelSettings, Gate], LoadedModel] = loader.load,
    ) -> None:
        self.gate = Gate()
        self.worker = Worker(wake)
        self.on_settled: Callable[[Model], None] = lambda model: None
        self._budget = budget or library.memory()
        self._cache = CardCache(cache_dir)
        self._emit = emit
        self._load = load
        self._models: dict[str, Model] = {}
        self._gone: list[Model] = []
        self._wanted: deque[Model] = deque()
        self._loading: Model | None = None
        self._draining: frozenset[str] = frozenset()
        self._uses = 0
        self._rescan_at = 0.0
        self._dirty = False
        self._begun = False
        self._hopeless = True
        """Whether every failure so far lies in the models themselves."""

    @classmethod
    def holding(cls, *loaded: LoadedModel, **options: Any) -> "Models":
        """With models that are loaded already, the first the default one."""
        models = cls(**options)
        for one in loaded:
            model = Model(ModelSettings("", one.card.name), ModelState.LOADING)
            models._models[model.name] = model
            models._keep(model, one)
        models._begun = True
        return models

    # ------------------------------------------------------------------------------ the start

    def begin(self, config: EngineConfig) -> tuple[ModelInfo, ...]:
        """Look at all models and load the default one; the pinned ones follow by and by. Blocks.

        Raises ModelRefusedError when none of them can ever be served, LoadFailedError when none can be loaded now.
        """
        for settings in config.models:
            model = self._new(settings)
            if model.name in self._models:
                log.error("two models are called %s; the one in %s is left out", model.name, settings.path)
                continue
            self._models[model.name] = model
            self._look(model, partial(self._examine, model, with_card=len(config.models) > 1))
        first = next(iter(self._models.values()), None)
        if first is not None and first.state != ModelState.FAILED:
            self._look(first, lambda: self._keep(first, self._load(first.settings, self.gate)))
        failed = [model.message for model in self._models.values() if model.state == ModelState.FAILED]
        if failed and len(failed) == len(self._models):
            raise (ModelRefusedError if self._hopeless else LoadFailedError)("; ".join(failed))
        for model in self._models.values():
            if model.state == ModelState.AVAILABLE and (model.settings.pinned or model.card is None):
                self.want(model)
        self._begun = True
        return self.infos()

    def _new(self, settings: ModelSettings) -> Model:
        name = settings.name or own_name(Path(settings.path))
        model = Model(replace(settings, name=name))
        model.files = library.adapters(model.settings)
        return model

    def _examine(self, model: Model, *, with_card: bool) -> None:
        """What can be known without a load. Raises ModelRefusedError."""
        check_folder(Path(model.settings.path))
        model.need = loader.expected_bytes(model.settings)
        self._check_size(model)
        if with_card:
            model.card = probe(model.settings, self._cache)

    def _look(self, model: Model, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(model, error)

    # ------------------------------------------------------------------------------ tasks

    def infos(self) -> tuple[ModelInfo, ...]:
        """All models, the default one first."""
        return tuple(model.info for model in self._models.values())

    def find(self, name: str) -> Model:
        """The model of this name; "" is the default one. Raises ModelUnavailableError: there is none, or it failed."""
        model = self._models.get(name) if name else next(iter(self._models.values()), None)
        if model is None:
            served = ", ".join(self._models) or "none at all"
            raise ModelUnavailableError(f"model {name!r} is not served any more; served are {served}")
        if model.state == ModelState.FAILED:
            raise ModelUnavailableError(f"model {model.name!r} cannot be loaded: {model.message}")
        return model

    def usable(self, model: Model) -> "tuple[LoadedModel, Adapters] | None":
        """What a task for it works with if it may start now; None: `want` it first."""
        if model.loaded is None or model.lora is None or model.leaving or model.name in self._draining:
            return None
        return model.loaded, model.lora

    def want(self, model: Model) -> None:
        """See that it gets loaded; `on_settled` tells."""
        if model is self._loading or model in self._wanted:
            return
        self._wanted.append(model)
        self._dirty = True
        if model.loaded is None:
            self._change(model, ModelState.LOADING)

    def adapters(self, model: Model, wanted: Iterable[Adapter]) -> tuple[Adapter, ...]:
        """The files of the adapters that a task names. Raises AdapterError listing those the model has."""
        files = model.files or {}
        found = []
        for adapter in wanted:
            if adapter.path not in files:
                has = f"it has {', '.join(files)}" if files else "it has none"
                raise AdapterError(f"adapters: {model.name} has no adapter {adapter.path!r}; {has}")
            found.append(replace(adapter, path=files[adapter.path]))
        return tuple(found)

    def acquire(self, model: Model) -> None:
        """Use a usable model: it stays loaded until `release`."""
        model.users += 1
        self._touch(model)

    def release(self, model: Model) -> None:
        """Counterpart of `acquire`."""
        model.users -= 1
        self._dirty = True

    def tick(self, now: float) -> None:
        """Take in what the worker has done, load and unload, now and then look for new adapter files."""
        self.worker.deliver()
        if self._dirty:
            self._dirty = False
            self._advance()
        if now >= self._rescan_at:
            self._rescan_at = now + RESCAN_S
            for model in self._models.values():
                found = library.adapters(model.settings)
                if found != model.files:
                    model.files = found
                    self._emit(ModelChanged(model.info))

    # ------------------------------------------------------------------------------ commands

    def load(self, name: str) -> None:
        """`LoadModel`; unknown names are ignored."""
        if (model := self._models.get(name)) is not None:
            if model.state == ModelState.FAILED:
                model.message = ""
                self._change(model, ModelState.AVAILABLE)
            if self.usable(model) is not None:
                self._emit(ModelChanged(model.info))
            else:
                self.want(model)

    def unload(self, name: str) -> None:
        """`UnloadModel`; unknown names are ignored."""
        if (model := self._models.get(name)) is not None:
            if model.loaded is None:
                self._emit(ModelChanged(model.info))
            else:
                model.leaving = True
                self._dirty = True

    def add(self, settings: ModelSettings) -> None:
        """`AddModel`; its card is read in the worker."""
        model = self._new(settings)
        if model.name in self._models:
            self._take_out(self._models[model.name])
        self._models[model.name] = model
        self._change(model, ModelState.LOADING)

        def work() -> None:
            with self.gate:
                self._examine(model, with_card=True)

        self.worker.run(work, partial(self._added, model))

    def remove(self, name: str) -> None:
        """`RemoveModel`; unknown names are ignored."""
        model = self._models.pop(name, None)
        if model is not None:
            self._take_out(model)
            self._emit(ModelRemoved(name))
            self.on_settled(model)

    def close(self) -> None:
        """Begin no more loads."""
        self.worker.close()

    def _added(self, model: Model, outcome: Any) -> None:
        if model.gone:
            return
        if isinstance(outcome, Exception):
            self._fail(model, outcome)
        elif model not in self._wanted and model is not self._loading:
            self._change(model, ModelState.AVAILABLE)
            if model.settings.pinned or model.card is None:
                self.want(model)
        self.on_settled(model)

    def _take_out(self, model: Model) -> None:
        """It is not served any more; what runs on it goes on."""
        model.gone = True
        self._dirty = True
        if model in self._wanted:
            self._wanted.remove(model)
        if model.loaded is not None:
            self._gone.append(model)

    # ------------------------------------------------------------------------------ loading and unloading

    def _advance(self) -> None:
        """Unload what must and can go, then begin the next load that has room."""
        self._draining = frozenset()
        for model in [*self._gone, *self._models.values()]:
            if model.loaded is not None and not model.users and (model.leaving or model.gone):
                self._drop(model)
        while self._wanted and self._loading is None:
            model = self._wanted[0]
            if model.loaded is not None and model.leaving:
                return  # it must be idle first, then it is loaded anew
            if model.loaded is None:
                try:
                    room = self._has_room(model)
                except ModelRefusedError as error:
                    self._wanted.popleft()
                    self._fail(model, error)
                    self.on_settled(model)
                    continue
                if not room:
                    return
            self._wanted.popleft()
            if model.loaded is None:
                self._loading = model
                self.worker.run(partial(self._load, model.settings, self.gate), partial(self._arrived, model))
            else:
                self.on_settled(model)

    def _has_room(self, model: Model) -> bool:
        """Make room for the model; False when that takes until others are idle.

        Raises ModelRefusedError for one that can never fit.
        """
        model.need = model.need or loader.expected_bytes(model.settings)
        self._check_size(model)
        room = make_room(self._held(), model.need + sum(gone.bytes for gone in self._gone), self._budget)
        if room is None:
            return False  # until those that were removed have ended their tasks
        for name in room.evict:
            self._drop(self._models[name])
        self._draining = frozenset(room.drain)
        return not room.drain

    def _held(self) -> Iterable[Held]:
        return [
            Held(model.name, model.bytes, model.used, not model.users, model.settings.pinned)
            for model in self._models.values()
            if model.loaded is not None
        ]

    def _check_size(self, model: Model) -> None:
        """Raise ModelRefusedError for a model that does not fit beside the pinned ones."""
        pinned = sum(m.bytes or m.need for m in self._models.values() if m.settings.pinned and m is not model)
        if model.need + pinned > self._budget:
            beside = f" beside {_gb(pinned)} of pinned models" if pinned else ""
            raise ModelRefusedError(
                f"{model.settings.path} needs {_gb(model.need)} of memory{beside}, and memory_budget is "
                f"{_gb(self._budget)}; raise it, or use a smaller dtype or quantization"
            )

    def _arrived(self, model: Model, outcome: Any) -> None:
        self._loading = None
        if model.gone or isinstance(outcome, Exception):
            self.worker.run(device.free_memory)
        if isinstance(outcome, Exception) and not model.gone:
            self._fail(model, outcome)
        elif not model.gone:
            self._keep(model, outcome)
            room = make_room([held for held in self._held() if held.name != model.name], model.bytes, self._budget)
            for name in room.evict if room is not None else ():
                self._drop(self._models[name])  # its files promised less than it takes
        self._dirty = True
        self.on_settled(model)

    def _keep(self, model: Model, loaded: LoadedModel) -> None:
        self._touch(model)
        model.key = f"{model.name} {self._uses}"
        model.loaded, model.card, model.bytes = loaded, loaded.card, loaded.bytes
        model.lora = Adapters(loaded.pipeline)
        model.leaving, model.message = False, ""
        log.info(
            "%s is loaded: %s, %s on %s", model.name, model.card.pipeline_class, _gb(model.bytes), model.card.device
        )
        self._change(model, ModelState.LOADED)
        if model.settings.path:
            self.worker.run(partial(remember, model.settings, loaded.card, self._cache))

    def _drop(self, model: Model) -> None:
        model.loaded = model.lora = None
        model.bytes, model.leaving = 0, False
        if model.gone:
            self._gone.remove(model)
        else:
            log.info("%s is unloaded", model.name)
            self._change(model, ModelState.LOADING if model in self._wanted else ModelState.AVAILABLE)
        self.worker.run(device.free_memory)

    def _fail(self, model: Model, error: Exception) -> None:
        """Note why it cannot be loaded. Raises the error after which no model can: the process has to be another."""
        refused = isinstance(error, ModelRefusedError)
        if not refused and device.is_lost():
            raise error
        self._hopeless = self._hopeless and refused
        model.message = str(error) if refused else f"{model.settings.path}: {type(error).__name__}: {error}"
        log.error("%s cannot be loaded: %s", model.name, model.message, exc_info=None if refused else error)
        self._change(model, ModelState.FAILED)

    def _change(self, model: Model, state: ModelState) -> None:
        model.state = state
        if self._begun:  # before, `Ready` tells
            self._emit(ModelChanged(model.info))

    def _touch(self, model: Model) -> None:
        self._uses += 1
        model.used = self._uses


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
