"""Train the built-in model from nothing but drawn scenes.

    python -m pixwire_server.builtin_model.training --out DIR                     # a CPU, about five hours
    python -m pixwire_server.builtin_model.training --out DIR --device cuda --vae-batch 128 --unet-batch 512

Stages: scenes (drawn to files), vae, text (the text encoder, on prompts alone), latents, prompts, unet, polish (the
decoder alone), write (the diffusers folder DIR/pipeline), evaluate.  A stage that is done is skipped and one that was
stopped goes on from its last checkpoint, so the same command resumes.  DIR/work holds checkpoints, scenes and
log.jsonl.  Each learning stage ends at its steps, so that the same machine, versions and number of processes give the
same model; minutes end it earlier where somebody has less time than that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from . import data, text, unet, vae
from .loop import launch, log
from .options import Options
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


#: stage -> (what it does, the file that says it is done)
STAGES: dict[str, tuple[Callable[[Options], None], str]] = {
    "scenes": (data.prepare, ""),
    "vae": (lambda options: launch(vae.train, options), "vae.pt"),
    "text": (lambda options: launch(text.train, options), "text.pt"),
    "latents": (lambda options: launch(vae.encode_training_set, options), ""),
    "prompts": (unet.encode_prompts, ""),
    "unet": (lambda options: launch(unet.train, options), "unet.pt"),
    "polish": (lambda options: launch(vae.polish, options), "vae-polished.pt"),
    "write": (_write, ""),
    "evaluate": (_evaluate, ""),
}


def run(options: Options, stages: list[str]) -> None:
    """Run the stages in order, those already done left out."""
    options.work.mkdir(parents=True, exist_ok=True)
    for name in stages:
        work, marker = STAGES[name]
        if not (marker and (options.work / marker).exists()):
            work(options)


def parse(arguments: list[str] | None = None) -> tuple[Options, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m pixwire_server.builtin_model.training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--stages", nargs="*", choices=list(STAGES), default=list(STAGES), help="only these (default: all)"
    )
    for field in fields(Options):
        flag, note = "--" + field.name.replace("_", "-"), HELP.get(field.name, "of that stage")
        if field.name == "out":
            parser.add_argument(flag, type=Path, required=True, help=note)
        else:
            parser.add_argument(
                flag, type=type(field.default), default=field.default, help=f"{note} (default %(default)s)"
            )
    read = vars(parser.parse_args(arguments))
    stages = read.pop("stages")
    return Options(**read), stages


if __name__ == "__main__":
    run(*parse())
