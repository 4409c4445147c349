"""Loading a model folder that `folder` found safe, and preparing the pipeline to be shared."""

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pixwire_server.engine import style, tuning, weights
from pixwire_server.engine.api import ModelCard, ModelSettings
from pixwire_server.engine.card import call_settings, check_pipeline, check_pipeline_class, describe
from pixwire_server.engine.device import is_out_of_memory
from pixwire_server.engine.families import Task
from pixwire_server.engine.folder import INDEX, ModelRefusedError, check_folder, left_out
from pixwire_server.engine.gate import Gate, open_while_reading
from pixwire_server.engine.previews import Previewer, fit
from pixwire_server.engine.variants import Variant, variants

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A pipeline ready to serve, and everything else that can be done with its components. `bytes`: its weights."""

    pipeline: Any
    card: ModelCard
    variants: Mapping[Task, Variant]
    previewer: Previewer | None
    bytes: int = 0
    compiled: bool = False


def load(settings: ModelSettings, gate: Gate | None = None) -> LoadedModel:
    """Load a model. Raises ModelRefusedError when it can never be served as configured.

    May run in a thread of its own: it passes `gate` while other threads must not compute, see there.
    """
    folder = Path(settings.path)
    index = check_folder(folder)
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    for paths in weights.files(folder, index).values():
        for path in paths:
            weights.header(path)
    gate = gate or Gate()
    with gate:
        pipeline = _from_pretrained(folder, index, dtype, gate)
        check_pipeline(pipeline)
        tuning.check(settings)
        with gate.open():
            tuning.quantize(pipeline, settings, dtype)  # first, or the device would have to hold the wide weights once
            _prepare(pipeline, device, settings.offload)
        tuning.apply(pipeline, settings, device)
        look = style.load(pipeline, folder)
        found = variants(pipeline, look, call_settings(pipeline, folder))
        described = describe(pipeline, found, folder, str(dtype).removeprefix("torch."))
        card = named(replace(described, device=str(device)), settings)
        with gate.open():
            return LoadedModel(pipeline, card, found, fit(pipeline), tuning.size(pipeline), settings.compile != "off")


def named(card: ModelCard, settings: ModelSettings) -> ModelCard:
    """The card under the configured name, where one is configured."""
    return replace(card, name=settings.name) if settings.name else card


def expected_bytes(settings: ModelSettings) -> int:
    """Bytes that the model will have in memory, from the headers of its files. Raises ModelRefusedError."""
    folder = Path(settings.path)
    width = choose_dtype(settings.dtype, choose_device(settings.device)).itemsize
    return weights.size(folder, check_folder(folder), width, None if settings.quantization == "none" else 1)


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. Raises ModelRefusedError when there is no such device."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "torch finds no CUDA device here" if built else f"torch {torch.__version__} is built without CUDA"
        remedy = "" if built else "install a build of torch with CUDA, or "
        raise ModelRefusedError(f"device = cuda: {why}; {remedy}use device = cpu or auto")
    if wanted not in {"cpu", "cuda"}:
        raise ModelRefusedError(f"device = {wanted!r} must be auto, cpu or cuda")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number type for a configured name; `auto` is float32 on a CPU and 16 bits wide on a GPU."""
    if wanted == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if wanted not in _DTYPES:
        raise ModelRefusedError(f"dtype = {wanted!r} must be auto, {', '.join(_DTYPES)}")
    return _DTYPES[wanted]


# ---------------------------------------------------------------------------------------------- loading


def quiet_libraries() -> None:
    """No progress bars, no advice, no network for the whole process. Call before anything else imports diffusers."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are meant
    warnings.filterwarnings("ignore", module=r"PIL\.")  # the client is told what is wrong with its picture
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def pipeline_class(folder: Path, index: Mapping[str, Any]) -> Any:
    """The class that the index names. Raises ModelRefusedError when diffusers has none or it cannot be served."""
    import diffusers

    name = index["_class_name"]
    found = getattr(diffusers, name, None)
    if found is None or not issubclass(found, diffusers.DiffusionPipeline):
        raise ModelRefusedError(
            f"{folder / INDEX}: diffusers {diffusers.__version__} has no pipeline {name}; a newer one may"
        )
    check_pipeline_class(found)
    return found


def dropped(index: Mapping[str, Any]) -> dict[str, None]:
    """The components that are left out, as arguments of `from_pretrained`."""
    given = (name for name, entry in index.items() if isinstance(entry, list) and entry[0] is not None)
    return {name: None for name in given if left_out(dict(index), name)}


@contextlib.contextmanager
def reasons(folder: Path, name: str) -> Iterator[None]:
    """Turns what the libraries raise for a folder they cannot load into ModelRefusedError."""
    try:
        yield
    except ModelRefusedError:
        raise
    except (OSError, ValueError, TypeError, ImportError, KeyError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise  # another time it may do
        raise ModelRefusedError(f"{folder} cannot be loaded as {name}: {type(error).__name__}: {error}") from error


def _from_pretrained(folder: Path, index: Mapping[str, Any], dtype: torch.dtype, gate: Gate) -> Any:
    kind = pipeline_class(folder, index)
    with reasons(folder, kind.__name__), open_while_reading(gate) as missing:
        pipeline = kind.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            variant=weights.variant(folder, index),
            low_cpu_mem_usage=importlib.util.find_spec("accelerate") is not None,
            **dropped(index),
        )
    if missing:
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise ModelRefusedError(f"{folder}: the files lack {len(missing)} weights ({some}); copy the folder anew")
    return pipeline


def _prepare(pipeline: Any, device: torch.device, offload: str) -> None:
    if offload == "none":  # else the hooks that `tuning` sets move it, part by part
        pipeline.to(device)
    vae = getattr(pipeline, "vae", None)
    if vae is not None and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
        # The pipeline would widen the shared VAE for one decode and narrow it again under the others' feet.
        vae.to(torch.float32)
    for name in pipeline.components:
        component = getattr(pipeline, name, None)
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
