"""Tiny pipelines of the latest transformers, most of which take their text from a large language model.

Their texts are embeddings made here (see `tiny_pipelines`), or `encode_prompt` is replaced (`spoken`) where a pipeline
takes no embeddings: what is tested is the loop.
"""

import zlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    AutoencoderTiny,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    BriaFiboEditPipeline,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    DreamLiteMobilePipeline,
    DreamLitePipeline,
    DreamLiteUNetModel,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    PRXPixelPipeline,
    PRXTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    ZImageOmniPipeline,
    ZImageTransformer2DModel,
)
from tiny_more import flux2_klein
from tiny_pipelines import FLOW_VAE, kl_vae, noise, qwen, zimage
from tiny_rare import PACKED


def spoken(prompt: str, *shape: int) -> torch.Tensor:
    """Embeddings that differ from prompt to prompt."""
    return noise(*shape, seed=zlib.crc32(prompt.encode()))


def _flux2_vae() -> AutoencoderKLFlux2:
    return flux2_klein().vae


def wan_vae(levels: int = 3, **settings: Any) -> AutoencoderKLWan:
    torch.manual_seed(1)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1] * levels, num_res_blocks=1, temperal_downsample=[False] * (levels - 1),
        latents_mean=[0.0] * 16, latents_std=[1.0] * 16, **settings,
    ).eval()  # fmt: skip


def bria_fibo2() -> BriaFibo2Pipeline:
    """DiT with a summary of its text; edits pictures, too."""
    torch.manual_seed(0)
    model = BriaFibo2Transformer2DModel(
        in_channels=4, patch_size=2, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, cap_feat_dim=16,
        injection_layer_ids=(1,), perceiver_num_layers=1, min_num_gist_tokens=4, max_num_gist_tokens=8, gist_step=4,
        gist_min_text_len=4, gist_max_text_len=32, axes_dims=(8, 4, 4), axes_lens=(256, 32, 32),
    ).eval()  # fmt: skip
    return BriaFibo2Pipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), vae=_flux2_vae(), text_encoder=None,
        processor=None,
    )  # fmt: skip


def _bria_fibo(kind: Any) -> Any:
    torch.manual_seed(0)
    settings = PACKED | {"joint_attention_dim": 32}
    model = BriaFiboTransformer2DModel(**settings, axes_dims_rope=[4, 4, 8], text_encoder_dim=16).eval()
    return kind(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), vae=wan_vae(5), text_encoder=None,
        tokenizer=None,
    )  # fmt: skip


def bria_fibo() -> BriaFiboPipeline:
    """Packed MMDiT over the layers of its text encoder."""
    return _bria_fibo(BriaFiboPipeline)  # type: ignore[no-any-return]


def bria_fibo_edit() -> BriaFiboEditPipeline:
    """As `bria_fibo`, for editing."""
    return _bria_fibo(BriaFiboEditPipeline)  # type: ignore[no-any-return]


def fibo_speak(self: Any, prompt: Any, *_: Any, negative_prompt: Any = None, num_images_per_prompt: int = 1,
               **__: Any) -> tuple[Any, ...]:  # fmt: skip
    """`encode_prompt` of Bria Fibo."""
    dtype = self.transformer.dtype
    made = []
    for text in (str(prompt), str(negative_prompt)):
        embeds = spoken(text, 1, 6, 32).to(dtype).repeat(num_images_per_prompt, 1, 1)
        layers = [spoken(f"{text}{i}", 1, 6, 16).to(dtype).repeat(num_images_per_prompt, 1, 1) for i in range(2)]
        made.append((embeds, torch.ones(num_images_per_prompt, 6, dtype=dtype), layers))
    (embeds, masks, layers), (other, other_masks, other_layers) = made
    return embeds, other, torch.zeros(6, 3), masks, other_masks, layers, other_layers


def _dreamlite(kind: Any) -> Any:
    torch.manual_seed(0)
    model = DreamLiteUNetModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=DREAM_DOWN, up_block_types=DREAM_UP, use_sep_conv=True,
        addition_embed_type="time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=16, ff_mult=2,
    ).eval()  # fmt: skip
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    ).eval()  # fmt: skip
    return kind(
        text_encoder=_Typed(), tokenizer=None, processor=None, vae=vae, unet=model,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip


DREAM_DOWN = ("DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D")
DREAM_UP = ("DreamLiteCrossAttnUpBlock2D", "DreamLiteCrossAttnNoSelfAttnUpBlock2D")


class _Typed(torch.nn.Linear):
    """A text encoder of which nothing but its type is asked."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device


def dreamlite() -> DreamLitePipeline:
    """UNet that sees a picture to edit beside the image; three rows for editing."""
    return _dreamlite(DreamLitePipeline)  # type: ignore[no-any-return]


def dreamlite_mobile() -> DreamLiteMobilePipeline:
    """As `dreamlite`, few steps without guidance."""
    return _dreamlite(DreamLiteMobilePipeline)  # type: ignore[no-any-return]


def dream_speak(self: Any, mode: str, prompts: list[str], *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """`encode_prompt` of DreamLite."""
    made = torch.cat([spoken(mode + text, 1, 6, 32) for text in prompts]).to(self.unet.dtype)
    return made, torch.ones(len(prompts), 6, dtype=torch.bool)


def fibo2_text(seed: int) -> Mapping[str, object]:
    made: dict[str, object] = {}
    for i, sign in enumerate(("", "negative_")):
        made[f"{sign}prompt_embeds"] = noise(1, 2, 6, 16, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_mask"] = torch.ones(1, 6, dtype=torch.bool)
    return made


def ernie() -> ErnieImagePipeline:
    """DiT over text and image with the lengths of the texts."""
    torch.manual_seed(0)
    model = ErnieImageTransformer2DModel(
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
        text_in_dim=16, rope_axes_dim=(8, 4, 4),
    ).eval()  # fmt: skip
    return ErnieImagePipeline(
        transformer=model, vae=_flux2_vae(), text_encoder=None, tokenizer=None,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def ernie_text(seed: int) -> Mapping[str, object]:
    return {"prompt_embeds": [noise(7, 16, seed=seed)], "negative_prompt_embeds": [noise(5, 16, seed=seed + 1000)]}


def glm() -> GlmImagePipeline:
    """DiT that refines what a language model drafted as tokens."""
    torch.manual_seed(0)
    model = GlmImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        text_embed_dim=32, time_embed_dim=16, condition_dim=8, prior_vq_quantizer_codebook_size=32,
    ).eval()  # fmt: skip
    vae = kl_vae(4, scaling_factor=0.5, shift_factor=0.0, latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    return GlmImagePipeline(
        tokenizer=None, processor=None, text_encoder=None, vision_language_encoder=None, vae=vae, transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="linear"),
    )  # fmt: skip


def glm_text(seed: int) -> Mapping[str, object]:
    drafted = torch.randint(0, 32, (1, 64), generator=torch.Generator().manual_seed(seed))
    return {
        "prompt_embeds": noise(1, 6, 32, seed=seed),
        "negative_prompt_embeds": noise(1, 6, 32, seed=seed + 1000),
        "prior_token_ids": drafted,
    }


def hidream() -> HiDreamImagePipeline:
    """MMDiT with experts and four texts."""
    torch.manual_seed(0)
    model = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=64, num_routed_experts=4,
        num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=(0, 1),
    ).eval()  # fmt: skip
    parts = {f"{kind}{suffix}": None for kind in ("text_encoder", "tokenizer") for suffix in ("", "_2", "_3", "_4")}
    made = HiDreamImagePipeline(
        **parts, scheduler=FlowMatchEulerDiscreteScheduler(), vae=kl_vae(**FLOW_VAE), transformer=model
    )
    made.default_sample_size = 16  # or the plain pipeline would make a megapixel
    return made


def hidream_text(seed: int) -> Mapping[str, object]:
    made: dict[str, object] = {}
    for i, sign in enumerate(("", "negative_")):
        made[f"{sign}prompt_embeds_t5"] = noise(1, 6, 32, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_llama3"] = noise(2, 1, 6, 16, seed=seed + 1000 * i + 1)
        made[f"{sign}pooled_prompt_embeds"] = noise(1, 64, seed=seed + 1000 * i + 2)
    return made


def ideogram4() -> Ideogram4Pipeline:
    """DiT over packed text and image, and a second one without text."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(
            Ideogram4Transformer2DModel(
                in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, intermediate_size=32,
                adaln_dim=16, llm_features_dim=16, mrope_section=(4, 2, 2),
            ).eval()
        )  # fmt: skip
    return Ideogram4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=_flux2_vae(), text_encoder=None, tokenizer=None,
        transformer=models[0], unconditional_transformer=models[1],
    )  # fmt: skip


def ideogram_speak(self: Any, prompt: Any, grid_h: int, grid_w: int, max_sequence_length: int, device: Any) -> Any:
    """`encode_prompt` of Ideogram 4: text, positions, segments and what is text or image."""
    words = torch.cat([spoken(str(prompt), 1, max_sequence_length, 16), torch.zeros(1, grid_h * grid_w, 16)], 1)
    ids = self._prepare_ids([max_sequence_length - 2], grid_h, grid_w, max_sequence_length, device)
    return words.to(self.transformer.dtype), *ids


def longcat() -> LongCatImagePipeline:
    """Packed MMDiT with real guidance."""
    torch.manual_seed(0)
    model = LongCatImageTransformer2DModel(
        **PACKED | {"in_channels": 64}, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8]
    ).eval()
    return LongCatImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=kl_vae(16, **FLOW_VAE),
        text_encoder=None, tokenizer=None, text_processor=None, transformer=model,
    )  # fmt: skip


def longcat_speak(self: Any, prompt: Any, num_images_per_prompt: int = 1, prompt_embeds: Any = None) -> Any:
    """`encode_prompt` of LongCat-Image: text and its positions."""
    words = spoken(str(prompt), 1, 9, 32).to(self.transformer.dtype).repeat(num_images_per_prompt, 1, 1)
    return words, torch.arange(9).view(-1, 1).expand(-1, 3).to(words.dtype)


def nucleus() -> NucleusMoEImagePipeline:
    """MMDiT whose experts choose their tokens."""
    torch.manual_seed(0)
    model = NucleusMoEImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4), num_experts=4, moe_intermediate_dim=16,
        capacity_factors=2.0, dense_moe_strategy="leave_first_block_dense",
    ).eval()  # fmt: skip
    for name, parameter in model.named_parameters():
        if "experts" in name or not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)  # left empty by the constructor
    return NucleusMoEImagePipeline(
        transformer=model, vae=qwen().vae, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None,
        processor=None,
    )  # fmt: skip


def nucleus_text(seed: int) -> Mapping[str, object]:
    made: dict[str, object] = {}
    for i, sign in enumerate(("", "negative_")):
        made[f"{sign}prompt_embeds"] = noise(1, 6, 16, seed=seed + 1000 * i)
        made[f"{sign}prompt_embeds_mask"] = torch.ones(1, 6, dtype=torch.long)
    return made


def prx_pixel() -> PRXPixelPipeline:
    """As `prx`, over pixels."""
    torch.manual_seed(0)
    model = PRXTransformer2DModel(
        in_channels=3, patch_size=4, context_in_dim=32, hidden_size=16, mlp_ratio=2.0, num_heads=2, depth=1,
        axes_dim=[4, 4],
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return PRXPixelPipeline(
        transformer=model, scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=None, tokenizer=None,
        default_sample_size=32,
    )  # fmt: skip


def qwen21() -> QwenImage21Pipeline:
    """DiT that sees text before the image."""
    torch.manual_seed(0)
    model = QwenImage21Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=16,
        mlp_ratio=1, axes_dims_rope=(8, 4, 4),
    ).eval()  # fmt: skip
    torch.manual_seed(1)
    vae = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
        temperal_downsample=[False, False, False, False], latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).eval()  # fmt: skip
    return QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=None,
        processor=_Template(),
        transformer=model,
    )


def qwen21_speak(self: Any, prompt: Any = None, image: Any = None, num_images_per_prompt: int = 1, **__: Any) -> Any:
    """`encode_prompt` of Qwen-Image 2.1: four words, and the places of the pictures' tokens, four latents each."""
    slots = sum(picture.width * picture.height // 32**2 for picture in image or ())
    words = spoken(str(prompt), 1, 4 + slots, 16).to(self.transformer.dtype).repeat(num_images_per_prompt, 1, 1)
    seen = torch.zeros(1, 4 + slots, dtype=torch.bool)
    seen[:, 1 : 1 + slots] = True
    return words, None, seen


class _Template:
    """A processor of which the length of a system message is asked."""

    tokenizer = SimpleNamespace(encode=lambda text: [0])

    def apply_chat_template(self, *_: Any, **__: Any) -> list[list[int]]:
        return [[0]]


def zimage_omni() -> ZImageOmniPipeline:
    """As `zimage`, for several pictures as input, here without any."""
    base = zimage()
    settings = {name: value for name, value in base.transformer.config.items() if not name.startswith("_")}
    torch.manual_seed(0)
    model = ZImageTransformer2DModel(**settings | {"siglip_feat_dim": 16}).eval()
    for name in ("x_pad_token", "cap_pad_token", "siglip_pad_token"):
        torch.nn.init.ones_(getattr(model, name))
    parts = dict(base.components) | {"transformer": model, "siglip": None, "siglip_processor": None}
    return ZImageOmniPipeline(**parts)


def omni_text(seed: int) -> Mapping[str, object]:
    return {
        "prompt_embeds": [[noise(9, 16, seed=seed)]],
        "negative_prompt_embeds": [[noise(9, 16, seed=seed + 1000)]],
    }
