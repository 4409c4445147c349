"""Whole pipeline classes by the tasks they do: the engine's own arguments, with the texts of a tiny model."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints
from unittest import mock

import numpy
import torch
from hub_lab import Lab, cast, distance
from PIL import Image

from pixwire_server.engine.api import CONTROL, IMAGE, INPAINT, MASK, STYLE, TXT2IMG, GenerateTask
from pixwire_server.engine.arguments import build
from pixwire_server.engine.families import Task
from pixwire_server.engine.request import as_tensor
from pixwire_server.engine.variants import Variant, variants


def picture(width: int, height: int, seed: int) -> Image.Image:
    pixels = numpy.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), numpy.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def mask(width: int, height: int) -> Image.Image:
    made = Image.new("L", (width, height), 0)
    made.paste(255, (0, 0, width // 2, height))
    return made


@dataclass(frozen=True)
class Kind:
    """A pipeline class, the texts of its requests, and what it is expected to do."""

    build: Callable[[], Any]
    text: Callable[[int], Mapping[str, object]]
    tasks: frozenset[Task]
    side: int = 32
    made: int = 0  # the side of its images where the tiny decoder enlarges less than its pipeline takes for granted
    alone: str = ""  # why its requests share no passes; "": they do
    tolerance: float = 0.0  # in `dtype`
    dtype: torch.dtype = torch.float64
    settings: Mapping[str, Any] = field(default_factory=dict)  # as an operator chooses them
    extra: Mapping[str, Any] = field(default_factory=dict)  # arguments that the tiny model needs
    spoken: Callable[..., Any] | None = None  # in place of the pipeline's `encode_prompt`
    patched: Mapping[str, Any] = field(default_factory=dict)  # names in the pipeline's module

    @property
    def pipeline_class(self) -> type[Any]:
        made: type[Any] = get_type_hints(self.build)["return"]
        return made

    def variants(self, dtype: torch.dtype | None = None) -> dict[Task, Variant]:
        pipeline = self.build().to(dtype or self.dtype)
        return variants(pipeline, settings=self.settings)


STEPS = (2, 3)
GUIDANCE = (4.0, 2.5)
STRENGTH = 0.75


def task(
    kind: Kind, k: int, wanted: Task, variant: Variant, dtype: torch.dtype | None = None, **changes: Any
) -> dict[str, Any]:
    """The arguments of request k for this task, with fresh generators."""
    name, controlled = wanted
    strength = STRENGTH if "strength" in variant.parameters else 1.0
    values = {"steps": STEPS[k], "guidance_scale": GUIDANCE[k], "seed": k, "kind": name, "strength": strength}
    asked = GenerateTask(k, "cat " * (k + 1), "", kind.side, kind.side, **values | changes)  # type: ignore[arg-type]
    pictures: dict[str, Any] = {}
    if name != TXT2IMG:
        pictures[IMAGE] = picture(kind.side, kind.side, k)
    if name == INPAINT:
        pictures[MASK] = mask(kind.side, kind.side)
    if controlled:
        pictures[CONTROL] = picture(kind.side, kind.side, k + 50)
    if variant.takes_style and changes.get("ip_scale") is not None:
        pictures[STYLE] = picture(40, 48, k + 70)
    built = build(asked, variant, pictures)
    text = dict(kind.text(k))
    if any("embeds" in part for part in text):
        built = {part: value for part, value in built.items() if part not in {"prompt", "negative_prompt"}}
    built |= {part: value for part, value in (text | dict(kind.extra)).items() if part in variant.parameters}
    return {part: cast(value, dtype or kind.dtype) for part, value in built.items()}


def alone(variant: Variant, arguments: Mapping[str, Any]) -> torch.Tensor:
    """The images of the plain pipeline. What it draws from the global random state it draws from the seed."""
    generators = arguments["generator"]
    first = generators[0] if isinstance(generators, list) else generators
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first.initial_seed())
        return as_tensor(variant.pipeline(**arguments)[0])


def compare(kind: Kind) -> tuple[Lab, float]:
    """Requests of every task in one hub against the plain pipelines: the hub, and the largest difference.

    The class itself gets two requests, its siblings (which have tests of their own) one.
    """
    found = kind.variants()
    with patched(kind, found):
        return _compare(kind, found)


@contextlib.contextmanager
def patched(kind: Kind, found: Mapping[Task, Variant]) -> Iterator[None]:
    """While the classes' text encoding and their modules' names are replaced as the kind says."""
    with contextlib.ExitStack() as stack:
        if kind.spoken is not None:
            for pipeline_class in {type(variant.pipeline) for variant in found.values()}:
                stack.enter_context(mock.patch.object(pipeline_class, "encode_prompt", kind.spoken))
        for name, value in kind.patched.items():
            stack.enter_context(mock.patch.object(sys.modules[kind.pipeline_class.__module__], name, value))
        yield


def _compare(kind: Kind, found: Mapping[Task, Variant]) -> tuple[Lab, float]:
    assert set(found) == kind.tasks, set(found)
    jobs = [
        (variant, wanted, k)
        for wanted, variant in found.items()
        for k in ((0, 1) if type(variant.pipeline) is kind.pipeline_class else (0,))
    ]
    lab = Lab(jobs[0][0].pipeline)
    for handle, (variant, wanted, k) in enumerate(jobs):
        lab.submit(handle, task(kind, k, wanted, variant), pipeline=variant.pipeline)
    lab.run()
    for handle in range(len(jobs)):
        height, width = lab.images(handle).shape[-2:]
        assert height == width
        assert width in {kind.side, kind.made}, "not the size that was asked for"
    differences = [
        distance(lab.images(handle), alone(variant, task(kind, k, wanted, variant)))
        for handle, (variant, wanted, k) in enumerate(jobs)
    ]
    return lab, max(differences)
