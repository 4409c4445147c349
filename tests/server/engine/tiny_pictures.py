"""Tiny pipelines that take pictures in further ways: control, editing, guidance (see `tiny_pipelines`)."""

from typing import Any

import torch
from diffusers import (
    ChromaInpaintPipeline,
    CogView4ControlPipeline,
    CogView4Transformer2DModel,
    ControlNetUnionModel,
    FlowMatchEulerDiscreteScheduler,
    FluxControlPipeline,
    FluxTransformer2DModel,
    HunyuanDiT2DControlNetModel,
    HunyuanDiTControlNetPipeline,
    HunyuanDiTPAGPipeline,
    PixArtSigmaPAGPipeline,
    QwenImageControlNetInpaintPipeline,
    QwenImageControlNetModel,
    SanaControlNetModel,
    SanaControlNetPipeline,
    SanaPAGPipeline,
    SD3ControlNetModel,
    StableDiffusion3ControlNetInpaintingPipeline,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3PAGPipeline,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPAGPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPAGPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPAGPipeline,
    T2IAdapter,
    ZImageControlNetInpaintPipeline,
    ZImageControlNetModel,
    ZImageControlNetPipeline,
)
from tiny_control import controlnet, sdxl_controlnet, with_net
from tiny_more import chroma, hunyuan_dit
from tiny_pipelines import FLOW_VAE, flux, kl_vae, pixart, qwen, sana, sd3, sd15, sdxl, unet, zimage
from tiny_rare import PACKED

SDXL_UNET: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "transformer_layers_per_block": (1, 2),
    "projection_class_embeddings_input_dim": 6 * 8 + 32, "cross_attention_dim": 64,
}  # fmt: skip

# ---------------------------------------------------------------------------------------------- control


def sdxl_union() -> StableDiffusionXLControlNetUnionPipeline:
    """As `sdxl`, with one ControlNet for several kinds of control."""
    torch.manual_seed(2)
    settings = {name: value for name, value in SDXL_UNET.items() if not name.startswith("up")}
    net = ControlNetUnionModel(
        in_channels=4, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16, num_control_type=2,
        conditioning_embedding_out_channels=(16, 32), num_trans_channel=32, num_proj_channel=32, num_trans_head=2,
        **settings,
    )  # fmt: skip
    return with_net(StableDiffusionXLControlNetUnionPipeline, sdxl(), net, add_watermarker=False)


def sd_adapter() -> StableDiffusionAdapterPipeline:
    """As `sd15`, with a T2I-Adapter."""
    torch.manual_seed(3)
    adapter = T2IAdapter(channels=[32, 64], num_res_blocks=1, downscale_factor=2).eval()
    parts = {name: part for name, part in sd15().components.items() if name != "image_encoder"}
    return StableDiffusionAdapterPipeline(**parts, adapter=adapter, requires_safety_checker=False)


def sdxl_adapter() -> StableDiffusionXLAdapterPipeline:
    """As `sdxl`, with a T2I-Adapter."""
    torch.manual_seed(3)
    adapter = T2IAdapter(channels=[32, 64], num_res_blocks=1, downscale_factor=4, adapter_type="full_adapter_xl")
    return StableDiffusionXLAdapterPipeline(**sdxl().components, adapter=adapter.eval())


def flux_control() -> FluxControlPipeline:
    """As `flux`, the control image in further channels."""
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        **PACKED | {"in_channels": 32, "out_channels": 16}, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()  # fmt: skip
    parts = {
        name: part for name, part in flux().components.items() if name not in {"image_encoder", "feature_extractor"}
    }
    return FluxControlPipeline(**parts | {"transformer": model})


def cogview4_control() -> CogView4ControlPipeline:
    """As `cogview4`, the control image in further channels."""
    torch.manual_seed(0)
    model = CogView4Transformer2DModel(
        patch_size=2, in_channels=8, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4,
    ).eval()  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    )
    vae = kl_vae(**FLOW_VAE | {"shift_factor": 0.0})
    return CogView4ControlPipeline(transformer=model, scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None)


def hunyuan_dit_controlnet() -> HunyuanDiTControlNetPipeline:
    """As `hunyuan_dit`, with a ControlNet."""
    torch.manual_seed(2)
    net = HunyuanDiT2DControlNetModel(
        sample_size=16, transformer_num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3,
        in_channels=4, cross_attention_dim=32, cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24,
    )  # fmt: skip
    return with_net(HunyuanDiTControlNetPipeline, hunyuan_dit(), net, requires_safety_checker=False)


def sana_controlnet() -> SanaControlNetPipeline:
    """As `sana`, with a ControlNet."""
    torch.manual_seed(2)
    net = SanaControlNetModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=32,
    )  # fmt: skip
    return with_net(SanaControlNetPipeline, sana(), net)


def _sd3_net(**settings: Any) -> SD3ControlNetModel:
    torch.manual_seed(2)
    return SD3ControlNetModel(
        sample_size=16, patch_size=1, in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=64, out_channels=16, **settings,
    )  # fmt: skip


def sd3_controlnet() -> StableDiffusion3ControlNetPipeline:
    """As `sd3`, with a ControlNet."""
    return with_net(StableDiffusion3ControlNetPipeline, sd3(), _sd3_net())


def sd3_controlnet_inpaint() -> StableDiffusion3ControlNetInpaintingPipeline:
    """As `sd3`, with a ControlNet for inpainting."""
    return with_net(StableDiffusion3ControlNetInpaintingPipeline, sd3(), _sd3_net(extra_conditioning_channels=1))


def qwen_controlnet_inpaint() -> QwenImageControlNetInpaintPipeline:
    """As `qwen`, with a ControlNet for inpainting."""
    torch.manual_seed(2)
    net = QwenImageControlNetModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4), extra_condition_channels=4,
    )  # fmt: skip
    return with_net(QwenImageControlNetInpaintPipeline, qwen(), net)


def _zimage_net(channels: int) -> ZImageControlNetModel:
    torch.manual_seed(2)
    return ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=channels, dim=32,
        n_refiner_layers=1, n_heads=2, n_kv_heads=2, add_control_noise_refiner="control_noise_refiner",
    )  # fmt: skip


def zimage_controlnet() -> ZImageControlNetPipeline:
    """As `zimage`, with a ControlNet."""
    return with_net(ZImageControlNetPipeline, zimage(), _zimage_net(16))


def zimage_controlnet_inpaint() -> ZImageControlNetInpaintPipeline:
    """As `zimage`, with a ControlNet that knows masks."""
    return with_net(ZImageControlNetInpaintPipeline, zimage(), _zimage_net(33))


# ---------------------------------------------------------------------------------------------- editing


def pix2pix() -> StableDiffusionInstructPix2PixPipeline:
    """As `sd15`, the picture in further channels, three rows for each image."""
    parts = dict(sd15().components) | {"unet": unet(in_channels=8)}
    return StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)


def sdxl_pix2pix() -> StableDiffusionXLInstructPix2PixPipeline:
    """As `sdxl`, the picture in further channels, three rows for each image."""
    gone = ("image_encoder", "feature_extractor")
    parts = {name: part for name, part in sdxl().components.items() if name not in gone}
    return StableDiffusionXLInstructPix2PixPipeline(
        **parts | {"unet": unet(in_channels=8, **SDXL_UNET)}, add_watermarker=False
    )


def chroma_inpaint() -> ChromaInpaintPipeline:
    """As `chroma`."""
    return ChromaInpaintPipeline(**chroma().components)


# ---------------------------------------------------------------------------------------------- guidance


def sd_pag() -> StableDiffusionPAGPipeline:
    """As `sd15`, with perturbed attention guidance."""
    return StableDiffusionPAGPipeline(**sd15().components, requires_safety_checker=False, pag_applied_layers="mid")


def sdxl_pag() -> StableDiffusionXLPAGPipeline:
    """As `sdxl`, with perturbed attention guidance."""
    return StableDiffusionXLPAGPipeline(**sdxl().components, add_watermarker=False, pag_applied_layers="mid")


def sd_controlnet_pag() -> StableDiffusionControlNetPAGPipeline:
    """As `controlnet`, with perturbed attention guidance."""
    return StableDiffusionControlNetPAGPipeline(
        **controlnet().components, requires_safety_checker=False, pag_applied_layers="mid"
    )


def sdxl_controlnet_pag() -> StableDiffusionXLControlNetPAGPipeline:
    """As `sdxl_controlnet`, with perturbed attention guidance."""
    return StableDiffusionXLControlNetPAGPipeline(
        **sdxl_controlnet().components, add_watermarker=False, pag_applied_layers="mid"
    )


def sd3_pag() -> StableDiffusion3PAGPipeline:
    """As `sd3`, with perturbed attention guidance."""
    gone = ("image_encoder", "feature_extractor")
    parts = {name: part for name, part in sd3().components.items() if name not in gone}
    return StableDiffusion3PAGPipeline(**parts, pag_applied_layers="blocks.(0|1)")


def pixart_pag() -> PixArtSigmaPAGPipeline:
    """As `pixart`, with perturbed attention guidance."""
    return PixArtSigmaPAGPipeline(**pixart().components, pag_applied_layers="blocks.1")


def sana_pag() -> SanaPAGPipeline:
    """As `sana`, with perturbed attention guidance."""
    return SanaPAGPipeline(**sana().components, pag_applied_layers="transformer_blocks.1")


def hunyuan_dit_pag() -> HunyuanDiTPAGPipeline:
    """As `hunyuan_dit`, with perturbed attention guidance."""
    return HunyuanDiTPAGPipeline(
        **hunyuan_dit().components, requires_safety_checker=False, pag_applied_layers="blocks.1"
    )
