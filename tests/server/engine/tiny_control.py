"""Tiny pipelines with a ControlNet: two models in every step (see `tiny_pipelines`)."""

from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    QwenImageControlNetModel,
    QwenImageControlNetPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from tiny_pipelines import flux, qwen, sd15, sdxl


def controlnet() -> StableDiffusionControlNetPipeline:
    """As `sd15`, with a ControlNet."""
    torch.manual_seed(2)
    net = ControlNetModel(
        in_channels=4, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16, cross_attention_dim=32,
        attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        conditioning_embedding_out_channels=(16, 32),
    )  # fmt: skip
    return with_net(StableDiffusionControlNetPipeline, sd15(), net, requires_safety_checker=False)


def sdxl_controlnet() -> StableDiffusionXLControlNetPipeline:
    """As `sdxl`, with a ControlNet."""
    torch.manual_seed(2)
    net = ControlNetModel(
        in_channels=4, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16, cross_attention_dim=64,
        attention_head_dim=(2, 4), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=6 * 8 + 32,
        conditioning_embedding_out_channels=(16, 32),
    )  # fmt: skip
    return with_net(StableDiffusionXLControlNetPipeline, sdxl(), net, add_watermarker=False)


def flux_controlnet() -> FluxControlNetPipeline:
    """As `flux`, with a ControlNet."""
    torch.manual_seed(2)
    net = FluxControlNetModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    return with_net(FluxControlNetPipeline, flux(), net)


def qwen_controlnet() -> QwenImageControlNetPipeline:
    """As `qwen`, with a ControlNet."""
    torch.manual_seed(2)
    net = QwenImageControlNetModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return with_net(QwenImageControlNetPipeline, qwen(), net)


def with_net(kind: Any, base: Any, net: Any, **settings: Any) -> Any:
    for parameter in net.parameters():
        if not parameter.any():  # new outputs are zero and would hide every mistake
            torch.nn.init.normal_(parameter, std=0.2)
    parts = {name: part for name, part in base.components.items() if name != "image_encoder"}
    return kind(**parts, controlnet=net.eval(), **settings)
