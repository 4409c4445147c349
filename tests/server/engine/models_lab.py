"""A service with several tiny models, whose loads a test can hold back or break."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pixwire_server.engine import api
from pixwire_server.engine.api import EngineConfig, GenerateTask, ModelSettings
from pixwire_server.engine.gate import Gate
from pixwire_server.engine.loader import LoadedModel, load
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service

TASK = GenerateTask(1, "cat dog", "", 32, 32, 4, 4.0, 7)
SECONDS = 20.0  # a bound for a test that hangs, never a measure

LOADED: dict[str, LoadedModel] = {}


def loaded(settings: ModelSettings) -> LoadedModel:
    """The model of this folder, read once for all tests."""
    if settings.path not in LOADED:
        LOADED[settings.path] = load(settings)
    model = LOADED[settings.path]
    return replace(model, card=replace(model.card, name=settings.name or model.card.name))


class Scales:
    """Loads models, and lets a test hold a load back or break it."""

    def __init__(self) -> None:
        self.read: Callable[[ModelSettings], LoadedModel] = loaded
        self.begun = threading.Event()
        self.loads: list[str] = []
        self.held: dict[str, threading.Event] = {}
        self.broken: dict[str, Exception] = {}

    def hold(self, name: str) -> threading.Event:
        self.held[name] = threading.Event()
        return self.held[name]

    def load(self, settings: ModelSettings, gate: Gate) -> LoadedModel:
        self.loads.append(settings.name)
        if settings.name in self.held:
            self.begun.set()
            assert self.held[settings.name].wait(SECONDS)
        if settings.name in self.broken:
            raise self.broken[settings.name]
        return self.read(settings)


class Bench:
    """A service with several models and everything it reported."""

    def __init__(self, scales: Scales, *settings: ModelSettings, **options: Any) -> None:
        self._queue: queue.SimpleQueue[api.Report] = queue.SimpleQueue()
        self._woken = threading.Event()
        self.reports: list[api.Report] = []
        self.models = Models(emit=self._heard, wake=self._woken.set, load=scales.load, **options)
        self.infos = self.models.begin(EngineConfig(settings))
        self.service = Service(self.models, self._heard, max_rows=16, exact=False, wake=self._woken.set)

    def _heard(self, report: api.Report) -> None:
        self._queue.put(report)
        self._woken.set()

    def send(self, *commands: api.Command) -> None:
        for command in commands:
            self.service.handle(command)

    def until(self, done: Callable[[], Any]) -> Any:
        """Turn the loop until `done` gives something; sleeps only while a thread has to do something."""
        while True:
            self._woken.clear()
            busy = self.service.tick()
            while not self._queue.empty():
                self.reports.append(self._queue.get())
            if found := done():
                return found
            if not busy:
                assert self._woken.wait(SECONDS), "nothing moves any more"

    def of(self, kind: type[Any], handle: int | None = None) -> list[Any]:
        return [r for r in self.reports if isinstance(r, kind) and handle in (None, getattr(r, "handle", None))]

    def finished(self, *handles: int) -> list[Any]:
        ended = (api.Finished, api.Failed, api.Cancelled)
        return self.until(
            lambda: [self.of(ended, h)[0] for h in handles] if all(self.of(ended, h) for h in handles) else []
        )  # type: ignore[arg-type]

    def info(self, name: str) -> api.ModelInfo:
        return next(info for info in self.models.infos() if info.name == name)

    def states(self, name: str) -> list[str]:
        return [r.model.state for r in self.of(api.ModelChanged) if r.model.name == name]

    def close(self) -> None:
        self.service.close()


def settings(folders: dict[str, str], *names: str, **changes: Any) -> list[ModelSettings]:
    return [ModelSettings(folders[name], name, **changes) for name in names]
