"""What decides how the denoiser learns, and the recipe with one thing changed at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How the denoiser learns; without arguments as the shipped weights were made."""

    note: str = "the recipe as it is"
    #: "taught": learnt before, on prompts alone, and frozen; "along": learns from nothing with the denoiser;
    #: "random": frozen as it was born.
    text: str = "taught"
    #: Whether the text also reaches the time embedding, or cross-attention only.
    pooled_text: bool = True
    #: From this share of the training on the broad scenes are shown as well, as BROAD_SHARE of a batch.
    broad_from: float = 0.05
    broad_share: float = 0.75
    #: Timesteps are 1000 * u**noise_bias for u even in [0, 1): below 1 means more high noise, which decides the layout.
    noise_bias: float = 0.8
    #: The weight of the v error is min(1, low_noise_cap * (1 - alpha)): 1 but for the last, nearly clean steps.
    low_noise_cap: float = 5.0
    #: Whether the learning rate falls to zero along a cosine.
    cosine: bool = True
    #: Batches so many times as large, and steps so many times fewer.
    batch_factor: int = 1


RECIPE = Recipe()
VARIANTS: dict[str, Recipe] = {
    "recipe": RECIPE,
    "text learns along": Recipe("the text encoder learns from nothing with the denoiser", text="along"),
    "untaught text": Recipe("the text encoder keeps its first, random weights", text="random"),
    "no pooled text": Recipe("text by cross-attention only", pooled_text=False),
    "broad at once": Recipe("the broad scenes from the first step on", broad_from=0.0),
    "even noise": Recipe("all timesteps equally often", noise_bias=1.0),
    "plain weights": Recipe("no weighting of the error by noise", low_noise_cap=1e9),
    "constant rate": Recipe("the learning rate does not fall", cosine=False),
    "larger batches": Recipe("batches twice as large, half as many steps", batch_factor=2),
}
