"""Model folders: what is looked at before torch is even imported, so that a refusal takes no time.

Served are folders of `save_pretrained` with safetensors weights and components of diffusers and transformers alone:
nothing in them can run code.
"""

import json
from pathlib import Path
from typing import Any

INDEX = "model_index.json"

DROPPED = ("safety_checker", "feature_extractor", "image_encoder")
"""Components that are not loaded: a text-to-image request never calls them, and the mistakes of a safety checker would
be black images without a reason."""

_LIBRARIES = ("diffusers", "transformers")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


class ModelRefusedError(Exception):
    """This model folder cannot be served; the text tells the operator why and what would help."""


def check_folder(folder: Path) -> dict[str, Any]:
    """The model index of a folder that is safe to load. Raises ModelRefusedError."""
    path = folder / INDEX
    if not path.is_file():
        raise ModelRefusedError(
            f"{folder} holds no {INDEX}: it is not a diffusers pipeline folder (save_pretrained makes one)"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefusedError(f"{path} cannot be read: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ModelRefusedError(
            f"{path} names no pipeline class of diffusers; pipelines with code of their own are not loaded"
        )
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry[0] is None or name in DROPPED:
            continue
        if entry[0] not in _LIBRARIES:
            raise ModelRefusedError(
                f"{path}: component {name} comes from {entry[0]!r}; only {' and '.join(_LIBRARIES)} are loaded"
            )
        _check_component(folder / name)
    return index


def _check_component(folder: Path) -> None:
    config = folder / "config.json"
    if config.is_file() and "auto_map" in json.loads(config.read_text(encoding="utf-8")):
        raise ModelRefusedError(f"{config} wants to run code of its own (auto_map); such models are not loaded")
    files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    pickles = sorted(name for name in files if name.endswith(_PICKLES))
    if pickles and not any(name.endswith(".safetensors") for name in files):
        raise ModelRefusedError(
            f"{folder / pickles[0]} is a pickle, which can run code when it is loaded. Convert the model: load it "
            "where you trust it and call save_pretrained(..., safe_serialization=True)."
        )
