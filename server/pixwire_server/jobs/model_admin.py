"""Loads, unloads, adds and removes models on request, and tells when that has come about.

The engine does it beside the jobs that run; here is only who waits for its reports.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine import api

from .catalogue import Catalogue, shown
from .errors import RequestError, invalid

_SETTLED = (api.ModelState.LOADED, api.ModelState.FAILED)
ENGINE_RETRY_MS = 5_000
"""When an engine that is starting may be ready."""


class ModelAdmin:
    """Every method answers with the model as it is at the end of it. Lives in the event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        send: Callable[[api.Command], None],
        ready: Callable[[], bool],
        pattern: api.ModelSettings,
    ) -> None:
        """`pattern` says where a model that is added computes, and in which numbers."""
        self._catalogue = catalogue
        self._send = send
        self._ready = ready
        self._pattern = pattern
        self._waiting: set[tuple[str, asyncio.Future[None]]] = set()
        catalogue.on_changed(self._changed)

    async def load(self, name: str) -> Mapping[str, Any]:
        """Have it in memory. The answer comes when it is `loaded`, or `failed`, with the reason."""
        self._check(name)
        if self._known(name).state != api.ModelState.LOADED:
            await self._until(api.LoadModel(name), name, lambda info: info is None or info.state in _SETTLED)
        return self._describe(self._known(name))

    async def unload(self, name: str) -> Mapping[str, Any]:
        """Have its memory back. The answer comes when its last task has ended; a later job loads it again."""
        self._check(name)
        if self._known(name).state == api.ModelState.LOADING:  # the engine unloads nothing half
            await self._until(None, name, lambda info: info is None or info.state != api.ModelState.LOADING)
        if self._known(name).state == api.ModelState.LOADED:
            # Not loaded: also when it is being loaded again, because a job or an operator wants that.
            command = api.UnloadModel(name)
            await self._until(command, name, lambda info: info is None or info.state != api.ModelState.LOADED)
        return self._describe(self._known(name))

    async def add(self, name: str, path: str) -> Mapping[str, Any]:
        """Serve the model in this folder, or another folder for a name that is served. It is loaded when a job needs
        it; `failed` when the folder cannot be used.
        """
        self._check()
        if not name.isprintable() or name != name.strip():
            message = f"model: {name!r} cannot be the name of a model; choose printable text without spaces around it"
            raise invalid("model", name, "printable text without spaces around it", message)
        # In a thread: the folder may lie on a disk that does not answer.
        if not path.startswith("/") or not await asyncio.to_thread(_has_index, path):
            message = f"path: {path!r} is no folder with a model_index.json the server can read; give its absolute path"
            raise invalid("path", path, "an absolute path of a folder with a diffusers pipeline", message)
        settings = api.ModelSettings(path, name, device=self._pattern.device, dtype=self._pattern.dtype)
        loading = api.ModelState.LOADING
        await self._until(api.AddModel(settings), name, lambda info: info is not None and info.state != loading)
        return self._describe(self._known(name))

    async def remove(self, name: str) -> Mapping[str, Any]:
        """Serve it no more: jobs that wait for it fail, those that run end as they would. Not the default model."""
        self._check(name)
        if name == self._catalogue.default.name:
            others = [info.name for info in self._catalogue.infos()[1:]]
            message = f"model: {name!r} is the default model, which is used when a job names none; it stays"
            raise invalid("model", name, others, message)
        before = self._describe(self._known(name))
        await self._until(api.RemoveModel(name), name, lambda info: info is None)
        return before

    def lost(self) -> None:
        """The engine is gone: whoever waits for it is told."""
        for waiting in tuple(self._waiting):
            future = waiting[1]
            if not future.done():
                future.set_exception(_absent("died meanwhile"))

    # ------------------------------------------------------------------------------------------- details

    def _check(self, name: str | None = None) -> None:
        if not self._ready():
            raise _absent("is not ready")
        if name is not None:
            self._known(name)

    def _known(self, name: str) -> api.ModelInfo:
        info = self._catalogue.get(name)
        if info is None:
            names = [one.name for one in self._catalogue.infos()]
            message = f"model: {name!r} is not served here; these are: {', '.join(names)}"
            raise invalid("model", name, names, message)
        return info

    def _describe(self, info: api.ModelInfo) -> Mapping[str, Any]:
        return shown(info, default=info.name == self._catalogue.default.name).to_map()

    async def _until(
        self, command: api.Command | None, name: str, condition: Callable[[api.ModelInfo | None], bool]
    ) -> None:
        """Send `command` and wait for a report after which `condition` holds: what was true before does not count."""
        waiting = name, asyncio.get_running_loop().create_future()
        if command is not None:
            self._send(command)
        while True:
            self._waiting.add(waiting)
            try:
                await waiting[1]
            finally:
                self._waiting.discard(waiting)
            if condition(self._catalogue.get(name)):
                return
            waiting = name, asyncio.get_running_loop().create_future()

    def _changed(self, name: str) -> None:
        for whose, future in tuple(self._waiting):
            if whose == name and not future.done():
                future.set_result(None)


def _has_index(path: str) -> bool:
    try:
        return Path(path, "model_index.json").is_file()
    except OSError:  # a name that is too long, a folder that the server may not look into
        return False


def _absent(how: str) -> RequestError:
    return RequestError(
        ErrorCode.WORKER_LOST, f"the engine {how}; try again when it is back", retry_after_ms=ENGINE_RETRY_MS
    )
