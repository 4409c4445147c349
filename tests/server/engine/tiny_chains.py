"""Tiny pipelines with a prior, an image encoder or a large text encoder (see `tiny_pipelines`)."""

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    Kandinsky5I2IPipeline,
    Kandinsky5Transformer3DModel,
    KandinskyV22CombinedPipeline,
    KandinskyV22InpaintCombinedPipeline,
    KolorsPAGPipeline,
    KolorsPipeline,
    PriorTransformer,
    StableCascadeCombinedPipeline,
    StableCascadeUNet,
    StableDiffusionDepth2ImgPipeline,
    StableUnCLIPImg2ImgPipeline,
    StableUnCLIPPipeline,
    UnCLIPScheduler,
)
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from tiny_editing import kandinsky3
from tiny_new import spoken
from tiny_pictures import SDXL_UNET
from tiny_pipelines import sd15, sdxl, text_encoder, tokenizer, unet
from tiny_rare import kandinsky5
from tiny_style import WIDTH, image_encoder
from transformers import CLIPImageProcessor, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

SEEN = {"size": 16, "crop_size": 16}


def prior(width: int) -> PriorTransformer:
    torch.manual_seed(6)
    made = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=width, num_layers=1, num_embeddings=77,
        additional_embeddings=4,
    ).eval()  # fmt: skip
    torch.nn.init.ones_(made.clip_std)
    torch.nn.init.normal_(made.positional_embedding)
    torch.nn.init.normal_(made.prd_embedding)
    return made


def _normalizer(width: int) -> StableUnCLIPImageNormalizer:
    return StableUnCLIPImageNormalizer(embedding_dim=width)


def _prior_scheduler() -> UnCLIPScheduler:
    return UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000,
                           clip_sample_range=5.0)  # fmt: skip


def unclip() -> StableUnCLIPPipeline:
    """As `sd15`, from the embedding of an image that a prior makes of the text."""
    base = sd15()
    return StableUnCLIPPipeline(
        prior_tokenizer=tokenizer(), prior_text_encoder=text_encoder(projection=True), prior=prior(32),
        prior_scheduler=_prior_scheduler(), image_normalizer=_normalizer(32),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"), tokenizer=base.tokenizer,
        text_encoder=base.text_encoder, scheduler=base.scheduler, vae=base.vae,
        unet=unet(class_embed_type="projection", projection_class_embeddings_input_dim=64),
    )  # fmt: skip


def unclip_img2img() -> StableUnCLIPImg2ImgPipeline:
    """As `unclip`, from the embedding of a picture."""
    base = sd15()
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(**SEEN), image_encoder=image_encoder(),
        image_normalizer=_normalizer(WIDTH), tokenizer=base.tokenizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        text_encoder=base.text_encoder, scheduler=base.scheduler, vae=base.vae,
        unet=unet(class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH),
    )  # fmt: skip


def _kandinsky22(kind: Any, channels: int) -> Any:
    model = unet(
        in_channels=channels, out_channels=8, addition_embed_type="image", encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj", cross_attention_dim=WIDTH, resnet_time_scale_shift="scale_shift",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", attention_head_dim=4,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip
    return kind(
        unet=model, scheduler=scheduler, movq=kandinsky3().movq, prior_prior=prior(WIDTH),
        prior_image_encoder=image_encoder(), prior_text_encoder=text_encoder(projection=True, width=WIDTH),
        prior_tokenizer=tokenizer(), prior_scheduler=_prior_scheduler(),
        prior_image_processor=CLIPImageProcessor(**SEEN),
    )  # fmt: skip


def kandinsky22() -> KandinskyV22CombinedPipeline:
    """A prior, then a UNet that knows the embedding of an image alone."""
    return _kandinsky22(KandinskyV22CombinedPipeline, 4)  # type: ignore[no-any-return]


def kandinsky22_inpaint() -> KandinskyV22InpaintCombinedPipeline:
    """As `kandinsky22`, picture and mask in further channels."""
    return _kandinsky22(KandinskyV22InpaintCombinedPipeline, 9)  # type: ignore[no-any-return]


def cascade() -> StableCascadeCombinedPipeline:
    """A prior over a tiny image, then a decoder, then a quantising VAE."""
    torch.manual_seed(0)
    shared: dict[str, Any] = {"conditioning_dim": 32, "block_out_channels": (32, 32), "num_attention_heads": (2, 2),
                              "down_num_layers_per_block": (1, 1), "up_num_layers_per_block": (1, 1),
                              "clip_text_pooled_in_channels": 32}  # fmt: skip
    prior_model = StableCascadeUNet(
        in_channels=4, out_channels=4, clip_image_in_channels=WIDTH, clip_text_in_channels=32, switch_level=(False,),
        **shared,
    ).eval()  # fmt: skip
    decoder = StableCascadeUNet(
        in_channels=4, out_channels=4, effnet_in_channels=4, patch_size=2,
        block_types_per_layer=(("SDCascadeResBlock", "SDCascadeTimestepBlock"),) * 2, **shared,
    ).eval()  # fmt: skip
    vqgan = PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2, embed_dim=8, latent_channels=4).eval()
    encoder = text_encoder(projection=True)
    return StableCascadeCombinedPipeline(
        tokenizer=tokenizer(), text_encoder=encoder, decoder=decoder, scheduler=DDPMWuerstchenScheduler(), vqgan=vqgan,
        prior_prior=prior_model, prior_text_encoder=encoder, prior_tokenizer=tokenizer(),
        prior_scheduler=DDPMWuerstchenScheduler(),
    )  # fmt: skip


def kolors() -> KolorsPipeline:
    """As `sdxl`, one large text encoder."""
    settings = SDXL_UNET | {"encoder_hid_dim": 24, "encoder_hid_dim_type": "text_proj"}
    base = sdxl()
    return KolorsPipeline(
        vae=base.vae, text_encoder=None, tokenizer=None, unet=unet(**settings), scheduler=base.scheduler
    )


def kolors_speak(self: Any, prompt: Any, *_: Any, num_images_per_prompt: int = 1, negative_prompt: Any = None,
                 **__: Any) -> Any:  # fmt: skip
    """`encode_prompt` of Kolors: words and their sum, of prompt and negative prompt."""
    made = []
    for shape in ((9, 24), (32,)):
        for text in (str(prompt), str(negative_prompt)):
            words = spoken(text, 1, *shape).to(self.unet.dtype)
            made.append(words.repeat(num_images_per_prompt, *(1 for _ in shape)))
    return tuple(made)


def kolors_pag() -> KolorsPAGPipeline:
    """As `kolors`, with perturbed attention guidance."""
    return KolorsPAGPipeline(**kolors().components, pag_applied_layers="mid")


def depth2img() -> StableDiffusionDepth2ImgPipeline:
    """As `sd15`, the depth of the picture as a further channel."""
    torch.manual_seed(7)
    config = DPTConfig(
        image_size=32, patch_size=16, hidden_size=16, num_hidden_layers=4, backbone_out_indices=[0, 1, 2, 3],
        num_attention_heads=4, intermediate_size=16, neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16,
        is_hybrid=False,
    )  # fmt: skip
    base = sd15()
    return StableDiffusionDepth2ImgPipeline(
        vae=base.vae, text_encoder=base.text_encoder, tokenizer=base.tokenizer, scheduler=base.scheduler,
        unet=unet(in_channels=5), depth_estimator=DPTForDepthEstimation(config).eval(),
        feature_extractor=DPTImageProcessor(size={"height": 32, "width": 32}),
    )  # fmt: skip


def kandinsky5_i2i() -> Kandinsky5I2IPipeline:
    """As `kandinsky5`, a picture as further channels."""
    torch.manual_seed(0)
    base = kandinsky5()
    settings = {name: value for name, value in base.transformer.config.items() if not name.startswith("_")}
    model = Kandinsky5Transformer3DModel(**settings | {"visual_cond": True}).eval()
    made = Kandinsky5I2IPipeline(**dict(base.components) | {"transformer": model})
    made.resolutions = [(32, 32)]
    return made
