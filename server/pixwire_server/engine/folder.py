"""Model folders: what is looked at before torch is even imported, so that a refusal takes no time.

Served are folders of `save_pretrained` with safetensors weights and components of diffusers and transformers alone:
nothing in them can run code.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pixwire_server.engine.families import SEEING
from pixwire_server.engine.settings import ModelSettings

INDEX = "model_index.json"
DEFAULTS_FILE = "pixwire_defaults.json"

DROPPED = ("safety_checker", "watermarker", "feature_extractor", "image_encoder")
"""Components that are not loaded: a text-to-image request never calls them, and the mistakes of a safety checker would
be black images without a reason. Classes that see with one of the last two keep it."""

_LIBRARIES = ("diffusers", "transformers")
_PACKAGES = ("stable_diffusion", "kolors", "stable_cascade", "wuerstchen", "kandinsky", "deepfloyd_if")
"""Packages of diffusers' own pipelines, which it looks into before it would look for files."""
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


class ModelRefusedError(Exception):
    """This model folder cannot be served; the text tells the operator why and what would help."""


class LoadFailedError(Exception):
    """No model could be loaded, for reasons that may be gone at the next start: the GPU's memory is full, for one."""


def check_folders(models: Iterable[ModelSettings]) -> None:
    """Raise ModelRefusedError when none of these folders is safe to load; the others are refused one by one later."""
    problems = []
    for settings in models:
        try:
            check_folder(Path(settings.path))
        except ModelRefusedError as error:
            problems.append(str(error))
        else:
            return
    if problems:
        raise ModelRefusedError("; ".join(problems))


def check_folder(folder: Path) -> dict[str, Any]:
    """The model index of a folder that is safe to load. Raises ModelRefusedError."""
    path = folder / INDEX
    if not path.is_file():
        raise ModelRefusedError(
            f"{folder} holds no {INDEX}: it is not a diffusers pipeline folder (save_pretrained makes one)"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelRefusedError(f"{path} cannot be read: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ModelRefusedError(
            f"{path} names no pipeline class of diffusers; pipelines with code of their own are not loaded"
        )
    for name in components(index):
        library = index[name][0]
        if library not in (*_LIBRARIES, *_PACKAGES):
            raise ModelRefusedError(
                f"{path}: component {name} comes from {library!r}; only {' and '.join(_LIBRARIES)} are loaded"
            )
        _check_component(folder / name)
    return index


def left_out(index: dict[str, Any], name: str) -> bool:
    """Whether this component of an index is not loaded."""
    return name in DROPPED[:2] or (name in DROPPED and index.get("_class_name") not in SEEING)


def components(index: dict[str, Any]) -> list[str]:
    """The names of the components that are loaded."""
    return [
        name
        for name, entry in index.items()
        if not name.startswith("_") and isinstance(entry, list) and any(entry[:1]) and not left_out(index, name)
    ]


def own_name(folder: Path) -> str:
    """What the model is called when nobody says otherwise: as its defaults file says, or as its folder is named."""
    try:
        values = json.loads((folder / DEFAULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    name = values.get("name") if isinstance(values, dict) else None
    return name if isinstance(name, str) and name else folder.resolve().name


def _check_component(folder: Path) -> None:
    config = folder / "config.json"
    try:
        files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        values = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelRefusedError(f"{config} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelRefusedError(f"{config} is no table of settings; get the model anew")
    if "auto_map" in values:
        raise ModelRefusedError(f"{config} wants to run code of its own (auto_map); such models are not loaded")
    pickles = sorted(name for name in files if name.endswith(_PICKLES))
    if pickles and not any(name.endswith(".safetensors") for name in files):
        raise ModelRefusedError(
            f"{folder / pickles[0]} is a pickle, which can run code when it is loaded. Convert the model: load it "
            "where you trust it and call save_pretrained(..., safe_serialization=True)."
        )
