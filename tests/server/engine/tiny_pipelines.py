"""Tiny pipelines with random weights, built from configurations alone: one builder for each kind of denoiser."""

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW_VAE = {"shift_factor": 0.0609, "scaling_factor": 1.5305, "use_quant_conv": False, "use_post_quant_conv": False}


def tokenizer() -> CLIPTokenizer:
    """A byte-level tokenizer with two words."""
    letters = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
    words += [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges, model_max_length=77)


def text_encoder(projection: bool = False, width: int = 32) -> torch.nn.Module:
    torch.manual_seed(0)
    size = len(tokenizer())
    config = CLIPTextConfig(
        bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1, hidden_size=width, intermediate_size=37,
        num_attention_heads=4, num_hidden_layers=2, vocab_size=size, projection_dim=width,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def kl_vae(latents: int = 4, blocks: tuple[int, ...] = (16, 32), **config: object) -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=blocks, latent_channels=latents, norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * len(blocks), up_block_types=("UpDecoderBlock2D",) * len(blocks),
        **config,
    ).eval()  # fmt: skip


def unet(**config: object) -> UNet2DConditionModel:
    torch.manual_seed(0)
    settings = {
        "sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 1,
        "norm_num_groups": 16, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": 32, "attention_head_dim": 2,
    }  # fmt: skip
    return UNet2DConditionModel(**settings | config).eval()


def sd15(scheduler: object = None) -> StableDiffusionPipeline:
    """UNet, one text encoder, DDIM."""
    ddim = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return StableDiffusionPipeline(
        vae=kl_vae(), text_encoder=text_encoder(), tokenizer=tokenizer(), unet=unet(), scheduler=scheduler or ddim,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl() -> StableDiffusionXLPipeline:
    """UNet with added conditions, two text encoders, Euler."""
    model = unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=6 * 8 + 32, cross_attention_dim=64,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        # Without force_upcast: the plain pipeline narrows the VAE to float32 to encode, also from float64.
        vae=kl_vae(force_upcast=False), text_encoder=text_encoder(), text_encoder_2=text_encoder(projection=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(), unet=model, add_watermarker=False,
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
    )  # fmt: skip


def sd3() -> StableDiffusion3Pipeline:
    """MMDiT, flow matching."""
    torch.manual_seed(0)
    model = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=64, out_channels=16,
    ).eval()  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=kl_vae(16, **FLOW_VAE),
        text_encoder=text_encoder(projection=True), tokenizer=tokenizer(), text_encoder_2=text_encoder(projection=True),
        tokenizer_2=tokenizer(), text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip


def flux() -> FluxPipeline:
    """MMDiT over packed tokens with position ids; takes embeddings (`flux_text`)."""
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).eval()  # fmt: skip
    return FluxPipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=kl_vae(**FLOW_VAE),
        text_encoder=text_encoder(), tokenizer=tokenizer(), text_encoder_2=None, tokenizer_2=None,
    )  # fmt: skip


def pixart() -> PixArtSigmaPipeline:
    """DiT with masked text; takes embeddings (`masked_text`)."""
    torch.manual_seed(0)
    model = PixArtTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        in_channels=4,
        cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
    ).eval()  # fmt: skip
    return PixArtSigmaPipeline(
        tokenizer=None, text_encoder=None, vae=kl_vae(), transformer=model, scheduler=DPMSolverMultistepScheduler()
    )


def lumina2() -> Lumina2Pipeline:
    """DiT whose positions depend on the length of the text; takes embeddings (`masked_text`)."""
    torch.manual_seed(0)
    model = Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, hidden_size=8, num_layers=2, num_attention_heads=1,
        num_kv_heads=1, multiple_of=16,
        norm_eps=1e-5, scaling_factor=1.0, axes_dim_rope=[4, 2, 2], cap_feat_dim=8,
    ).eval()  # fmt: skip
    return Lumina2Pipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(**FLOW_VAE),
        text_encoder=None,
        tokenizer=None,
    )


def sana() -> SanaPipeline:
    """Linear DiT, deep-compression VAE, flow DPM++; takes embeddings (`masked_text`)."""
    torch.manual_seed(0)
    model = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=32,
    ).eval()  # fmt: skip
    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    ).eval()  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    return SanaPipeline(transformer=model, vae=vae, scheduler=scheduler, text_encoder=None, tokenizer=None)


def qwen() -> QwenImagePipeline:
    """MMDiT with ragged text whose mask the pipeline drops when it is full; takes embeddings (`ragged_text`)."""
    torch.manual_seed(0)
    model = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    ).eval()  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).eval()  # fmt: skip
    return QwenImagePipeline(
        transformer=model, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None
    )


def zimage() -> ZImagePipeline:
    """DiT that takes and returns lists of rows; takes embeddings (`listed_text`)."""
    torch.manual_seed(0)
    model = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2,
        norm_eps=1e-5, qk_norm=True, cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0, axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    ).eval()  # fmt: skip
    torch.nn.init.ones_(model.x_pad_token)
    torch.nn.init.ones_(model.cap_pad_token)
    return ZImagePipeline(
        transformer=model, vae=kl_vae(16, scaling_factor=0.3611, shift_factor=0.1159), text_encoder=None,
        tokenizer=None,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flux_text(seed: int, length: int = 12) -> dict[str, object]:
    return {"prompt_embeds": noise(1, length, 32, seed=seed), "pooled_prompt_embeds": noise(1, 32, seed=seed)}


def masked_text(seed: int, length: int, width: int) -> dict[str, object]:
    """Embeddings and masks of `length` words, and of five for the negative text."""
    return {
        "prompt_embeds": noise(1, length, width, seed=seed),
        "prompt_attention_mask": torch.ones(1, length, dtype=torch.long),
        "negative_prompt_embeds": noise(1, length, width, seed=seed + 1000),
        "negative_prompt_attention_mask": torch.ones(1, length, dtype=torch.long),
    }


def ragged_text(seed: int, length: int) -> dict[str, object]:
    return {
        "prompt_embeds": noise(1, length, 16, seed=seed),
        "prompt_embeds_mask": torch.ones(1, length, dtype=torch.long),
        "negative_prompt_embeds": noise(1, 6, 16, seed=seed + 1000),
        "negative_prompt_embeds_mask": torch.ones(1, 6, dtype=torch.long),
    }


def listed_text(seed: int, length: int) -> dict[str, object]:
    return {"prompt_embeds": [noise(length, 16, seed=seed)], "negative_prompt_embeds": [noise(7, 16, seed=seed + 1000)]}
