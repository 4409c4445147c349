"""Models to measure: random weights from configurations, so that nothing has to be downloaded, and the built-in model.

On a CPU the families have denoisers of about 40 million parameters; on a GPU the sizes of SD 1.5, SDXL and FLUX.1.
All take embeddings of the text, drawn once: the text encoder is not what is measured.
"""

# The classes of diffusers have no types, and what types their modules have are lazy stand-ins.
# mypy: disable-error-code="no-untyped-call, arg-type, return-value, attr-defined"

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW_VAE = {"shift_factor": 0.0609, "scaling_factor": 1.5305, "use_quant_conv": False, "use_post_quant_conv": False}


@dataclass(frozen=True, slots=True)
class Model:
    """A pipeline to measure. `text(n)` are the embeddings for n images at once, `side` the image's in pixels."""

    name: str
    pipeline: Any
    text: Callable[[int], Mapping[str, Any]]
    side: int
    guidance: Mapping[str, float] = field(default_factory=dict)

    @property
    def denoiser(self) -> torch.nn.Module:
        """The module that is called in every step."""
        found = getattr(self.pipeline, "unet", None)
        module: torch.nn.Module = self.pipeline.transformer if found is None else found
        return module

    @property
    def parameters(self) -> int:
        """Of the denoiser."""
        return sum(parameter.numel() for parameter in self.denoiser.parameters())

    @property
    def denoiser_device(self) -> str:
        """cpu or cuda."""
        return next(self.denoiser.parameters()).device.type

    def arguments(self, seeds: list[int], steps: int) -> dict[str, Any]:
        """Of a call of the pipeline for one image per seed."""
        return {
            **self.text(len(seeds)),
            **self.guidance,
            "width": self.side,
            "height": self.side,
            "num_inference_steps": steps,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": "pt",
            "return_dict": False,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where models are made."""

    device: torch.device
    dtype: torch.dtype


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def names(device: str) -> tuple[str, ...]:
    """The models that are measured on a kind of device when none is named."""
    return tuple(_GPU if device == "cuda" else _CPU)


def dtype_of(device: str, dtype: str) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 elsewhere. Raises SystemExit for an unknown name."""
    if dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise SystemExit(f"--dtype {dtype} is not known; there are auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def make(name: str, device: str, dtype: str = "auto") -> Model:
    """One of the models, whichever device it is meant for. Raises SystemExit for an unknown name."""
    every = {**_CPU, **_GPU}
    if name not in every:
        raise SystemExit(f"there is no model {name!r}; there are {', '.join(every)}")
    model = every[name](Place(torch.device(device), dtype_of(device, dtype)))
    model.pipeline.set_progress_bar_config(disable=True)
    return model


# ---------------------------------------------------------------------------------------------- parts


def _seeded(place: Place, build: Callable[[], torch.nn.Module]) -> Any:
    """A module with weights drawn on the device itself: billions of them take long elsewhere."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(place.dtype)
    try:
        with place.device:
            return build().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(default)


def _vae(place: Place, latents: int = 4, blocks: tuple[int, ...] = (32, 32, 64), **config: object) -> Any:
    from diffusers import AutoencoderKL

    return _seeded(
        place,
        lambda: AutoencoderKL(
            in_channels=3, out_channels=3, block_out_channels=blocks, latent_channels=latents,
            layers_per_block=1 if len(blocks) < 4 else 2,
            down_block_types=("DownEncoderBlock2D",) * len(blocks), up_block_types=("UpDecoderBlock2D",) * len(blocks),
            **config,
        ),
    )  # fmt: skip


FULL_VAE = (128, 256, 512, 512)
"""Channels of the VAE of SD 1.5, SDXL and FLUX.1."""


def _drawn(place: Place, names: Mapping[str, tuple[int, ...]]) -> Callable[[int], dict[str, torch.Tensor]]:
    """Embeddings by argument, the shape of one row each; the same ones every time."""

    @cache
    def text(count: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator("cpu").manual_seed(1)
        return {
            name: torch.randn(count, *shape, generator=generator).to(place.device, place.dtype)
            for name, shape in names.items()
        }

    return text


def _masked(
    place: Place, names: Mapping[str, tuple[int, ...]], length: int
) -> Callable[[int], dict[str, torch.Tensor]]:
    """The same with masks that keep everything."""
    drawn = _drawn(place, names)

    def text(count: int) -> dict[str, torch.Tensor]:
        mask = torch.ones(count, length, dtype=torch.long, device=place.device)
        return drawn(count) | {name.replace("embeds", "attention_mask"): mask for name in names}

    return text


# ---------------------------------------------------------------------------------------------- about 40 million


def _sd15_mid(place: Place) -> Model:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = _seeded(
        place,
        lambda: UNet2DConditionModel(
            sample_size=32, in_channels=4, out_channels=4, block_out_channels=(96, 192, 384), layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=256,
            attention_head_dim=8, norm_num_groups=32,
        ),
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=_vae(place), text_encoder=None, tokenizer=None, unet=unet, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
    )  # fmt: skip
    text = _drawn(place, {"prompt_embeds": (77, 256), "negative_prompt_embeds": (77, 256)})
    return Model("sd15", pipeline, text, 32 * pipeline.vae_scale_factor, {"guidance_scale": 5.0})


def _sdxl_mid(place: Place) -> Model:
    from diffusers import UNet2DConditionModel

    unet = _seeded(
        place,
        lambda: UNet2DConditionModel(
            sample_size=32, in_channels=4, out_channels=4, block_out_channels=(96, 192, 320), layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=256,
            transformer_layers_per_block=(1, 2, 2), attention_head_dim=(2, 4, 5), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=64,
            projection_class_embeddings_input_dim=6 * 64 + 256,
        ),
    )  # fmt: skip
    return _sdxl_around(place, "sdxl", unet, _vae(place), 256, 256, 32)


def _sdxl_around(place: Place, name: str, unet: Any, vae: Any, width: int, pooled: int, cells: int) -> Model:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline(
        vae=vae, text_encoder=None, text_encoder_2=_Projection(place, pooled), tokenizer=None, tokenizer_2=None,
        unet=unet, add_watermarker=False,
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
    )  # fmt: skip
    shapes = {"prompt_embeds": (77, width), "pooled_prompt_embeds": (pooled,)}
    shapes |= {f"negative_{key}": shape for key, shape in shapes.items()}
    return Model(name, pipeline, _drawn(place, shapes), cells * pipeline.vae_scale_factor, {"guidance_scale": 5.0})


class _Projection(torch.nn.Module):
    """In place of the second text encoder, of which the pipeline asks the width only."""

    def __init__(self, place: Place, width: int) -> None:
        super().__init__()
        self.config = type("Config", (), {"projection_dim": width})()
        self.device, self.dtype = place.device, place.dtype


def _sd3_mid(place: Place) -> Model:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = _seeded(
        place,
        lambda: SD3Transformer2DModel(
            sample_size=32, patch_size=2, in_channels=16, num_layers=8, attention_head_dim=64, num_attention_heads=6,
            caption_projection_dim=384, joint_attention_dim=512, pooled_projection_dim=512, out_channels=16,
        ),
    )  # fmt: skip
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(place, 16, **FLOW_VAE), text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"prompt_embeds": (77, 512), "pooled_prompt_embeds": (512,)}
    shapes |= {f"negative_{key}": shape for key, shape in shapes.items()}
    return Model("sd3", pipeline, _drawn(place, shapes), 32 * pipeline.vae_scale_factor, {"guidance_scale": 5.0})


def _flux_mid(place: Place) -> Model:
    return _flux_around(place, "flux", 32, _vae(place, 16, **FLOW_VAE), num_layers=3, num_single_layers=8,
                        attention_head_dim=64, num_attention_heads=6, joint_attention_dim=512,
                        pooled_projection_dim=256, axes_dims_rope=(8, 28, 28))  # fmt: skip


def _flux_around(place: Place, name: str, cells: int, vae: Any, tokens: int = 128, **config: Any) -> Model:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = _seeded(
        place, lambda: FluxTransformer2DModel(patch_size=1, in_channels=64, guidance_embeds=True, **config)
    )
    pipeline = FluxPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
    )  # fmt: skip
    shapes = {
        "prompt_embeds": (tokens, transformer.config.joint_attention_dim),
        "pooled_prompt_embeds": (transformer.config.pooled_projection_dim,),
    }
    text = _drawn(place, shapes)
    return Model(name, pipeline, text, cells * pipeline.vae_scale_factor, {"guidance_scale": 3.5})


def _pixart_mid(place: Place) -> Model:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = _seeded(
        place,
        lambda: PixArtTransformer2DModel(
            sample_size=32, num_layers=12, patch_size=2, attention_head_dim=64, num_attention_heads=7,
            caption_channels=512, in_channels=4, cross_attention_dim=448, out_channels=8, attention_bias=True,
            activation_fn="gelu-approximate", num_embeds_ada_norm=1000, norm_type="ada_norm_single",
            norm_elementwise_affine=False, norm_eps=1e-6,
        ),
    )  # fmt: skip
    pipeline = PixArtSigmaPipeline(
        tokenizer=None, text_encoder=None, vae=_vae(place), transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )  # fmt: skip
    shapes = {"prompt_embeds": (77, 512), "negative_prompt_embeds": (77, 512)}
    guidance: dict[str, Any] = {
        "guidance_scale": 5.0,
        "use_resolution_binning": False,
        "negative_prompt": None,
    }
    return Model("pixart", pipeline, _masked(place, shapes, 77), 32 * pipeline.vae_scale_factor, guidance)


def _builtin(place: Place) -> Model:
    from diffusers import DiffusionPipeline

    from pixwire_server import builtin_model

    pipeline = DiffusionPipeline.from_pretrained(str(builtin_model.path()), local_files_only=True, dtype=place.dtype)
    pipeline.to(place.device)
    encoded = _encoded(pipeline)

    def text(count: int) -> dict[str, Any]:
        return {name: value.expand(count, *value.shape[1:]) for name, value in encoded.items()}

    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    return Model("built-in", pipeline, text, side, {"guidance_scale": 4.0})


def _encoded(pipeline: Any) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        positive, negative = pipeline.encode_prompt("a red circle", pipeline.device, 1, True, "")
    return {"prompt_embeds": positive, "negative_prompt_embeds": negative}


# ---------------------------------------------------------------------------------------------- real sizes


def _sd15_full(place: Place) -> Model:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = _seeded(place, lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8))
    pipeline = StableDiffusionPipeline(
        vae=_vae(place, 4, FULL_VAE), text_encoder=None, tokenizer=None, unet=unet, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading"),
    )  # fmt: skip
    text = _drawn(place, {"prompt_embeds": (77, 768), "negative_prompt_embeds": (77, 768)})
    return Model("sd15-full", pipeline, text, 512, {"guidance_scale": 5.0})


def _sdxl_full(place: Place) -> Model:
    from diffusers import UNet2DConditionModel

    unet = _seeded(
        place,
        lambda: UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        ),
    )  # fmt: skip
    return _sdxl_around(place, "sdxl-full", unet, _vae(place, 4, FULL_VAE, force_upcast=False), 2048, 1280, 128)


def _flux_full(place: Place) -> Model:
    # The transformer's defaults are FLUX.1's, which is given 512 tokens.
    return _flux_around(place, "flux-full", 128, _vae(place, 16, FULL_VAE, **FLOW_VAE), tokens=512)


_CPU: Mapping[str, Callable[[Place], Model]] = {
    "built-in": _builtin,
    "sd15": _sd15_mid,
    "sdxl": _sdxl_mid,
    "sd3": _sd3_mid,
    "flux": _flux_mid,
    "pixart": _pixart_mid,
}
_GPU: Mapping[str, Callable[[Place], Model]] = {
    "sd15-full": _sd15_full,
    "sdxl-full": _sdxl_full,
    "flux-full": _flux_full,
}
