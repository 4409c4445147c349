"""Tiny pipelines for editing pictures, over pixels, and with a quantising VAE (see `tiny_pipelines`)."""

from collections.abc import Mapping

import torch
from diffusers import (
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    IFPipeline,
    JoyImageEditPipeline,
    JoyImageEditTransformer3DModel,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    VQModel,
)
from tiny_more import flux2_klein
from tiny_new import wan_vae
from tiny_pipelines import noise, qwen, tokenizer, unet


def one_size(area: int, ratio: float) -> tuple[int, int, None]:
    """In place of the pipelines' choice of a megapixel for the picture they look at."""
    return 32, 32, None


def one_size_plus(area: int, ratio: float) -> tuple[int, int]:
    return 32, 32


def qwen_edit() -> QwenImageEditPipeline:
    """As `qwen`, the picture as further tokens; see `one_size`."""
    return QwenImageEditPipeline(**qwen().components, processor=None)


def qwen_edit_plus() -> QwenImageEditPlusPipeline:
    """As `qwen_edit`, the later version."""
    return QwenImageEditPlusPipeline(**qwen().components, processor=None)


def flux2_klein_kv() -> Flux2KleinKVPipeline:
    """As `flux2_klein`, the picture in caches of the attention."""
    return Flux2KleinKVPipeline(**flux2_klein().components)


def joy_edit() -> JoyImageEditPipeline:
    """Video MMDiT over a picture and the image as two frames."""
    torch.manual_seed(0)
    model = JoyImageEditTransformer3DModel(
        in_channels=16, hidden_size=32, num_attention_heads=2, text_dim=16, num_layers=1, rope_dim_list=[8, 4, 4],
        mlp_width_ratio=2.0,
    ).eval()  # fmt: skip
    made = JoyImageEditPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=wan_vae(4), text_encoder=None, tokenizer=tokenizer(),
        transformer=model, processor=None,
    )  # fmt: skip
    # The plain pipeline would make a megapixel.
    made.vae_image_processor.get_default_height_width = lambda image, height, width: (height, width)
    return made


def deepfloyd() -> IFPipeline:
    """UNet over pixels that predicts the variance, too."""
    model = unet(in_channels=3, out_channels=6, sample_size=32)
    scheduler = DDPMScheduler(variance_type="learned_range", thresholding=True, beta_schedule="squaredcos_cap_v2")
    return IFPipeline(
        tokenizer=None, text_encoder=None, unet=model, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, watermarker=None, requires_safety_checker=False,
    )  # fmt: skip


def if_text(seed: int) -> Mapping[str, object]:
    return {"prompt_embeds": noise(1, 7, 32, seed=seed), "negative_prompt_embeds": noise(1, 7, 32, seed=seed + 1000)}


def kandinsky3() -> Kandinsky3Pipeline:
    """UNet with masked text and a quantising VAE."""
    torch.manual_seed(0)
    model = Kandinsky3UNet(
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
        block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=32,
    ).eval()  # fmt: skip
    torch.manual_seed(1)
    movq = VQModel(
        block_out_channels=(32, 64), in_channels=3, latent_channels=4, layers_per_block=1, norm_num_groups=8,
        norm_type="spatial", num_vq_embeddings=12, out_channels=3, vq_embed_dim=4,
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    ).eval()  # fmt: skip
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, steps_offset=1, beta_schedule="squaredcos_cap_v2")
    return Kandinsky3Pipeline(tokenizer=None, text_encoder=None, unet=model, scheduler=scheduler, movq=movq)


def kandinsky3_text(seed: int) -> Mapping[str, object]:
    mask = torch.ones(1, 7, dtype=torch.long)
    return dict(if_text(seed)) | {"attention_mask": mask, "negative_attention_mask": mask}
