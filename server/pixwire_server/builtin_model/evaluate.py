"""Measure how well a model folder obeys prompts about scenes: a table per kind of prompt, and a contact sheet.

    python -m pixwire_server.builtin_model.evaluate --n 100
    python -m pixwire_server.builtin_model.evaluate --model DIR --n 100 --json --contact contact.png

The prompts are paraphrases drawn with a fixed seed, none of them stored anywhere; ``held-out`` takes only
(colour, shape) pairs that no training scene shows.  Every picture is judged by ``checker.check``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from . import NAME, checker, language, path, scenes
from .arguments import at_least, no_less_than_0

OUTLINED_HELD = {"outlined": True, "held_out": True}
#: What each suite passes to scenes.sample_spec.
SUITES: dict[str, dict[str, Any]] = {
    "centred": {"kind": "single", "background": "solid", "position": False, "size": False},
    "held-out": {"kind": "single", "background": "solid", "position": False, "size": False, "held_out": True},
    "no background": {"kind": "single", "background": "none", "position": False, "size": False},
    "positions": {"kind": "single", "background": "solid", "position": True, "size": False},
    "sizes": {"kind": "single", "background": "solid", "position": False, "size": True},
    "gradients": {"kind": "single", "background": "gradient", "position": False, "size": False},
    "gradients held": {"kind": "single", "background": "gradient", "position": False, "size": False, "held_out": True},
    "gradients, place": {"kind": "single", "background": "gradient", "position": True, "size": False},
    "stripes": {"kind": "single", "background": "stripes", "position": False, "size": False},
    "outlined": {"kind": "single", "background": "solid", "position": False, "size": False, "outlined": True},
    "outlined held": {"kind": "single", "background": "solid", "position": False, "size": False, **OUTLINED_HELD},
    "pairs": {"kind": "pair", "background": "solid"},
    "pairs held": {"kind": "pair", "background": "solid", "held_out": True},
    "inside": {"kind": "inside", "background": "solid"},
}
#: Suites that begin with a drawn picture: the object recoloured (image-to-image), a hole filled (inpainting).
EDITS = ("recolour", "fill")
#: Of the noise schedule, for a picture to be recoloured.
RECOLOUR_STRENGTH = 0.8
GATE = ("centred", "held-out")
COLUMNS = ("background", "colour", "shape", "style", "count", "position", "size", "relation", "kept", "all")
SHEET = (
    "a red circle on a blue background",
    "a yellow square on a purple background",
    "a green triangle on a white background",
    "a red star on a black background",
    "a blue heart on a pink background",
    "an orange ring on a green background",
    "a white cross on a red background",
    "a cyan diamond on a yellow background",
    "please draw a crimson ball on an azure backdrop, 4k",
    "golden plus sign, dark background",
    "a pink donut",
    "a large green heart on an orange background",
    "a tiny white star on a blue background",
    "a black square on the left on a cyan background",
    "a purple ring in the top right corner on a yellow background",
    "a blue circle at the bottom on a white background",
    "a pink diamond on a blue to purple gradient background",
    "a red heart with vertical white and pink stripes",
    "a red circle above a green square on a white background",
    "a blue star to the left of an orange triangle on a black background",
    "a yellow star inside a red circle on a white background",
    "an outlined red square on a white background",
    "the outline of a blue heart on a yellow background",
    "a line drawing of a green star on a black background",
    "a circle outlined in purple on an orange to white gradient background",
    "a photo of a cat",
    "un circulo rojo",
    "",
)


Advance = Callable[[int], object]
"""Hears how many pictures have been made."""


def unheard(_: int) -> None:
    """Nobody listens."""


def suite(name: str, count: int, seed: int) -> list[tuple[scenes.Spec, str]]:
    """The specs and prompts of a suite; its first n do not depend on ``count``."""
    rng = random.Random(f"evaluate/{name}/{seed}")
    specs = (scenes.sample_spec(rng, **{"outlined": False, **SUITES[name]}) for _ in range(count))
    return [(spec, language.phrase(spec, rng)) for spec in specs]


def load(folder: Path) -> Any:
    """The folder as a diffusers pipeline on the CPU, in float32, quiet."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    logging.set_verbosity_error()
    pipe: Any = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
    pipe.set_progress_bar_config(disable=True)
    return pipe


class ModelError(Exception):
    """The folder cannot be measured; the text says why, and what to do."""


def open_model(folder: Path, steps: int | None, guidance_scale: float | None) -> tuple[Any, int, float]:
    """The pipeline, and the settings asked for or else its own."""
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"--model {folder} is no diffusers folder: it has no model_index.json")
    if steps is None or guidance_scale is None:
        try:
            told = defaults(folder)
            steps = told["steps"] if steps is None else steps
            guidance_scale = told["guidance_scale"] if guidance_scale is None else guidance_scale
        except (OSError, ValueError, KeyError) as error:
            file, reason = folder / "pixwire_defaults.json", f"{type(error).__name__}: {error}"
            raise ModelError(f"no settings in {file} ({reason}): give --steps and --guidance-scale") from None
    try:
        pipe = load(folder)
        side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    except Exception as error:  # of whatever class: a file is missing, cut off or of another pipeline
        raise ModelError(f"--model {folder} does not load as a StableDiffusionPipeline: {error}") from None
    if side != scenes.SIZE:
        raise ModelError(f"--model {folder} makes pictures {side} pixels wide; the checker judges {scenes.SIZE}")
    return pipe, steps, guidance_scale


def defaults(folder: Path) -> dict[str, Any]:
    """The settings that the folder recommends (pixwire_defaults.json)."""
    settings: dict[str, Any] = json.loads((folder / "pixwire_defaults.json").read_text(encoding="utf-8"))
    return settings


def generate(
    pipe: Any,
    prompts: Sequence[str],
    *,
    steps: int,
    guidance_scale: float,
    seed: int = 0,
    batch: int = 20,
    advance: Advance = unheard,
) -> list[Image.Image]:
    """One picture per prompt; picture i starts from the noise of seed ``seed + i``, whatever the batch size."""
    import torch

    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        made = pipe(part, num_inference_steps=steps, guidance_scale=guidance_scale, generator=generators)
        pictures += made.images
        advance(len(part))
    return pictures


def tally(verdicts: Sequence[dict[str, bool]]) -> dict[str, float]:
    """The share of right answers per attribute, over the verdicts that have it."""
    asked = {key: [v[key] for v in verdicts if key in v] for key in COLUMNS}
    return {key: round(sum(values) / len(values), 3) for key, values in asked.items() if values}


@dataclass(frozen=True)
class Edit:
    """A drawn picture to change: what it should show, the prompt for that, and for a hole the mask (white: fill)."""

    spec: scenes.Spec
    prompt: str
    picture: Image.Image
    hole: Image.Image | None = None


def edits(name: str, count: int, seed: int) -> list[Edit]:
    """The edits of a suite of EDITS.

    ``recolour`` asks for the object of a picture in another colour.  ``fill`` masks a single object away generously
    and asks for another one in its place, on the background that is left around the hole.
    """
    rng = random.Random(f"edit/{name}/{seed}")
    made: list[Edit] = []
    asked: dict[str, Any] = {"kind": "single", "background": "solid", "size": False, "outlined": False}
    while len(made) < count:
        before = scenes.sample_spec(rng, position=name == "recolour" and rng.random() < 0.5, **asked)
        thing, ground = before.things[0], before.background
        other = scenes.sample_spec(rng, position=False, **asked).things[0]
        wanted = replace(thing, colour=other.colour, shape=thing.shape if name == "recolour" else other.shape)
        if wanted.colour in (thing.colour, ground.first if ground else None):
            continue
        scene = scenes.realise(before, rng)
        spec = scenes.Spec((wanted,), ground)
        hole = None
        if name == "fill":
            item, hole = scene.items[0], Image.new("L", (scenes.SIZE, scenes.SIZE))
            reach = 1.15 * item.radius + 3
            ImageDraw.Draw(hole).rectangle(
                (item.x - reach, item.y - reach, item.x + reach - 1, item.y + reach - 1), fill=255
            )
        made.append(Edit(spec, language.phrase(spec, rng), Image.fromarray(scenes.draw(scene)), hole))
    return made


def measure_edits(
    pipe: Any,
    name: str,
    count: int,
    *,
    steps: int,
    guidance_scale: float,
    seed: int,
    batch: int = 20,
    advance: Advance = unheard,
) -> dict[str, float]:
    """The shares of a suite of EDITS; ``kept``: outside the hole a filled picture is as it was."""
    import numpy as np
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline

    kind: Any = StableDiffusionImg2ImgPipeline if name == "recolour" else StableDiffusionInpaintPipeline
    editor = kind(**pipe.components)
    editor.set_progress_bar_config(disable=True)
    asked, verdicts = edits(name, count, seed), []
    for start in range(0, count, batch):
        part = asked[start : start + batch]
        told: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
        if name == "recolour":
            told |= {"strength": RECOLOUR_STRENGTH}
        else:
            told |= {"mask_image": [edit.hole for edit in part], "height": scenes.SIZE, "width": scenes.SIZE}
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        pictures = editor(
            [edit.prompt for edit in part], image=[edit.picture for edit in part], generator=generators, **told
        ).images
        for edit, picture in zip(part, pictures, strict=True):
            verdict = checker.check(picture, edit.spec)
            if edit.hole:
                outside = np.asarray(edit.hole) == 0
                change = np.abs(np.asarray(picture, float) - np.asarray(edit.picture, float)).max(-1)
                verdict["kept"] = bool(np.percentile(change[outside], 98) < 25)
            verdicts.append(verdict)
        advance(len(part))
    return tally(verdicts)


def measure(
    pipe: Any,
    names: Sequence[str],
    count: int,
    *,
    steps: int,
    guidance_scale: float,
    seed: int,
    advance: Advance = unheard,
) -> dict[str, Any]:
    """{suite: shares} for freshly generated pictures."""
    table = {}
    told: dict[str, Any] = {"steps": steps, "guidance_scale": guidance_scale, "seed": seed, "advance": advance}
    for name in names:
        if name in EDITS:
            table[name] = measure_edits(pipe, name, count, **told)
            continue
        asked = suite(name, count, seed)
        pictures = generate(pipe, [prompt for _, prompt in asked], **told)
        table[name] = tally([checker.check(p, spec) for p, (spec, _) in zip(pictures, asked, strict=True)])
    return table


def round_trip(pipe: Any, names: Sequence[str], count: int, *, seed: int, advance: Advance = unheard) -> dict[str, Any]:
    """{suite: shares} for drawn pictures sent through the autoencoder, with the PSNR in dB: the ceiling it sets."""
    import numpy as np
    import torch

    table: dict[str, Any] = {}
    for name in SUITES:
        if name not in names:
            continue
        rng, verdicts, errors = random.Random(f"round trip/{name}/{seed}"), [], []
        for spec, _ in suite(name, count, seed):
            drawn = scenes.draw(scenes.realise(spec, rng))
            with torch.no_grad():
                pixels = torch.from_numpy(drawn).permute(2, 0, 1)[None].float() / 127.5 - 1
                made = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
            errors.append(float((made - pixels).square().mean()) / 4)
            verdicts.append(checker.check(((made[0].permute(1, 2, 0) + 1) * 127.5).round().numpy(), spec))
            advance(1)
        table[name] = tally(verdicts) | {"psnr": round(-10 * float(np.log10(np.mean(errors))), 1)}
    return table


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int = 6) -> Image.Image:
    """The pictures, enlarged, with their prompts."""
    side, caption, gap = 128, 46, 8
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + caption + gap) + gap), "#dddddd")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        x, y = gap + index % columns * (side + gap), gap + index // columns * (side + caption + gap)
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (x, y))
        lines = [""]
        for word in (text or "(empty prompt)").split():
            if pen.textlength(f"{lines[-1]} {word}", font=font) > side:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        for row, line in enumerate(lines[:4]):
            pen.text((x, y + side + 1 + 11 * row), line, fill="black", font=font)
    return sheet


def time_one(pipe: Any, *, steps: int, guidance_scale: float, threads: int, repeats: int = 5) -> float:
    """Seconds for one picture, the best of a few."""
    import torch

    torch.set_num_threads(threads)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        generate(pipe, SHEET[:1], steps=steps, guidance_scale=guidance_scale)
        best = min(best, time.perf_counter() - start)
    return best


def _print(title: str, table: dict[str, Any]) -> None:
    keys = [key for key in (*COLUMNS, "psnr") if any(key in row for row in table.values())]
    print(f"{title:18s}" + "".join(f"{key:>11s}" for key in keys))
    for name, row in table.items():
        print(f"{name:18s}" + "".join(f"{row[key]:11.3f}" if key in row else f"{'-':>11s}" for key in keys))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pixwire_server.builtin_model.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=path(), help=f"a diffusers folder (default: {NAME})")
    parser.add_argument("--n", type=at_least(0), default=100, help="prompts per suite (default 100)")
    parser.add_argument(
        "--suites", nargs="*", default=[*SUITES, *EDITS], choices=[*SUITES, *EDITS], help="which (default all)"
    )
    parser.add_argument("--steps", type=at_least(1), help="default: the folder's")
    parser.add_argument("--guidance-scale", type=no_less_than_0, help="default: the folder's")
    parser.add_argument("--seed", type=at_least(0), default=12345, help="of the prompts and of the noise")
    parser.add_argument("--round-trip", action="store_true", help="also measure drawn pictures through the autoencoder")
    parser.add_argument("--threads", type=at_least(1), help="threads of torch")
    parser.add_argument("--time", action="store_true", help="also time one picture")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--contact", type=Path, help="write a contact sheet of fixed prompts (PNG)")
    args = parser.parse_args(arguments)
    if args.contact and not args.contact.parent.is_dir():
        parser.error(f"--contact {args.contact}: there is no folder {args.contact.parent}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = _parse(arguments)
    import torch
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        pipe, steps, scale = open_model(args.model, args.steps, args.guidance_scale)
    except ModelError as error:
        sys.exit(f"error: {error}")
    result: dict[str, Any] = {"n": args.n, "steps": steps, "guidance_scale": scale, "seed": args.seed}
    if args.n:
        drawn = sum(name in SUITES for name in args.suites) if args.round_trip else 0
        with tqdm(total=args.n * (len(args.suites) + drawn), unit="picture", leave=False, disable=None) as bar:
            result["generated"] = measure(
                pipe, args.suites, args.n, steps=steps, guidance_scale=scale, seed=args.seed, advance=bar.update
            )
            if args.round_trip:
                result["round trip"] = round_trip(pipe, args.suites, args.n, seed=args.seed, advance=bar.update)
    if args.contact:
        pictures = generate(pipe, SHEET, steps=steps, guidance_scale=scale)
        contact_sheet(pictures, SHEET).save(args.contact, optimize=True)
    if args.time:
        result["seconds per picture"] = round(
            time_one(pipe, steps=steps, guidance_scale=scale, threads=args.threads or 1), 3
        )
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in result.items() if not isinstance(value, dict)))
    for title in ("generated", "round trip"):
        if title in result:
            _print(title, result[title])


if __name__ == "__main__":
    main()
