"""Which parts of the recipe earn their place? The denoiser trained for a short while, with one thing changed at a time.

    python -m pixwire_server.builtin_model.training.compare --out DIR      # of a run that has its latents and prompts
    python -m pixwire_server.builtin_model.training.compare --out DIR --variants recipe "even noise" --steps 2000

Every variant starts from the same first weights and sees the same number of pictures. Its error is that of the
predicted v on scenes that no training set holds, at all noise levels alike; its shares are those of `evaluate` on
prompts that the model card's table does not use. "raw weights" are the recipe's without the moving average. What a
short run shows is who learns faster, which need not be who ends best. DIR/compare keeps what is done, by --steps and
--n: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import evaluate, language, scenes
from ..arguments import at_least
from . import data, files, text, tokenizer, unet, vae
from .children import ChildLostError, share
from .loop import Budget, Loop
from .loop import replace as replace_file
from .options import Options, add_option
from .pipeline import GUIDANCE_SCALE, STEPS, assemble
from .variants import VARIANTS, Recipe

SUITES = ("centred", "positions", "pairs")
SEED = 777
FRESH = 256
#: The error is taken over all noise levels alike.
EVENLY = Recipe(noise_bias=1.0, low_noise_cap=1e9)

Row = dict[str, float]
Job = tuple[Options, str, int, int]


def folder(options: Options, name: str, steps: int) -> Path:
    """Where a variant's checkpoint and result are."""
    return options.out / "compare" / f"{name.replace(' ', '-')}-{steps}"


def learn(options: Options, name: str, steps: int) -> tuple[Loop, Any, Any]:
    """Train the variant; its loop with both sets of weights, the denoiser and the text encoder as trained."""
    recipe = VARIANTS[name]
    own = replace(
        options,
        out=folder(options, name, steps),
        processes=1,
        unet_batch=options.unet_batch * recipe.batch_factor,
        unet_steps=max(1, steps // recipe.batch_factor),
    )
    own.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed + 2)
    denoiser = unet.build(pooled_text=recipe.pooled_text).to(options.device)
    encoder = text.load(options) if recipe.text == "taught" else text.build().to(options.device)
    if recipe.text == "random":
        encoder.requires_grad_(False)
    modules = [denoiser, encoder] if recipe.text == "along" else [denoiser]
    loop = Loop("unet", modules, Budget(own.unet_minutes, own.unet_steps, own.unet_rate, cosine=recipe.cosine), own)
    unet.learn(loop, denoiser, encoder, unet.Batches(options, own.unet_batch, loop.step_count, recipe), own)
    loop.save()
    return loop, denoiser, encoder


@torch.no_grad()
def error(options: Options, denoiser: Any, encoder: Any) -> float:
    """The mean squared error of the predicted v on scenes that no training set holds."""
    fresh = replace(options, seed=options.seed + 1000, scenes=0, broad_scenes=FRESH)
    specs, rng = data.specs(fresh, "broad"), random.Random("compare")
    clean = vae.encode(vae.load(options), data.draw_chunk((fresh.seed, range(FRESH), scenes.BROAD)), options).float()
    ids = tokenizer.encode(tokenizer.build(), [language.phrase(spec, rng) for spec in specs])
    alphas = unet.build_scheduler().alphas_cumprod
    noised, times, velocity, _ = unet.noise(clean, alphas, torch.Generator().manual_seed(SEED), EVENLY)
    condition = encoder(ids.to(options.device)).last_hidden_state
    guess = denoiser(noised.to(options.device), times.to(options.device), condition, return_dict=False)[0]
    return float((guess.float().cpu() - velocity).square().mean())


def judge(options: Options, denoiser: Any, encoder: Any, count: int) -> Row:
    """The error, and for each suite the share of pictures with everything right."""
    pipe = assemble(vae.load(options), encoder.eval(), denoiser.eval(), unet.build_scheduler())
    shares = evaluate.measure(pipe, SUITES, count, steps=STEPS, guidance_scale=GUIDANCE_SCALE, seed=SEED)
    row = {"error": round(error(options, denoiser, encoder), 4)}
    for suite in SUITES:
        row |= {f"{suite}: {key}": share for key, share in shares[suite].items() if key in ("shape", "all")}
    return row


def work_on(job: Job) -> dict[str, Row]:
    """One variant's rows, kept in its folder; "recipe" brings "raw weights" along."""
    options, name, steps, count = job
    torch.set_num_threads(1)
    done = folder(options, name, steps) / f"rows-{count}.json"
    if not done.exists():
        loop, denoiser, encoder = learn(options, name, steps)
        mean, words = [*loop.averages, encoder][:2]  # an encoder that learnt along has its average, too
        rows = {name: judge(options, mean, words, count)}
        if name == "recipe":
            rows["raw weights"] = judge(options, denoiser, encoder, count)
        replace_file(done, lambda path: _write(path, rows))
    kept: dict[str, Row] = json.loads(done.read_text(encoding="utf-8"))
    return kept


def _write(path: Path, rows: dict[str, Row]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def compare(options: Options, names: Sequence[str], *, steps: int, count: int) -> dict[str, Row]:
    """{variant: row}; as many at once as the run has processes, one thread each."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    files.need(options, "vae", "text", "latents", "prompts")
    data.check(options, files.SETS)
    tokenizer.keep(options)
    jobs: list[Job] = [(options, name, steps, count) for name in names]
    table: dict[str, Row] = {}
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # of the children, whose bars would overlap
    done = share(work_on, jobs, options.workers, _to_stderr)
    for rows in tqdm(done, total=len(jobs), unit="variant", disable=None):
        table |= rows
    return table


def _to_stderr() -> None:
    """A child's lines of progress; stdout is the table's."""
    sys.stdout = sys.stderr


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pixwire_server.builtin_model.training.compare", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_option(parser, "out", "folder of the run, with its autoencoder, text encoder, latents and prompts")
    parser.add_argument("--steps", type=at_least(1), default=600, help="of every variant (default 600)")
    parser.add_argument("--n", type=at_least(0), default=50, help="prompts per suite (default 50)")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="default: all")
    add_option(parser, "processes", "variants at once, one thread each; one on a GPU")
    add_option(parser, "device", "cpu or cuda")
    for name in ("seed", "scenes", "broad_scenes"):
        add_option(parser, name, "as the run was told")
    parser.add_argument("--json", action="store_true", help="print JSON")
    read = vars(parser.parse_args(arguments))
    steps, count, names, as_json = (read.pop(key) for key in ("steps", "n", "variants", "json"))
    try:
        table = compare(Options(**read), names, steps=steps, count=count)
    except (files.FilesError, ChildLostError) as error:
        sys.exit(f"error: {error}")
    if as_json:
        print(json.dumps(table, indent=1))
        return
    keys = list(next(iter(table.values()), {}))
    print(f"{'':18s}" + "".join(f"{key:>18s}" for key in keys))
    for name, row in table.items():
        note = VARIANTS[name].note if name in VARIANTS else "the recipe's, without the moving average"
        print(f"{name:18s}" + "".join(f"{row[key]:18.3f}" for key in keys) + f"   {note}")


if __name__ == "__main__":
    main()
