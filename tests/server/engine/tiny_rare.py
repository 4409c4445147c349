"""Tiny pipelines of the less common transformers (see `tiny_pipelines`)."""

import torch
from diffusers import (
    BriaPipeline,
    BriaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from tiny_pipelines import FLOW_VAE, flux, kl_vae, noise, qwen, sd15, sdxl, unet

PACKED = {"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
          "num_attention_heads": 2, "joint_attention_dim": 32}  # fmt: skip
"""Flux and those made after it."""


def flux_kontext() -> FluxKontextPipeline:
    """As `flux`; can edit images, here from text alone."""
    return FluxKontextPipeline(**flux().components)


def flux_fill() -> FluxFillPipeline:
    """As `flux`, for inpainting only: picture and mask are further channels."""
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        **PACKED | {"in_channels": 48, "out_channels": 16}, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()  # fmt: skip
    parts = {name: part for name, part in flux().components.items() if part is not None}
    return FluxFillPipeline(**parts | {"transformer": model, "text_encoder_2": None, "tokenizer_2": None})


def sd_inpaint() -> StableDiffusionInpaintPipeline:
    """As `sd15`, for inpainting only."""
    parts = {name: part for name, part in sd15().components.items() if name != "image_encoder"}
    return StableDiffusionInpaintPipeline(**parts | {"unet": unet(in_channels=9)}, requires_safety_checker=False)


def sdxl_refiner() -> StableDiffusionXLImg2ImgPipeline:
    """As `sdxl`, for pictures only, with one text encoder and scores as conditions."""
    base = sdxl()
    model = unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=5 * 8 + 32, cross_attention_dim=32,
    )  # fmt: skip
    parts = {"text_encoder": None, "tokenizer": None, "unet": model}
    return StableDiffusionXLImg2ImgPipeline(
        **base.components | parts, requires_aesthetics_score=True, add_watermarker=False
    )


def ovis() -> OvisImagePipeline:
    """Packed MMDiT with real guidance."""
    torch.manual_seed(0)
    model = OvisImageTransformer2DModel(**PACKED, out_channels=16, axes_dims_rope=(4, 4, 8)).eval()
    return OvisImagePipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=kl_vae(**FLOW_VAE), text_encoder=None, tokenizer=None,
    )  # fmt: skip


def bria() -> BriaPipeline:
    """Packed MMDiT with real guidance in one pass."""
    torch.manual_seed(0)
    model = BriaTransformer2DModel(**PACKED, axes_dims_rope=[4, 4, 8]).eval()
    return BriaPipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(**FLOW_VAE),
        text_encoder=None,
        tokenizer=None,
    )


def prx() -> PRXPipeline:
    """DiT over text and image with a mask for the text."""
    torch.manual_seed(0)
    model = PRXTransformer2DModel(
        in_channels=4, patch_size=2, context_in_dim=32, hidden_size=16, mlp_ratio=2.0, num_heads=2, depth=1,
        axes_dim=[4, 4],
    ).eval()  # fmt: skip
    return PRXPipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), vae=kl_vae(**FLOW_VAE), text_encoder=None,
        tokenizer=None, default_sample_size=32,
    )  # fmt: skip


def kandinsky5() -> Kandinsky5T2IPipeline:
    """Video DiT for one frame, with two texts."""
    torch.manual_seed(0)
    model = Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=32, in_text_dim2=32, time_dim=32, out_visual_dim=4, patch_size=(1, 2, 2),
        model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 6, 6),
    ).eval()  # fmt: skip
    made = Kandinsky5T2IPipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None,
        vae=kl_vae(blocks=(8, 8, 8, 8), **FLOW_VAE),
        tokenizer=None, text_encoder_2=None, tokenizer_2=None,
    )  # fmt: skip
    made.resolutions = [(32, 32)]  # of 1024 x 1024 and the like
    return made


def kandinsky5_text(seed: int) -> dict[str, object]:
    made: dict[str, object] = {}
    for i, sign in enumerate(("", "negative_")):
        made[f"{sign}prompt_embeds_qwen"] = noise(1, 9, 32, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_clip"] = noise(1, 32, seed=seed + 1000 * i + 500)
        made[f"{sign}prompt_cu_seqlens"] = torch.tensor([0, 9], dtype=torch.int32)
    return made


def krea2() -> Krea2Pipeline:
    """DiT over text of several layers of its encoder."""
    torch.manual_seed(0)
    model = Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=2, text_num_attention_heads=1,
        text_num_key_value_heads=1, text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip
    return Krea2Pipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=qwen().vae,
        text_encoder=None,
        tokenizer=None,
    )


def krea2_text(seed: int) -> dict[str, object]:
    made: dict[str, object] = {}
    for i, sign in enumerate(("", "negative_")):
        made[f"{sign}prompt_embeds"] = noise(1, 9, 2, 16, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_mask"] = torch.ones(1, 9, dtype=torch.bool)
    return made
