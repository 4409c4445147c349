"""Does the condition reach the picture? Overfit a few scenes before spending hours on all of them.

    python -m pixwire_server.builtin_model.training.diagnose --out DIR    # of a run that has its latents
    python -m pixwire_server.builtin_model.training.diagnose --out DIR --variants recipe "no pooled text" --steps 600

A denoiser of full size learns the same few single-object scenes by heart, once for every variant of the recipe, from
the same first weights. Then it draws each of them from fresh noise: once told the scene's own prompt, once told
another scene's. If the prompt decides, both follow the prompt; if the picture is only remembered, or the text does not
get through, the second column stays at chance.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .. import checker, language, scenes
from ..arguments import at_least
from . import data, files, text, tokenizer, unet, vae
from .loop import autocast
from .options import Options, add_option
from .pipeline import GUIDANCE_SCALE, STEPS, assemble
from .variants import VARIANTS, Recipe

SCENES = 50
#: Those of the variants that fit in here: there is one kind of scenes, and the text encoder learns nothing.
DIAGNOSED = ("recipe", "untaught text", "no pooled text", "even noise", "plain weights")


@dataclass(frozen=True)
class Lesson:
    """The scenes to learn: what they show, how they are put into words, and their latents."""

    specs: Sequence[scenes.Spec]
    prompts: Sequence[str]
    latents: torch.Tensor


def lesson(options: Options, count: int = SCENES) -> Lesson:
    """The first single-object scenes on solid backgrounds of a run's easy set."""
    every = data.specs(options, "scenes")
    plain = [
        i
        for i, s in enumerate(every)
        if len(s.things) == 1 and s.background is not None and s.background.kind == "solid"
    ]
    if len(plain) < 2:
        raise files.FilesError(f"too few single things on solid backgrounds among --scenes {len(every)}: draw more")
    chosen, rng = plain[:count], random.Random("diagnose")
    specs = [every[i] for i in chosen]
    return Lesson(specs, [language.phrase(spec, rng) for spec in specs], files.latents(options)[chosen].float())


def learn(
    options: Options, recipe: Recipe, told: Lesson, encoder: Any, steps: int, rate: float, tell: Callable[[int], None]
) -> Any:
    """A denoiser that has seen nothing but the lesson."""
    torch.manual_seed(1)
    denoiser = unet.build(pooled_text=recipe.pooled_text).to(options.device)
    alphas = unet.build_scheduler().alphas_cumprod
    optimiser = torch.optim.AdamW(denoiser.parameters(), rate, betas=(0.9, 0.99))
    ids = tokenizer.encode(tokenizer.build(), [*told.prompts, ""]).to(options.device)
    words = encoder(ids).last_hidden_state.detach()
    rng = torch.Generator().manual_seed(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
        chosen = torch.randint(0, len(told.latents), (32,), generator=rng)
        shown = chosen.masked_fill(torch.rand(32, generator=rng) < unet.EMPTY_SHARE, len(told.latents))
        made = unet.noise(told.latents[chosen], alphas, rng, recipe)
        noised, times, velocity, weight = (tensor.to(options.device) for tensor in made)
        with autocast(options):
            guess = denoiser(noised, times, words[shown.to(options.device)], return_dict=False)[0]
        loss = (weight * (guess.float() - velocity).square().mean((1, 2, 3))).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimiser.step()
        tell(step)
    return denoiser.eval()


def drawn_right(options: Options, encoder: Any, denoiser: Any, told: Lesson, shift: int) -> float:
    """The share of pictures that show what prompt i + shift says, drawn from the noise of seed i."""
    pipe = assemble(vae.load(options), encoder, denoiser, unet.build_scheduler())
    count = len(told.prompts)
    order = [(i + shift) % count for i in range(count)]
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    settings: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE_SCALE, "generator": generators}
    pictures = pipe([told.prompts[i] for i in order], **settings).images
    return sum(checker.check(p, told.specs[i])["all"] for p, i in zip(pictures, order, strict=True)) / count


def diagnose(
    options: Options, names: Sequence[str], *, steps: int, rate: float = 1e-3, scenes: int = SCENES
) -> dict[str, dict[str, float]]:
    """{variant: {"own prompt", "another's prompt"}}: shares of pictures with everything right."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    files.need(options, "vae", "text", "latents")
    data.check(options, files.SETS)
    tokenizer.keep(options)
    told, table = lesson(options, scenes), {}
    for name in names:
        recipe = VARIANTS[name]
        torch.manual_seed(3)
        encoder = text.load(options) if recipe.text == "taught" else text.build().eval().requires_grad_(False)
        encoder = encoder.to(options.device)
        with tqdm(total=steps, desc=name, leave=False) as bar:
            denoiser = learn(options, recipe, told, encoder, steps, rate, lambda _, bar=bar: bar.update())  # type: ignore[misc]
        table[name] = {
            "own prompt": drawn_right(options, encoder, denoiser, told, 0),
            "another's prompt": drawn_right(options, encoder, denoiser, told, 17 % len(told.specs) or 1),
        }
    return table


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pixwire_server.builtin_model.training.diagnose", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_option(parser, "out", "folder of the run, with its autoencoder, text encoder and latents")
    parser.add_argument("--steps", type=at_least(1), default=600, help="of every variant (default 600)")
    parser.add_argument("--variants", nargs="+", choices=DIAGNOSED, default=DIAGNOSED, help="default: all")
    add_option(parser, "device", "cpu or cuda")
    for name in ("seed", "scenes", "broad_scenes"):
        add_option(parser, name, "as the run was told")
    parser.add_argument("--json", action="store_true", help="print JSON")
    read = vars(parser.parse_args(arguments))
    steps, names, as_json = (read.pop(key) for key in ("steps", "variants", "json"))
    try:
        table = diagnose(Options(**read), names, steps=steps)
    except files.FilesError as error:
        sys.exit(f"error: {error}")
    if as_json:
        print(json.dumps(table, indent=1))
        return
    print(f"{'':16s}{'own prompt':>12s}{'another':>12s}")
    for name, row in table.items():
        print(f"{name:16s}" + "".join(f"{share:12.2f}" for share in row.values()) + f"   {VARIANTS[name].note}")


if __name__ == "__main__":
    main()
