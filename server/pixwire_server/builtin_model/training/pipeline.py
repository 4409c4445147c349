"""Writing the diffusers folder."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from .. import NAME, scenes
from . import text as text_stage
from . import tokenizer as tokens
from . import vae
from .options import Options

STEPS = 12
GUIDANCE_SCALE = 1.5


def assemble(autoencoder: nn.Module, text: nn.Module, unet: nn.Module, scheduler: Any) -> Any:
    """The parts as a pipeline, quiet."""
    pipe: Any = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
        vae=autoencoder,
        text_encoder=text,
        tokenizer=tokens.build(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_pipeline(options: Options, unet: nn.Module, scheduler: Any) -> None:
    """Write a StableDiffusionPipeline folder: float16 on disk, complete before it takes the old one's place."""
    pipe = assemble(_half(vae.load(options)), _half(text_stage.load(options)), _half(unet), scheduler)
    fresh = options.pipeline.with_name("pipeline.new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipe.save_pretrained(fresh, safe_serialization=True)
    tokens.save(fresh / "tokenizer")
    _load_as_float32(fresh / "text_encoder" / "config.json")
    size = {"width": scenes.SIZE, "height": scenes.SIZE}
    defaults = {"name": NAME, "steps": STEPS, "guidance_scale": GUIDANCE_SCALE, **size}
    (fresh / "pixwire_defaults.json").write_text(json.dumps(defaults, indent=2) + "\n", encoding="utf-8")
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)
    old = options.pipeline.with_name("pipeline.old")
    shutil.rmtree(old, ignore_errors=True)
    if options.pipeline.exists():
        os.replace(options.pipeline, old)
    os.replace(fresh, options.pipeline)
    shutil.rmtree(old, ignore_errors=True)


def _half(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to("cpu", torch.float16)


def _load_as_float32(config: Path) -> None:
    """transformers keeps the stored type where diffusers loads float32: say float32, or the parts would not match."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields.pop("torch_dtype", None)
    fields["dtype"] = "float32"
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
