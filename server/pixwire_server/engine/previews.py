"""Previews: a small picture of the predicted image from latents alone, without the VAE.

RGB is nearly a linear function of the latents of one pixel. The function is fitted once, at load, by least squares on
random coloured blocks that the model's own VAE encodes, so any VAE gets its own factors and no table has to be kept.
"""

import io
import logging
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

from pixwire_server.engine.request import StepMoment

log = logging.getLogger(__name__)

MEDIA_TYPE = "image/jpeg"
LONG_SIDE = 128
"""Smaller latents are enlarged to this, in pixels; larger ones stay as they are."""

_JPEG_QUALITY = 80
_GRID = 16  # latent cells on a side of a sample
_BLOCKS = 4  # coloured blocks on a side: sharp edges fit 2 dB better than smooth colours (built-in model, 17.3 dB)
_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Preview:
    """An encoded preview."""

    image: bytes
    width: int
    height: int


class Previewer:
    """Turns latents into previews. `factors` is [channels + 1, 3], the last row the offset, for RGB in 0..1."""

    def __init__(self, factors: torch.Tensor) -> None:
        self._factors = factors

    def render(self, pipeline: Any, latents: torch.Tensor, width: int, height: int) -> Preview | None:
        """The first image of `latents` (as the pipeline's loop keeps them); None when their layout is not known."""
        grid = _as_grid(pipeline, latents, width, height)
        if grid is None or grid.shape[0] != self._factors.shape[0] - 1:
            return None
        factors = self._factors.to(grid.device)
        rgb = torch.einsum("chw,ck->hwk", grid.float(), factors[:-1]) + factors[-1]
        pixels = (rgb.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        image = Image.fromarray(pixels)
        scale = max(1.0, min(LONG_SIDE, max(width, height)) / max(image.size))
        if scale > 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=_JPEG_QUALITY)
        return Preview(out.getvalue(), image.width, image.height)


def _as_grid(pipeline: Any, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """[channels, height, width] of the first image; packed token sequences are unpacked by the pipeline's own code."""
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):
        latents = pipeline._unpack_latents(latents[:1], height, width, pipeline.vae_scale_factor)
    if latents.ndim == 5 and latents.shape[2] == 1:
        latents = latents[:, :, 0]
    grid: torch.Tensor | None = latents[0] if latents.ndim == 4 else None
    return grid


def predicted_latents(moment: StepMoment) -> torch.Tensor:
    """The final latents as predicted at this step where the scheduler tells, else the noisy ones it returned."""
    scheduler, outputs = moment.scheduler, moment.outputs
    if len(outputs) > 1 and getattr(outputs[1], "shape", None) == moment.sample.shape:
        predicted: torch.Tensor = outputs[1]  # DDIM, DDPM, Euler, Heun, LCM and others return it
        return predicted
    if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler" and scheduler.step_index:
        sigma = scheduler.sigmas[scheduler.step_index - 1].to(moment.sample.device)
        flow: torch.Tensor = moment.sample - sigma * moment.model_output
        return flow
    converted = getattr(scheduler, "model_outputs", None)
    if converted and str(getattr(scheduler.config, "algorithm_type", "")).endswith("dpmsolver++"):
        latest: torch.Tensor = converted[-1]
        return latest
    noisy: torch.Tensor = outputs[0]
    return noisy


def fit(pipeline: Any) -> Previewer | None:
    """A previewer for the pipeline's VAE; None (and a log line) when it has none that encodes plain images."""
    try:
        latents, targets = _samples(pipeline)
    except Exception as error:
        log.info("no previews for this model: %s: %s", type(error).__name__, error)
        return None
    channels = latents.shape[1]
    rows = latents.permute(0, 2, 3, 1).reshape(-1, channels).double().cpu()
    colours = targets.permute(0, 2, 3, 1).reshape(-1, 3).double().cpu()
    design = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    # A trace of ridge: channels that depend on each other would leave the factors undetermined.
    normal = design.T @ design + 1e-6 * len(rows) * torch.eye(channels + 1, dtype=torch.double)
    return Previewer(torch.linalg.solve(normal, design.T @ colours).float())


def _samples(pipeline: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents in the pipeline's scale, and the images (0..1) averaged over the pixels of each latent."""
    vae, scale = pipeline.vae, pipeline.vae_scale_factor
    generator = torch.Generator("cpu").manual_seed(0)
    coarse = torch.rand(_SAMPLES, 3, _BLOCKS, _BLOCKS, generator=generator)
    images = interpolate(coarse, size=(_GRID * scale, _GRID * scale), mode="nearest")
    with torch.no_grad():
        encoded = vae.encode((images * 2 - 1).to(vae.device, vae.dtype))
    if hasattr(encoded, "latent_dist"):
        latents = encoded.latent_dist.mode()
    else:
        latents = encoded.latent if hasattr(encoded, "latent") else encoded.latents
    if latents.shape[2:] != (_GRID, _GRID):
        raise ValueError(
            f"the VAE makes latents {tuple(latents.shape)} of {_GRID * scale} pixels, expected {_GRID} cells"
        )
    return _in_pipeline_scale(latents, vae.config), avg_pool2d(images, scale)


def _in_pipeline_scale(latents: torch.Tensor, config: Any) -> torch.Tensor:
    """Undo what pipelines do before they decode: z = latents * std / scaling + mean + shift."""

    def channelwise(name: str, default: float) -> torch.Tensor:
        value = torch.as_tensor(config.get(name) or default, dtype=torch.float32, device=latents.device)
        return value.reshape(-1, 1, 1)

    shifted = latents.float() - channelwise("latents_mean", 0.0) - (config.get("shift_factor") or 0.0)
    return shifted * (config.get("scaling_factor") or 1.0) / channelwise("latents_std", 1.0)
