"""The denoiser: v-prediction on 16x16x4 latents, conditioned on the frozen text encoder.

The text reaches it twice, both ways part of diffusers' own UNet, so that the plain pipeline runs it: by
cross-attention, and pooled (``addition_embed_type="text"``) into the time embedding that scales and shifts every
residual block.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from .. import language
from . import data, files
from . import text as text_stage
from . import tokenizer as tokens
from .loop import Budget, Loop, autocast, is_main, log, rank, replace
from .options import Options
from .pipeline import write_pipeline
from .variants import RECIPE, Recipe

WIDTHS = (64, 96, 112)
WORDINGS = 3
EMPTY_SHARE = 0.1


def build(*, pooled_text: bool = True) -> Any:
    """A new denoiser; without ``pooled_text`` the text reaches it by cross-attention only.

    The same seed gives both kinds the same first weights, but for those that only one has.
    """
    full = {} if pooled_text else build().state_dict()
    pooled = {"addition_embed_type": "text", "addition_embed_type_num_heads": 4} if pooled_text else {}
    denoiser: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=text_stage.WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift",
        **pooled,
    )
    if not pooled_text:
        denoiser.load_state_dict({key: full[key] for key in denoiser.state_dict()})
    return denoiser


def build_scheduler() -> Any:
    """DDIM on a schedule that ends in pure noise, its steps counted from there."""
    return DDIMScheduler(  # type: ignore[no-untyped-call]
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def encode_prompts(options: Options) -> None:
    """Word every training scene WORDINGS times: work/prompts-<set>.pt, int16 (scenes, WORDINGS, MAX_TOKENS)."""
    tokenizer = tokens.build()
    for name in files.SETS:
        target = options.work / f"prompts-{name}.pt"
        if not target.exists():
            rng = random.Random(f"words/{options.seed}/{name}")
            prompts = [language.phrase(spec, rng) for spec in data.specs(options, name) for _ in range(WORDINGS)]
            parts = [tokens.encode(tokenizer, prompts[i : i + 20_000]).short() for i in range(0, len(prompts), 20_000)]
            ids = torch.cat(parts).view(-1, WORDINGS, tokens.MAX_TOKENS)
            replace(target, lambda p, array=ids: torch.save(array, p))  # type: ignore[misc]


def noise(
    clean: torch.Tensor, alphas: torch.Tensor, rng: torch.Generator, recipe: Recipe = RECIPE
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents at random times: (noised latents, timesteps, the v to predict, the weight of its error)."""
    count = len(clean)
    even = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    times = (1000 * even**recipe.noise_bias).long().clamp_(0, 999)
    drawn = torch.randn(clean.shape, generator=rng)
    alpha = alphas[times][:, None, None, None]
    noised = alpha.sqrt() * clean + (1 - alpha).sqrt() * drawn
    velocity = alpha.sqrt() * drawn - (1 - alpha).sqrt() * clean
    return noised, times, velocity, (recipe.low_noise_cap * (1 - alpha.flatten())).clamp(max=1.0)


class Batches:
    """Random training batches: noised latents, timesteps, token ids, what to predict and its weight."""

    def __init__(self, options: Options, size: int, step: int, recipe: Recipe = RECIPE) -> None:
        self.recipe = recipe
        self.latents, self.prompts = files.latents(options), files.prompts(options)
        self.easy = options.scenes
        self.empty = tokens.encode(tokens.build(), [""])[0]
        self.alphas = build_scheduler().alphas_cumprod
        self.size, self.device = size, options.device
        self.random = torch.Generator().manual_seed(hash((options.seed, rank(), step)))

    def __call__(self, progress: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        count, rng = self.size, self.random
        chosen = torch.randint(0, self.easy, (count,), generator=rng)
        if progress >= self.recipe.broad_from:
            broad = torch.randint(self.easy, len(self.latents), (count,), generator=rng)
            chosen = torch.where(torch.rand(count, generator=rng) < self.recipe.broad_share, broad, chosen)
        clean = self.latents[chosen].float()
        ids = self.prompts[chosen, torch.randint(0, WORDINGS, (count,), generator=rng)].long()
        ids[torch.rand(count, generator=rng) < EMPTY_SHARE] = self.empty
        noised, times, velocity, weight = noise(clean, self.alphas, rng, self.recipe)
        made = [t.to(self.device) for t in (noised, times, ids, velocity, weight)]
        return made[0], made[1], made[2], made[3], made[4]


def learn(loop: Loop, unet: Any, text: Any, batches: Batches, options: Options) -> None:
    """Until the loop ends; a text encoder that wants gradients gets them."""
    half = batches.size // 2
    while loop.running:
        noised, times, ids, velocity, weight = batches(loop.progress)
        condition = text(ids).last_hidden_state
        with autocast(options):
            guess = unet(noised, times, condition, return_dict=False)[0]
        error = (guess.float() - velocity).square().mean((1, 2, 3))
        low, high = error.detach()[:half].mean(), error.detach()[half:].mean()
        loop.step((weight * error).mean(), low_noise=low.item(), high_noise=high.item())


def train(options: Options) -> None:
    """Train the denoiser; every checkpoint also refreshes the diffusers folder."""
    torch.manual_seed(options.seed + 2)
    unet, text = build().to(options.device), text_stage.load(options)
    budget = Budget(options.unet_minutes, options.unet_steps, options.unet_rate, ema=0.999)
    loop = Loop("unet", [unet], budget, options)
    loop.on_checkpoint = lambda: write_pipeline(options, loop.averages[0], build_scheduler())
    learn(loop, unet, text, Batches(options, max(2, options.unet_batch // options.workers), loop.step_count), options)
    if is_main():
        write_pipeline(options, loop.averages[0], build_scheduler())
        replace(options.work / "unet.pt", lambda p: torch.save(loop.averages[0].state_dict(), p))
        log(options, stage="unet", steps=loop.step_count, seconds=round(loop.seconds))
