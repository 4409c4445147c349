"""IP-Adapters: taking the look of an image from a picture.

A model folder may hold one in `ip_adapter/`: a `.safetensors` file and the folder `image_encoder/` of its encoder. It
is loaded with the model and kept as an overlay, so that tasks without a picture for it compute on the model as it was.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pixwire_server.engine.folder import ModelRefusedError
from pixwire_server.engine.overlay import Overlay, changed_by

FOLDER = "ip_adapter"
_ENCODER = "image_encoder"


def load(pipeline: Any, folder: Path) -> Overlay | None:
    """The IP-Adapter in a model's folder, None without one. The pipeline gets the image encoder.

    Raises ModelRefusedError for one that does not fit the model.
    """
    place = folder / FOLDER
    files = sorted(place.glob("*.safetensors"))
    if not place.is_dir():
        return None
    if len(files) != 1:
        raise ModelRefusedError(f"{place} must hold one .safetensors file of an IP-Adapter, it holds {len(files)}")
    if not hasattr(pipeline, "load_ip_adapter"):
        raise ModelRefusedError(f"{place}: {type(pipeline).__name__} takes no IP-Adapter; remove the folder")
    if not any((place / _ENCODER).glob("*.safetensors")):
        raise ModelRefusedError(f"{place / _ENCODER} must hold the image encoder of the IP-Adapter as .safetensors")
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    try:
        overlay = changed_by(denoiser, lambda: _load(pipeline, place, files[0].name))
    except Exception as error:  # whatever diffusers makes of a file that does not fit
        raise ModelRefusedError(f"{files[0]} does not fit the model: {type(error).__name__}: {error}") from error
    # diffusers also renews the processors it adds nothing to: the model's own stay.
    own = {layer: part for layer, part in overlay.processors.items() if isinstance(part, torch.nn.Module)}
    for part in own.values():
        part.to(denoiser.device, denoiser.dtype).requires_grad_(False)
    return replace(overlay, processors=own)


def at(overlay: Overlay, scale: float) -> Overlay:
    """The overlay weighed with `scale`; equal weights share passes."""
    return replace(overlay, key=("style", scale), scale=scale)


def _load(pipeline: Any, place: Path, name: str) -> None:
    parameters = inspect.signature(pipeline.load_ip_adapter).parameters
    if "image_encoder_pretrained_model_name_or_path" in parameters:  # Flux
        encoder = {
            "image_encoder_pretrained_model_name_or_path": str(place / _ENCODER),
            "image_encoder_dtype": pipeline.dtype,
        }
    else:
        encoder = {"image_encoder_folder": str(place / _ENCODER)}
    pipeline.load_ip_adapter(str(place), subfolder="", weight_name=name, local_files_only=True, **encoder)
