"""LoRA adapters of single requests: loaded from their files, kept while they fit, switched before a pass.

An adapter changes the shared model, so the set of a request is part of its batch key, and the pass runner switches the
model to the set of the pass it is about to run. Requests without adapters run on the model as it was.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pixwire_server.engine.api import Adapter

log = logging.getLogger(__name__)

CAPACITY = 8
"""Adapters kept in memory, more only while running requests need them."""


class AdapterError(Exception):
    """An adapter does not fit the model or cannot be read; the text says which and why."""


class Adapters:
    """The adapters of one pipeline. Belongs to the engine thread."""

    def __init__(self, pipeline: Any, capacity: int = CAPACITY) -> None:
        self._pipeline = pipeline
        self._capacity = capacity
        self._users: OrderedDict[str, int] = OrderedDict()  # by path, least recently used first
        self._active: tuple[Adapter, ...] | None = ()  # None: unknown, after a switch that failed half-way

    @property
    def loaded(self) -> tuple[str, ...]:
        """Paths of the adapters in memory, least recently used first."""
        return tuple(self._users)

    def acquire(self, wanted: Iterable[Adapter]) -> None:
        """Load what is missing and keep all of it until `release`. Raises AdapterError; then nothing is kept."""
        kept: list[Adapter] = []
        try:
            for adapter in wanted:
                self._load(adapter.path)
                self._users[adapter.path] += 1
                kept.append(adapter)
        except AdapterError:
            self.release(kept)
            raise
        self._evict()

    def release(self, wanted: Iterable[Adapter]) -> None:
        """Counterpart of `acquire`. What fits stays in memory."""
        for adapter in wanted:
            self._users[adapter.path] -= 1
        self._evict()

    def switch(self, wanted: tuple[Adapter, ...]) -> None:
        """Make the model compute with these adapters (acquired before) and no others."""
        if wanted == self._active:
            return
        self._active = None
        if wanted:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([_name(a.path) for a in wanted], [a.weight for a in wanted])
        else:
            self._pipeline.disable_lora()
        self._active = wanted

    def _load(self, path: str) -> None:
        if path in self._users:
            self._users.move_to_end(path)
            return
        file = Path(path)
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise AdapterError(f"adapter {file.name}: {type(self._pipeline).__name__} takes no LoRA")
        if file.suffix != ".safetensors":
            raise AdapterError(f"adapter {file.name}: only .safetensors files are loaded, others can run code")
        try:
            self._pipeline.load_lora_weights(str(file), adapter_name=_name(path), local_files_only=True)
        except Exception as error:  # whatever diffusers and peft make of a file that does not fit
            self._drop(path)
            if self._users:
                self._reset()
            raise AdapterError(
                f"adapter {file.name} does not fit the model: {type(error).__name__}: {error}"
            ) from error
        self._users[path] = 0
        self._reset()

    def _reset(self) -> None:
        """Back to the model as it was: what a load or an unload leaves active is nobody's set."""
        self._pipeline.disable_lora()
        self._active = ()

    def _evict(self) -> None:
        for path in [path for path, users in self._users.items() if not users]:
            if len(self._users) <= self._capacity:
                return
            del self._users[path]
            self._drop(path)
            self._reset()
            log.info("adapter %s left memory", Path(path).name)

    def _drop(self, path: str) -> None:
        try:
            self._pipeline.delete_adapters(_name(path))
        except Exception as error:  # a load that failed half-way: there may be nothing to delete
            log.debug("adapter %s: %s", path, error)


def _name(path: str) -> str:
    """What peft knows it by: it allows no dots."""
    return "a" + hashlib.blake2b(path.encode(), digest_size=8).hexdigest()
