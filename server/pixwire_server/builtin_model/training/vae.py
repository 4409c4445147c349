"""The autoencoder: 64x64 pixels to 16x16x4 latents and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from .. import scenes
from . import data, files
from .loop import Budget, Loop, autocast, is_main, log, rank, replace
from .options import Options

WIDTHS = (24, 40, 56)
KL_WEIGHT = 1e-3
LATENT_NOISE = 0.08


def build() -> Any:
    """A new autoencoder, its posterior almost deterministic at first: unit noise would bury the small initial means."""
    levels = len(WIDTHS)
    vae: Any = AutoencoderKL(  # type: ignore[no-untyped-call]
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=scenes.SIZE,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        vae.quant_conv.bias[4:] = -6
        vae.quant_conv.weight[4:] *= 0.1
    return vae


def picture_loss(made: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(what is minimised, mean squared error): absolute, squared and gradient error, the last for sharp edges."""
    error = made.float() - wanted
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[:, :, 1:] - error[:, :, :-1]).abs().mean()
    squared = error.square().mean()
    return error.abs().mean() + 2 * squared + 0.5 * edges, squared


#: Sets of pictures that the autoencoder learns from, and their share of a batch.
MIX = (("scenes", 0.25), ("broad", 0.25), ("fancy", 0.375), ("wild", 0.125))


def _batch(rng: np.random.Generator, sets: list[scenes.Pixels], size: int) -> scenes.Pixels:
    counts = rng.multinomial(size, [share for _, share in MIX])
    parts = [pool[np.sort(rng.integers(0, len(pool), n))] for pool, n in zip(sets, counts, strict=True) if n]
    batch = np.concatenate(parts)
    if rng.random() < 0.5:
        batch = batch[:, :, ::-1]
    return batch[:, ::-1] if rng.random() < 0.5 else batch


def train(options: Options) -> None:
    """Train the autoencoder and write work/vae.pt, its latents normalised."""
    torch.manual_seed(options.seed)
    vae = build().to(options.device)
    torch.manual_seed(options.seed * 100 + 1 + rank())
    budget = Budget(options.vae_minutes, options.vae_steps, 2e-3, ema=0.998, weight_decay=1e-4)
    loop = Loop("vae", [vae], budget, options)
    sets = [data.load(options, name) for name, _ in MIX]
    rng = np.random.default_rng([options.seed, 1, rank(), loop.step_count])
    size = max(2, options.vae_batch // options.workers)
    while loop.running:
        wanted = data.to_tensor(_batch(rng, sets, size), options.device)
        with autocast(options):
            posterior = vae.encode(wanted).latent_dist
            made = vae.decode(posterior.sample()).sample
        loss, squared = picture_loss(made, wanted)
        spread = posterior.logvar.float()
        divergence = 0.5 * (posterior.mean.float().square() + spread.exp() - 1 - spread).mean()
        loop.step(loss + KL_WEIGHT * divergence, mse=squared.item(), kl=divergence.item())
    if is_main():
        best = loop.averages[0]
        normalise(best, encode(best, np.concatenate([sets[0][:1000], sets[1][:1000]]), options))
        replace(options.work / "vae.pt", lambda p: torch.save(best.state_dict(), p))
        log(options, stage="vae", steps=loop.step_count, seconds=round(loop.seconds))


def load(options: Options) -> Any:
    """The trained autoencoder; its decoder is the polished one if there is one."""
    vae = build()
    polished = options.work / "vae-polished.pt"
    path = polished if polished.exists() else options.work / "vae.pt"
    vae.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return vae.to(options.device).eval()


@torch.no_grad()
def encode(vae: Any, pictures: scenes.Pixels, options: Options, batch: int = 100) -> torch.Tensor:
    """Latent means, float16 (n, 4, 16, 16)."""
    parts = []
    for start in range(0, len(pictures), batch):
        with autocast(options):
            posterior = vae.encode(data.to_tensor(pictures[start : start + batch], options.device)).latent_dist
        parts.append(posterior.mean.half().cpu())
    return torch.cat(parts)


@torch.no_grad()
def normalise(vae: Any, latents: torch.Tensor) -> None:
    """Give the latents mean 0 and deviation 1 per channel by folding both into the 1x1 quant convolutions."""
    mean = latents.float().mean((0, 2, 3)).to(vae.device)
    deviation = latents.float().std((0, 2, 3)).to(vae.device)
    into, out, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= deviation[None, :, None, None]
    into.weight[:channels] /= deviation[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / deviation
    into.bias[channels:] -= 2 * deviation.log()


def encode_training_set(options: Options) -> None:
    """Write the latents of all training scenes to work/latents-<set>-<process>.pt, each process its share."""
    for name in files.SETS:
        target = options.work / f"latents-{name}-{rank()}.pt"
        if not target.exists():
            pictures = data.load(options, name)
            share = -(-len(pictures) // options.workers)
            latents = encode(load(options), pictures[rank() * share : (rank() + 1) * share], options)
            replace(target, lambda p, part=latents: torch.save(part, p))  # type: ignore[misc]


def polish(options: Options) -> None:
    """Train the decoder on, alone, over slightly noised latents (the UNet's are a little noisy too), of the same mix.

    The latent space does not move, so this may run before or after the UNet's training.  Writes work/vae-polished.pt.
    """
    vae = load(options)
    torch.manual_seed(options.seed * 100 + 51 + rank())
    budget = Budget(options.polish_minutes, options.polish_steps, 1e-3, ema=0.998, weight_decay=1e-4)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    loop = Loop("polish", [vae.post_quant_conv, vae.decoder], budget, options)
    sets = [data.load(options, name) for name, _ in MIX]
    rng = np.random.default_rng([options.seed, 2, rank(), loop.step_count])
    size = max(2, options.vae_batch // options.workers)
    while loop.running:
        wanted = data.to_tensor(_batch(rng, sets, size), options.device)
        with autocast(options):
            with torch.no_grad():
                latent = vae.encode(wanted).latent_dist.mean.float()
            noise = torch.randn_like(latent) * torch.rand(size, 1, 1, 1, device=options.device)
            made = vae.decode(latent + LATENT_NOISE * noise).sample
        loss, squared = picture_loss(made, wanted)
        loop.step(loss, mse=squared.item())
    if is_main():
        vae.post_quant_conv.load_state_dict(loop.averages[0].state_dict())
        vae.decoder.load_state_dict(loop.averages[1].state_dict())
        replace(options.work / "vae-polished.pt", lambda p: torch.save(vae.state_dict(), p))
        log(options, stage="polish", steps=loop.step_count, seconds=round(loop.seconds))
