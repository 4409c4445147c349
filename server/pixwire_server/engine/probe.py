"""The card of a model without its weights: its pipeline is built on torch's meta device, where tensors are shapes only.

Cards are remembered in a folder, by what the model's folder looked like and which versions made them, so that a server
with many models starts at once.
"""

import hashlib
import json
import logging
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from pixwire_server.engine import style
from pixwire_server.engine.api import ModelCard, ModelSettings
from pixwire_server.engine.card import call_settings, check_pipeline, describe
from pixwire_server.engine.folder import check_folder, components
from pixwire_server.engine.loader import choose_device, choose_dtype, dropped, named, pipeline_class
from pixwire_server.engine.variants import variants

log = logging.getLogger(__name__)

_FORMAT = 1


def probe(settings: ModelSettings, cache: "CardCache") -> ModelCard | None:
    """The card this model will have when it is loaded; None when only a load can tell.

    Raises ModelRefusedError as `loader.load` does. Not for a thread beside the engine loop, unless with the gate held.
    """
    folder = Path(settings.path)
    index = check_folder(folder)
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    number = str(dtype).removeprefix("torch.")
    stamp = cache.stamp(settings, f"{device} {number}")
    card = cache.get(stamp)
    if card is None:
        pipeline = None if (folder / style.FOLDER).is_dir() else _hollow(folder, index)
        if pipeline is None:
            return None
        check_pipeline(pipeline)
        found = variants(pipeline, None, call_settings(pipeline, folder))
        card = replace(describe(pipeline, found, folder, number), device=str(device))
        cache.put(stamp, card)
    return named(card, settings)


def remember(settings: ModelSettings, card: ModelCard, cache: "CardCache") -> None:
    """Keep the card of a model that was loaded for the next start."""
    cache.put(cache.stamp(settings, f"{card.device} {card.dtype}"), card)


def _hollow(folder: Path, index: dict[str, Any]) -> Any:
    """The pipeline of the folder with modules that have shapes and no values; None when one cannot be made so."""
    kind = pipeline_class(folder, index)
    try:
        modules = {name: _module(folder, name, index[name]) for name in components(index)}
        given = {name: module for name, module in modules.items() if module is not None}
        return kind.from_pretrained(str(folder), local_files_only=True, **given, **dropped(index))
    except Exception as error:  # whatever a class does that cannot be built on the meta device
        log.info("%s is loaded to see what it can do: %s: %s", folder, type(error).__name__, error)
        return None


def _module(folder: Path, name: str, entry: list[str]) -> Any:
    """A component that has weights; None for any other, which is small enough to be loaded as it is."""
    import diffusers
    import transformers
    from accelerate import init_empty_weights  # type: ignore[import-untyped]  # it ships none

    libraries = {"diffusers": diffusers, "transformers": transformers}
    kind: Any = getattr(libraries.get(entry[0], getattr(diffusers.pipelines, entry[0], None)), entry[1], None)
    bases = kind.__mro__ if isinstance(kind, type) else ()
    if diffusers.ModelMixin in bases:
        with init_empty_weights():
            return kind.from_config(kind.load_config(str(folder / name), local_files_only=True))
    if transformers.PreTrainedModel in bases:
        config = kind.config_class.from_pretrained(str(folder / name), local_files_only=True)
        with torch.device("meta"):
            return kind(config)
    return None


class CardCache:
    """Cards in files named by their stamps. A folder of "" remembers nothing; files that cannot be used are ignored."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def stamp(self, settings: ModelSettings, kind: str) -> str:
        """Changes with every file of the model's folder, its device and type, and the versions of the libraries."""
        import diffusers
        import transformers

        root = Path(settings.path)
        listed = sorted(
            (str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns)
            for path in root.rglob("*")
            if path.is_file()
        )
        versions = (torch.__version__, diffusers.__version__, transformers.__version__)
        shape = [field.name for field in fields(ModelCard)]
        whole = json.dumps([_FORMAT, shape, versions, kind, str(root.resolve()), listed])
        return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()

    def get(self, stamp: str) -> ModelCard | None:
        """The remembered card, if there is one."""
        if self._folder is None:
            return None
        try:
            values = json.loads((self._folder / f"{stamp}.json").read_text(encoding="utf-8"))
            card: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
            return ModelCard(**card)
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def put(self, stamp: str, card: ModelCard) -> None:
        """Remember a card; a disk that is full costs only the memory."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{stamp}.json"
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(asdict(card)), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            log.warning("the card of a model cannot be remembered in %s: %s", self._folder, error)
