"""More tiny pipelines with random weights (see `tiny_pipelines`): transformers and few-step models."""

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    PixArtAlphaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from tiny_pipelines import BETAS, FLOW_VAE, kl_vae, noise, pixart, sana, sd3, sd15, sdxl, text_encoder, tokenizer, unet


def sd2() -> StableDiffusionPipeline:
    """As `sd15`, predicting v, with linear projections."""
    made = sd15(DPMSolverMultistepScheduler(**BETAS, prediction_type="v_prediction", steps_offset=1))
    made.register_modules(unet=unet(use_linear_projection=True, attention_head_dim=(2, 4)))
    return made


def lcm() -> LatentConsistencyModelPipeline:
    """As `sd15`, few steps, guidance as an embedding."""
    base = sd15(LCMScheduler(**BETAS, original_inference_steps=50, steps_offset=1))
    parts = {name: part for name, part in base.components.items() if name != "image_encoder"}
    parts["unet"] = unet(time_cond_proj_dim=32)
    return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def turbo() -> StableDiffusionXLPipeline:
    """As `sdxl`, few steps without guidance."""
    made = sdxl()
    made.register_modules(scheduler=EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"))
    return made


def sd35() -> StableDiffusion3Pipeline:
    """As `sd3`, with dual attention and normalised queries."""
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=64, out_channels=16,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    ).eval()  # fmt: skip
    made = sd3()
    made.register_modules(transformer=model)
    return made


def pixart_alpha() -> PixArtAlphaPipeline:
    """As `pixart`, the earlier pipeline."""
    return PixArtAlphaPipeline(**pixart().components)


def sana_sprint() -> SanaSprintPipeline:
    """As `sana`, few steps."""
    base = sana()
    torch.manual_seed(0)
    config = {name: value for name, value in base.transformer.config.items() if not name.startswith("_")}
    model = SanaTransformer2DModel(**config | {"guidance_embeds": True}).eval()
    return SanaSprintPipeline(
        tokenizer=None, text_encoder=None, vae=base.vae, transformer=model, scheduler=SCMScheduler()
    )


def chroma() -> ChromaPipeline:
    """Flux without pooled text, with masks and real guidance."""
    torch.manual_seed(0)
    model = ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=[4, 4, 8], approximator_hidden_dim=32, approximator_layers=1,
        approximator_num_channels=16,
    ).eval()  # fmt: skip
    return ChromaPipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(**FLOW_VAE),
        text_encoder=None,
        tokenizer=None,
    )


def chroma_text(seed: int) -> dict[str, object]:
    return {
        "prompt_embeds": noise(1, 12, 32, seed=seed),
        "prompt_attention_mask": torch.ones(1, 12),
        "negative_prompt_embeds": noise(1, 12, 32, seed=seed + 1000),
        "negative_prompt_attention_mask": torch.ones(1, 12),
    }


def auraflow() -> AuraFlowPipeline:
    """MMDiT without pooled text."""
    torch.manual_seed(0)
    model = AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, out_channels=4,
        pos_embed_max_size=256,
    ).eval()  # fmt: skip
    return AuraFlowPipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(**FLOW_VAE),
        text_encoder=None,
        tokenizer=None,
    )


def cogview4() -> CogView4Pipeline:
    """DiT whose text is padded by the pipeline; sizes as conditions."""
    torch.manual_seed(0)
    model = CogView4Transformer2DModel(
        patch_size=2, in_channels=4, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4,
    ).eval()  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    )
    vae = kl_vae(**FLOW_VAE | {"shift_factor": 0.0})
    return CogView4Pipeline(transformer=model, scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None)


def cogview3() -> CogView3PlusPipeline:
    """As `cogview4`, earlier."""
    torch.manual_seed(0)
    model = CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4, pos_embed_max_size=16, sample_size=16,
    ).eval()  # fmt: skip
    return CogView3PlusPipeline(
        transformer=model, scheduler=CogVideoXDDIMScheduler(), vae=kl_vae(), text_encoder=None, tokenizer=None
    )


def _flux2(kind: Any, guidance: bool) -> Any:
    torch.manual_seed(0)
    model = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=[4, 4, 4, 4], guidance_embeds=guidance,
    ).eval()  # fmt: skip
    vae = AutoencoderKLFlux2(
        sample_size=32, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8, use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler()
    return kind(transformer=model, scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None)


def flux2() -> Flux2Pipeline:
    """MMDiT over packed tokens with four position ids, guidance as an embedding."""
    return _flux2(Flux2Pipeline, guidance=True)


def flux2_klein() -> Flux2KleinPipeline:
    """As `flux2`, with real guidance."""
    return _flux2(Flux2KleinPipeline, guidance=False)


def hunyuan_dit() -> HunyuanDiTPipeline:
    """DiT with two texts, sizes and a style."""
    torch.manual_seed(0)
    model = HunyuanDiT2DModel(
        sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
        cross_attention_dim=32, cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24,
    ).eval()  # fmt: skip
    return HunyuanDiTPipeline(
        transformer=model, scheduler=DDPMScheduler(), vae=kl_vae(blocks=(8, 8, 8, 8)), text_encoder=text_encoder(),
        tokenizer=tokenizer(), text_encoder_2=None, tokenizer_2=None, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def hunyuan_dit_text(seed: int) -> dict[str, object]:
    made: dict[str, object] = {}
    for i, (sign, suffix, length) in enumerate(
        (s, x, n) for s in ("", "negative_") for x, n in (("", 77), ("_2", 256))
    ):
        made[f"{sign}prompt_embeds{suffix}"] = noise(1, length, 32, seed=seed + 1000 * i)
        made[f"{sign}prompt_attention_mask{suffix}"] = torch.ones(1, length, dtype=torch.long)
    return made


def hunyuan_image() -> HunyuanImagePipeline:
    """MMDiT with two masked texts; guidance by a component that keeps state from step to step."""
    torch.manual_seed(0)
    model = HunyuanImageTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=4, attention_head_dim=8, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=(1, 1), text_embed_dim=32, text_embed_2_dim=32, rope_axes_dim=(4, 4),
    ).eval()  # fmt: skip
    vae = AutoencoderKLHunyuanImage(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 64, 64, 64), layers_per_block=1,
        spatial_compression_ratio=8, sample_size=32, scaling_factor=0.476986,
    ).eval()  # fmt: skip
    guider = AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2, enabled=True)
    return HunyuanImagePipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0), vae=vae, text_encoder=None,
        tokenizer=None, text_encoder_2=None, tokenizer_2=None, guider=guider,
    )  # fmt: skip


def hunyuan_image_text(seed: int) -> dict[str, object]:
    made: dict[str, object] = {}
    for i, (sign, suffix) in enumerate((s, x) for s in ("", "negative_") for x in ("", "_2")):
        mask = torch.ones(1, 16, dtype=torch.long)
        mask[:, 9 + seed % 3 :] = 0
        made[f"{sign}prompt_embeds{suffix}"] = noise(1, 16, 32, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_mask{suffix}"] = mask
    return made


def lumina() -> LuminaPipeline:
    """DiT with masked text, Next-DiT of the first kind."""
    torch.manual_seed(0)
    model = LuminaNextDiT2DModel(
        sample_size=16, patch_size=2, in_channels=4, hidden_size=24, num_layers=2, num_attention_heads=3,
        num_kv_heads=1, multiple_of=16, learn_sigma=True, cross_attention_dim=32,
    ).eval()  # fmt: skip
    return LuminaPipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(),
        text_encoder=None,
        tokenizer=None,
    )


def two_texts(seed: int, length: int, width: int) -> dict[str, object]:
    """Embeddings without masks."""
    return {
        "prompt_embeds": noise(1, length, width, seed=seed),
        "negative_prompt_embeds": noise(1, length, width, seed=seed + 1000),
    }
