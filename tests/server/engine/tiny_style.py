"""Tiny IP-Adapters with random weights, as files (see `tiny_pipelines`)."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

WIDTH = 16


def image_encoder() -> CLIPVisionModelWithProjection:
    torch.manual_seed(4)
    config = CLIPVisionConfig(
        hidden_size=16, projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=2, image_size=16,
        intermediate_size=16, patch_size=8,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


def save_adapter(denoiser: Any, folder: Path, *, encoder: bool = True) -> Path:
    """Write an IP-Adapter for a UNet or a Flux transformer into `folder/ip_adapter`."""
    place = folder / "ip_adapter"
    place.mkdir(parents=True)
    torch.manual_seed(5)
    flux = hasattr(denoiser, "transformer_blocks")
    text = denoiser.config.joint_attention_dim if flux else denoiser.config.cross_attention_dim
    layers = [
        module
        for name, module in denoiser.named_modules()
        if hasattr(module, "set_processor") and (name.startswith("transformer_blocks") or name.endswith("attn2"))
    ]
    weights = {
        "image_proj.proj.weight": torch.randn(text * 4, WIDTH) * 0.3,
        "image_proj.proj.bias": torch.zeros(text * 4),
    }
    weights |= {"image_proj.norm.weight": torch.ones(text), "image_proj.norm.bias": torch.zeros(text)}
    for i, layer in enumerate(layers):
        number, width = (i, layer.inner_dim) if flux else (2 * i + 1, layer.inner_dim)
        for part in ("k", "v"):
            weights[f"ip_adapter.{number}.to_{part}_ip.weight"] = torch.randn(width, text) * 0.3
            if flux:
                weights[f"ip_adapter.{number}.to_{part}_ip.bias"] = torch.zeros(width)
    save_file(weights, place / "adapter.safetensors")
    if encoder:
        image_encoder().save_pretrained(place / "image_encoder")
    return place
