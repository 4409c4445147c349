"""Loading a model folder that `folder` found safe, and preparing the pipeline to be shared."""

import importlib.util
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pixwire_server.engine.api import EngineConfig, ModelCard
from pixwire_server.engine.card import check_pipeline, check_pipeline_class, describe
from pixwire_server.engine.folder import DROPPED, INDEX, ModelRefusedError, check_folder
from pixwire_server.engine.previews import Previewer, fit
from pixwire_server.engine.variants import Task, Variant, variants

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A pipeline ready to serve, and everything else that can be done with its components."""

    pipeline: Any
    card: ModelCard
    variants: Mapping[Task, Variant]
    previewer: Previewer | None


def load(config: EngineConfig) -> LoadedModel:
    """Load `config.model_dir`. Raises ModelRefusedError when it can never be served as configured."""
    folder = Path(config.model_dir)
    index = check_folder(folder)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    pipeline = _from_pretrained(folder, index, dtype)
    check_pipeline(pipeline)
    _prepare(pipeline, device)
    found = variants(pipeline)
    card = describe(pipeline, found, folder, str(dtype).removeprefix("torch."))
    return LoadedModel(pipeline, card, found, fit(pipeline))


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. Raises ModelRefusedError when there is no such device."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelRefusedError("device = cuda: torch finds no CUDA device here; use device = cpu or auto")
    if wanted not in {"cpu", "cuda"}:
        raise ModelRefusedError(f"device = {wanted!r} must be auto, cpu or cuda")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number type for a configured name; `auto` is float32 on a CPU and 16 bits wide on a GPU."""
    if wanted == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if wanted not in _DTYPES:
        raise ModelRefusedError(f"dtype = {wanted!r} must be auto, {', '.join(_DTYPES)}")
    return _DTYPES[wanted]


# ---------------------------------------------------------------------------------------------- loading


def quiet_libraries() -> None:
    """No progress bars, no advice, no network for the whole process. Call before anything else imports diffusers."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are meant
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def _from_pretrained(folder: Path, index: Mapping[str, Any], dtype: torch.dtype) -> Any:
    import diffusers

    name = index["_class_name"]
    pipeline_class = getattr(diffusers, name, None)
    if pipeline_class is None or not issubclass(pipeline_class, diffusers.DiffusionPipeline):
        raise ModelRefusedError(
            f"{folder / INDEX}: diffusers {diffusers.__version__} has no pipeline {name}; a newer one may"
        )
    check_pipeline_class(pipeline_class)
    dropped = {component: None for component in DROPPED if _loads(index, component)}
    try:
        return pipeline_class.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            variant=_variant(folder, index),
            low_cpu_mem_usage=importlib.util.find_spec("accelerate") is not None,
            **dropped,
        )
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelRefusedError(f"{folder} cannot be loaded as {name}: {error}") from error


def _loads(index: Mapping[str, Any], component: str) -> bool:
    entry = index.get(component)
    return isinstance(entry, list) and entry[0] is not None


def _variant(folder: Path, index: Mapping[str, Any]) -> str | None:
    """`fp16` when the denoiser exists as that variant only."""
    names = [
        path.name for part in ("unet", "transformer") if part in index for path in (folder / part).glob("*.safetensors")
    ]
    return "fp16" if names and all(".fp16" in name for name in names) else None


def _prepare(pipeline: Any, device: torch.device) -> None:
    pipeline.to(device)
    vae = getattr(pipeline, "vae", None)
    if vae is not None and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        # The pipeline would widen the shared VAE for one decode and narrow it again under the others' feet.
        vae.to(torch.float32)
    for name in pipeline.components:
        component = getattr(pipeline, name, None)
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
