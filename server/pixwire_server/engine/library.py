"""What this machine and the folders beside the models hold: adapter files by name, and memory for models."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from pixwire_server.engine.api import ModelSettings

ADAPTERS = "adapters"
SHARE = 0.8
"""Part of the machine's memory that models may have when nobody says how much; the rest is for what they compute."""


def adapters(settings: ModelSettings) -> dict[str, str]:
    """The LoRA files of a model: name, which is that of the file without its end -> path."""
    folder = Path(settings.adapters_dir) if settings.adapters_dir else Path(settings.path) / ADAPTERS
    with contextlib.suppress(OSError):
        return {entry.stem: str(entry) for entry in sorted(folder.iterdir()) if entry.suffix == ".safetensors"}
    return {}


def memory(models: Iterable[ModelSettings] = ()) -> int:
    """Bytes that models may have together by default: a share of the GPU's memory if one of `models` may be there, or
    of the machine's. Models for the CPU alone do not touch the GPU: it may be somebody else's.
    """
    if any(model.device != "cpu" for model in models) and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1] * SHARE)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            whole = min(whole, int(file.read()))
    return int(whole * SHARE)
