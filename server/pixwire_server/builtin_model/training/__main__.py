"""Train the built-in model from nothing but drawn scenes.

    python -m pixwire_server.builtin_model.training --out DIR                     # 2 cores, about two hours
    python -m pixwire_server.builtin_model.training --out DIR --device cuda --vae-batch 128 --unet-batch 512

Stages: scenes (drawn to files), vae, text (the text encoder, on prompts alone), latents, prompts, unet, polish (the
decoder alone), write (the diffusers folder DIR/pipeline), evaluate.  A stage that is done is skipped and one that was
stopped goes on from its last checkpoint, so the same command resumes.  DIR/work holds checkpoints, scenes and
log.jsonl.  Each learning stage ends at its steps, so that on a CPU the same machine, versions and number of processes
give the same model, unless it was stopped in between: then it goes on with other random batches.  Minutes end a stage
earlier where somebody has less time than that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

from . import data, text, tokenizer, unet, vae
from .children import ChildLostError
from .files import FilesError, need
from .loop import launch, log
from .options import Options, add_option
from .pipeline import write_pipeline

HELP = {
    "out": "folder of this run",
    "seed": "of everything random",
    "device": "cpu or cuda",
    "processes": "on a CPU: processes of one thread each that average their gradients (1: one, torch's own threads)",
    "scenes": "drawn for training, mostly single centred objects",
    "fancy_scenes": "drawn for the autoencoder: gradients, stripes, outlines, small things",
    "broad_scenes": "drawn for the later part of the training of the unet",
    "evaluate": "prompts per suite at the end",
    "report_seconds": "between two lines of progress",
    "checkpoint_seconds": "between two checkpoints",
}


def _write(options: Options) -> None:
    denoiser = unet.build()
    denoiser.load_state_dict(torch.load(options.work / "unet.pt", map_location="cpu", weights_only=True))
    write_pipeline(options, denoiser, unet.build_scheduler())


def _evaluate(options: Options) -> None:
    from .. import evaluate

    pipe, told = evaluate.load(options.pipeline), evaluate.defaults(options.pipeline)
    table = evaluate.measure(
        pipe, evaluate.GATE, options.evaluate, steps=told["steps"], guidance_scale=told["guidance_scale"], seed=12345
    )
    log(options, stage="evaluate", n=options.evaluate, **table)


@dataclass(frozen=True)
class Stage:
    """What it does, the stages whose files it needs, and the file in work/ that says it is done."""

    work: Callable[[Options], None]
    needs: tuple[str, ...] = ()
    done: str = ""


STAGES = {
    "scenes": Stage(data.prepare),
    "vae": Stage(lambda options: launch(vae.train, options), ("scenes",), "vae.pt"),
    "text": Stage(lambda options: launch(text.train, options), (), "text.pt"),
    "latents": Stage(lambda options: launch(vae.encode_training_set, options), ("scenes", "vae")),
    "prompts": Stage(unet.encode_prompts),
    "unet": Stage(lambda options: launch(unet.train, options), ("vae", "text", "latents", "prompts"), "unet.pt"),
    "polish": Stage(lambda options: launch(vae.polish, options), ("scenes", "vae"), "vae-polished.pt"),
    "write": Stage(_write, ("vae", "text", "unet")),
    "evaluate": Stage(_evaluate, ("write",)),
}


def run(options: Options, names: list[str]) -> None:
    """Run the stages in order, those already done left out."""
    try:
        options.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FilesError(f"--out {options.out}: {error}") from None
    data.check(options)
    tokenizer.keep(options)
    for name in names:
        stage = STAGES[name]
        if not (stage.done and (options.work / stage.done).exists()):
            need(options, *stage.needs)
            stage.work(options)


def parse(arguments: list[str] | None = None) -> tuple[Options, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m pixwire_server.builtin_model.training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--stages", nargs="*", choices=list(STAGES), default=list(STAGES), help="only these (default: all)"
    )
    for field in fields(Options):
        add_option(parser, field.name, HELP.get(field.name, "of that stage"))
    read = vars(parser.parse_args(arguments))
    stages = read.pop("stages")
    return Options(**read), stages


def main(arguments: list[str] | None = None) -> None:
    try:
        run(*parse(arguments))
    except (FilesError, ChildLostError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
