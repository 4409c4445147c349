"""Previews: a small picture of the predicted image from latents alone, without the VAE.

RGB is nearly a linear function of the latents of one cell. The function is fitted once, at load, by least squares on
what the model's own VAE makes of latents: of random coloured blocks that it has encoded, and of random blocks of
latents. So any VAE gets its own factors, whatever its number of channels, and no table has to be kept. Models that
share a VAE share the factors.
"""

import hashlib
import io
import logging
from collections import OrderedDict
from dataclasses import dataclass
from inspect import signature
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
_BLOCKS = 4  # blocks on a side: sharp edges fit 2 dB better than smooth colours (built-in model, 17.3 dB)
_EQUATIONS = 8  # cells for each unknown
_LEAST_SAMPLES = 4
_REMEMBERED = 32
_PROBE = 64  # pixels on a side of the picture that tells the scale of a VAE


@dataclass(frozen=True, slots=True)
class Preview:
    """An encoded preview."""

    image: bytes
    width: int
    height: int


class Previewer:
    """Turns latents into previews.

    `factors` is [channels + 1, 3], the last row the offset, for RGB in 0..1; `cell` the pixels of one cell.
    """

    def __init__(self, factors: torch.Tensor, cell: int) -> None:
        self._factors = factors
        self.cell = cell

    def render(self, pipeline: Any, latents: torch.Tensor, width: int, height: int) -> Preview | None:
        """The first image of `latents` (as the pipeline's loop keeps them); None when their layout is not known."""
        channels = self._factors.shape[0] - 1
        grid = _as_grid(pipeline, latents[:1], width, height, channels, self.cell)
        if grid is None or grid.shape[0] != channels:
            return None
        rgb = torch.einsum("chw,ck->hwk", grid.float().cpu(), self._factors[:-1]) + self._factors[-1]
        image = Image.fromarray((rgb.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        scale = max(1.0, min(LONG_SIDE, max(width, height)) / max(image.size))
        if scale > 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=_JPEG_QUALITY)
        return Preview(out.getvalue(), image.width, image.height)


def _as_grid(
    pipeline: Any, latents: torch.Tensor, width: int, height: int, channels: int, cell: int
) -> torch.Tensor | None:
    """[channels, height, width] of the one image; None for an unknown layout."""
    rows, columns = height // cell, width // cell
    if latents.ndim == 3 and latents.shape[1:] == (rows * columns, channels):  # a token for each cell
        return latents[0].reshape(rows, columns, channels).permute(2, 0, 1)
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):  # several cells a token
        given = {"latents": latents, "height": height, "width": width}
        known = signature(pipeline._unpack_latents).parameters
        if "vae_scale_factor" in known:
            given["vae_scale_factor"] = pipeline.vae_scale_factor
        latents = pipeline._unpack_latents(**given)
    if latents.ndim == 5 and latents.shape[1] == 1 and latents.shape[4] == channels:  # frames first, channels last
        return latents[0, 0].permute(2, 0, 1)
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


# ---------------------------------------------------------------------------------------------- fitting

_fitted: OrderedDict[bytes, Previewer] = OrderedDict()


def fit(pipeline: Any) -> Previewer | None:
    """A previewer for the pipeline's VAE; None (and a log line) when it has none that decodes plain images."""
    try:
        vae = pipeline.vae
        digest = _digest(vae)
        if digest not in _fitted:
            with torch.no_grad():
                _fitted[digest] = _fit(pipeline, _Vae(vae))
            if len(_fitted) > _REMEMBERED:
                _fitted.popitem(last=False)
        return _fitted[digest]
    except Exception as error:
        log.info("no previews for this model: %s: %s", type(error).__name__, error)
        return None


def _fit(pipeline: Any, vae: "_Vae") -> Previewer:
    layout = _Layout(pipeline, vae)
    latents, targets = _samples(vae, layout)
    channels = latents.shape[1]
    rows = latents.permute(0, 2, 3, 1).reshape(-1, channels).double().cpu()
    colours = targets.permute(0, 2, 3, 1).reshape(-1, 3).double().cpu()
    design = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    # A trace of ridge: channels that depend on each other would leave the factors undetermined.
    normal = design.T @ design + 1e-6 * len(rows) * torch.eye(channels + 1, dtype=torch.double)
    return Previewer(torch.linalg.solve(normal, design.T @ colours).float(), layout.cell)


def _samples(vae: "_Vae", layout: "_Layout") -> tuple[torch.Tensor, torch.Tensor]:
    """Latents as the loop has them, and what the VAE makes of them (0..1), averaged over the pixels of each cell."""
    generator = torch.Generator("cpu").manual_seed(0)
    side = _GRID * vae.scale

    def coloured() -> torch.Tensor:
        coarse = torch.rand(1, 3, _BLOCKS, _BLOCKS, generator=generator) * 2 - 1
        return layout.from_vae(vae.encode(interpolate(coarse, size=(side, side), mode="nearest")))

    known = [coloured()]
    channels, grid = known[0].shape[1], known[0].shape[2]
    count = max(_LEAST_SAMPLES, -(-_EQUATIONS * (channels + 1) // grid**2))
    known += [coloured() for _ in range(count - 1)]
    # What denoisers aim at has about unit variance; that of the colours alone leaves some channels nearly constant.
    known += [torch.randn(1, channels, grid, grid, generator=generator) for _ in range(count // 2)]
    targets = [avg_pool2d(vae.decode(layout.to_vae(one)), layout.cell) for one in known]  # one at a time: memory
    return torch.cat([one.cpu() for one in known]), torch.cat([one.cpu() for one in targets])


class _Vae:
    """A VAE of pictures, or of films of one frame."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        self._film = max(parameter.ndim for parameter in vae.parameters()) == 5
        self.scale = _PROBE // self.encode(torch.zeros(1, 3, _PROBE, _PROBE)).shape[-1]

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures in -1..1 as latents [n, channels, height, width]."""
        images = images.to(self.vae.device, self.vae.dtype)
        encoded = self.vae.encode(images.unsqueeze(2) if self._film else images)
        if hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latent if hasattr(encoded, "latent") else encoded.latents
        plane: torch.Tensor = latents[:, :, 0] if self._film else latents
        return plane

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as pictures in 0..1, beyond which they may reach."""
        latents = latents.to(self.vae.device, self.vae.dtype)
        decoded = self.vae.decode(latents.unsqueeze(2) if self._film else latents, return_dict=False)[0]
        plane: torch.Tensor = decoded[:, :, 0] if self._film else decoded
        return plane.float() / 2 + 0.5


class _Layout:
    """What a pipeline does with its latents before the VAE gets them: z = latents * std / scaling + mean + shift.

    Where the VAE has the statistics of patches of 2 x 2 cells, these are the cells, and have the statistics.
    """

    def __init__(self, pipeline: Any, vae: "_Vae") -> None:
        self._pipeline = pipeline
        self._patched = hasattr(pipeline, "_patchify_latents")
        self.cell = 2 * vae.scale if self._patched else vae.scale
        config = vae.vae.config

        def channelwise(value: Any) -> torch.Tensor:
            return torch.as_tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1)

        if self._patched:
            statistics = vae.vae.bn
            self._mean = channelwise(statistics.running_mean.float().cpu())
            self._std = channelwise(torch.sqrt(statistics.running_var.float().cpu() + config.batch_norm_eps))
        else:
            self._mean = channelwise(config.get("latents_mean") or 0.0) + (config.get("shift_factor") or 0.0)
            self._std = channelwise(config.get("latents_std") or 1.0) / (config.get("scaling_factor") or 1.0)

    def from_vae(self, latents: torch.Tensor) -> torch.Tensor:
        patches = self._pipeline._patchify_latents(latents) if self._patched else latents
        return (patches.float().cpu() - self._mean) / self._std

    def to_vae(self, latents: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = latents * self._std + self._mean
        if self._patched:
            scaled = self._pipeline._unpatchify_latents(scaled)
        return scaled


def _digest(vae: Any) -> bytes:
    """Of the configuration and of a few numbers of every weight: reading all of them takes longer than the fit."""
    digest = hashlib.blake2b(repr(sorted(vae.config.items(), key=str)).encode(), digest_size=16)
    for name, parameter in vae.named_parameters():
        few = parameter.detach().flatten()[:: max(1, parameter.numel() // 16)].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)}".encode() + few.numpy().tobytes())
    return digest.digest()
