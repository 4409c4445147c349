"""What the stages of a run leave in its work folder, and whether that is what the next one needs."""

from __future__ import annotations

from pathlib import Path

import torch

from .options import Options

#: The sets that the denoiser learns from, in this order.
SETS = ("scenes", "broad")
#: stage -> what it leaves in the folder of the run.
LEFT = {
    "scenes": ("work/scenes.npy", "work/broad.npy", "work/fancy.npy", "work/wild.npy"),
    "vae": ("work/vae.pt",),
    "text": ("work/text.pt",),
    "latents": tuple(f"work/latents-{name}-0.pt" for name in SETS),
    "prompts": tuple(f"work/prompts-{name}.pt" for name in SETS),
    "unet": ("work/unet.pt",),
    "write": ("pipeline/pixwire_defaults.json",),
}


class FilesError(Exception):
    """The files of a run are not what is needed; the text says which, and what to do."""


def need(options: Options, *stages: str) -> None:
    """Raise :class:`FilesError` unless these stages have left what they should."""
    for stage in stages:
        for file in LEFT[stage]:
            if not (options.out / file).exists():
                command = f"python -m pixwire_server.builtin_model.training --out {options.out} --stages {stage}"
                raise FilesError(f"{options.out / file} is missing; run {command} first (with the options of that run)")
    if "latents" in stages:
        latents(options)
    if "prompts" in stages:
        prompts(options)


def latents(options: Options) -> torch.Tensor:
    """The latents of all training scenes, one set after the other."""
    return torch.cat([_whole(options, name, _parts(options, name), "latents") for name in SETS])


def prompts(options: Options) -> torch.Tensor:
    """The token ids of all training scenes, in the order of the latents."""
    return torch.cat([_whole(options, name, [options.work / f"prompts-{name}.pt"], "prompts") for name in SETS])


def _parts(options: Options, name: str) -> list[Path]:
    """One file from each of the processes that encoded the set, however many those were."""
    found = options.work.glob(f"latents-{name}-*.pt")
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def _whole(options: Options, name: str, parts: list[Path], kind: str) -> torch.Tensor:
    tensor = torch.cat([torch.load(part, weights_only=True) for part in parts])
    wanted = options.scenes if name == "scenes" else options.broad_scenes
    if len(tensor) != wanted:
        flag = "--scenes" if name == "scenes" else "--broad-scenes"
        raise FilesError(
            f"{options.work}/{kind}-{name}*.pt are of {len(tensor)} scenes, {flag} is {wanted}: give what the run was"
            f" told; if it was told that, and then other --processes, delete these files and run --stages {kind} again"
        )
    return tensor
