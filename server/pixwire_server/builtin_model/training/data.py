"""The drawn scenes, kept in files that every process maps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from .. import scenes
from .children import share
from .files import FilesError
from .loop import log, replace
from .options import Options

CHUNK = 1000
WILD_SHARE = 0.1
#: Of 255, the mean difference of two pictures of one scene at most: versions of Pillow may round otherwise.
SAME_WITHIN = 1.0
Job = tuple[int, range, scenes.Mix]


def indices(options: Options, name: str) -> range:
    """Which training scenes a set holds; the index of a scene is what its random generator is seeded with."""
    every = range(options.scenes + options.broad_scenes)
    if name == "fancy":
        return range(len(every), len(every) + options.fancy_scenes)
    return every[: options.scenes] if name == "scenes" else every[options.scenes :]


def _sample(seed: int, index: int, mix: scenes.Mix) -> tuple[scenes.Spec, random.Random]:
    rng = random.Random(f"scene/{seed}/{index}")
    return scenes.sample_spec(rng, mix), rng


def _mix(name: str) -> scenes.Mix:
    return {"broad": scenes.BROAD, "fancy": scenes.FANCY}.get(name, scenes.EASY)


def specs(options: Options, name: str) -> list[scenes.Spec]:
    """What the scenes of a set show."""
    return [_sample(options.seed, index, _mix(name))[0] for index in indices(options, name)]


def draw_chunk(job: Job) -> scenes.Pixels:
    """Scenes of a set: uint8 (n, SIZE, SIZE, 3)."""
    seed, chosen, mix = job
    sampled = (_sample(seed, index, mix) for index in chosen)
    return np.stack([scenes.draw(scenes.realise(spec, rng)) for spec, rng in sampled])


def draw_wild(job: Job) -> scenes.Pixels:
    """Clutter in arbitrary colours: uint8 (n, SIZE, SIZE, 3)."""
    seed, chosen, _ = job
    rng = random.Random(f"wild/{seed}/{chosen.start}")
    return np.stack([scenes.draw(scenes.wild_scene(rng)) for _ in chosen])


def prepare(options: Options) -> None:
    """Draw what is not there yet: work/scenes.npy, work/broad.npy and the clutter, work/wild.npy."""
    wanted: dict[str, tuple[range, Callable[[Job], scenes.Pixels]]] = {
        "scenes": (indices(options, "scenes"), draw_chunk),
        "broad": (indices(options, "broad"), draw_chunk),
        "fancy": (indices(options, "fancy"), draw_chunk),
        "wild": (range(max(8, int(options.scenes * WILD_SHARE))), draw_wild),
    }
    missing = [name for name in wanted if not (options.work / f"{name}.npy").exists()]
    jobs: dict[str, list[tuple[Callable[[Job], scenes.Pixels], Job]]] = {}
    for name in missing:
        chosen, painter = wanted[name]
        parts = (chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK))
        jobs[name] = [(painter, (options.seed, part, _mix(name))) for part in parts]
    drawn = share(_paint, itertools.chain(*jobs.values()))
    for name in missing:
        save(options, name, np.concatenate(list(itertools.islice(drawn, len(jobs[name])))))
        log(options, stage="scenes", drawn=name, count=len(wanted[name][0]))


def _paint(job: tuple[Callable[[Job], scenes.Pixels], Job]) -> scenes.Pixels:
    painter, told = job
    return painter(told)


def check(options: Options, names: Sequence[str] = ("scenes", "broad", "fancy")) -> None:
    """Raise FilesError if scenes that are there already are not those that these options would draw today."""
    for name in names:
        file, chosen = options.work / f"{name}.npy", indices(options, name)
        if not file.exists():
            continue
        drawn = load(options, name)
        if len(drawn) != len(chosen):
            flag = "--scenes" if name == "scenes" else f"--{name}-scenes"
            raise FilesError(
                f"{file} holds {len(drawn)} scenes, {flag} is {len(chosen)}: give the former or another --out"
            )
        for i in sorted({0, len(chosen) // 2, len(chosen) - 1}):
            fresh = draw_chunk((options.seed, chosen[i : i + 1], _mix(name)))[0]
            if np.abs(fresh.astype(float) - drawn[i]).mean() > SAME_WITHIN:
                raise FilesError(
                    f"{file} was drawn with another --seed than {options.seed}, other --scenes, or before scenes.py"
                    " changed: give what that run was told, or another --out"
                )


def save(options: Options, name: str, pictures: scenes.Pixels) -> None:
    """Keep an array for :func:`load`."""
    replace(options.work / f"{name}.npy", lambda path: _save(path, pictures))


def _save(path: Path, array: npt.NDArray[np.uint8]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def load(options: Options, name: str) -> scenes.Pixels:
    """One of the arrays that :func:`prepare` drew, mapped, not read."""
    array: scenes.Pixels = np.load(options.work / f"{name}.npy", mmap_mode="r")
    return array


def to_tensor(pictures: scenes.Pixels, device: str) -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float32 (n, 3, h, w) in [-1, 1]."""
    copied = torch.from_numpy(np.array(pictures)).to(device)
    return copied.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
