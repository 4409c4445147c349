"""What a training run is told, and where it keeps its files."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..arguments import at_least, no_less_than_0


@dataclass(frozen=True)
class Options:
    """One run; a stage ends, its learning rate at zero, at its steps (or its minutes, where fewer are wanted)."""

    out: Path
    seed: int = 0
    device: str = "cpu"
    processes: int = 2
    scenes: int = 32_000
    broad_scenes: int = 64_000
    fancy_scenes: int = 64_000
    text_minutes: float = math.inf
    text_steps: int = 1_300
    text_batch: int = 128
    text_rate: float = 1.5e-3
    vae_minutes: float = math.inf
    vae_steps: int = 6_800
    vae_batch: int = 16
    unet_minutes: float = math.inf
    unet_steps: int = 12_000
    unet_batch: int = 32
    unet_rate: float = 1e-3
    polish_minutes: float = math.inf
    polish_steps: int = 3_600
    evaluate: int = 100
    report_seconds: float = 20.0
    checkpoint_seconds: float = 120.0

    @property
    def workers(self) -> int:
        """Processes that train together; a GPU has one."""
        return self.processes if self.device == "cpu" else 1

    @property
    def work(self) -> Path:
        """Checkpoints, drawn scenes and the log."""
        return self.out / "work"

    @property
    def pipeline(self) -> Path:
        """The diffusers folder."""
        return self.out / "pipeline"


def device(text: str) -> str:
    """An argparse type: a device that torch can compute on here."""
    try:
        torch.zeros(1, device=text).item()
    except Exception as error:  # by device and build an AssertionError, a RuntimeError, a NotImplementedError
        reason = str(error).partition("\n")[0]
        raise argparse.ArgumentTypeError(f"torch cannot compute on {text!r} here: {reason}") from None
    return text


def add_option(parser: argparse.ArgumentParser, name: str, note: str) -> None:
    """The argument of the option of that name, --broad-scenes for broad_scenes."""
    flag, default = "--" + name.replace("_", "-"), {field.name: field.default for field in fields(Options)}[name]
    if name == "out":
        parser.add_argument(flag, type=Path, required=True, help=note)
        return
    reads: dict[type, Any] = {
        int: at_least(0 if name in ("seed", "evaluate") else 1),
        float: no_less_than_0,
        str: device,
    }
    parser.add_argument(flag, type=reads[type(default)], default=default, help=f"{note} (default %(default)s)")
