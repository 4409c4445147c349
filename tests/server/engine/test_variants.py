"""Image to image and inpainting: the family's own pipelines over the same weights, in the same passes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy
import pytest
import torch
from hub_lab import FAMILIES, GUIDANCE, QUIET, Family, Lab, cast, distance, generator, plain
from PIL import Image
from tiny_rare import flux_fill, sd_inpaint, sdxl_refiner

from pixwire_server.engine.api import IMG2IMG, INPAINT, TXT2IMG, GenerateTask
from pixwire_server.engine.arguments import build
from pixwire_server.engine.card import check_pipeline_class
from pixwire_server.engine.variants import Task, Variant, kinds, variants

pytestmark = QUIET

TASKS = (
    # kind, width, height, steps, strength
    (TXT2IMG, 32, 32, 4, 1.0),
    (IMG2IMG, 32, 32, 6, 0.5),
    (INPAINT, 32, 32, 3, 1.0),
    (IMG2IMG, 64, 32, 4, 0.9),
    (INPAINT, 32, 32, 5, 0.6),
)


def picture(width: int, height: int, seed: int) -> Image.Image:
    pixels = numpy.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), numpy.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def mask(width: int, height: int) -> Image.Image:
    made = Image.new("L", (width, height), 0)
    made.paste(255, (0, 0, width // 2, height))
    return made


def job(family: Family, k: int, variant: Variant, dtype: torch.dtype, **extra: Any) -> dict[str, Any]:
    """The arguments of task k, with a fresh generator."""
    kind, width, height, steps, strength = TASKS[k]
    width, height = width * family.enlarged, height * family.enlarged
    inputs = {} if kind == TXT2IMG else {"image": picture(width, height, k), "strength": strength}
    if kind == INPAINT:
        inputs["mask_image"] = mask(width, height)
    changes = {"width": width, "height": height, "num_inference_steps": steps, family.guidance: GUIDANCE[k]}
    made = family.job(k, dtype, **changes, **inputs | extra)
    return {name: value for name, value in made.items() if name in variant.parameters}


def run(family: Family, found: Mapping[Task, Variant], dtype: torch.dtype, **options: Any) -> Lab:
    lab = Lab(found[TXT2IMG, False].pipeline, **options)
    for k, (kind, *_) in enumerate(TASKS):
        if variant := found.get((kind, False)):
            lab.submit(k, job(family, k, variant, dtype), pipeline=variant.pipeline)
    lab.run()
    return lab


KINDS = {name: {TXT2IMG, IMG2IMG, INPAINT} for name in ("sd15", "sdxl", "sd3", "flux", "qwen", "zimage")}
KINDS |= {name: {TXT2IMG, IMG2IMG} for name in ("lcm", "sana_sprint")} | {"chroma": {TXT2IMG, IMG2IMG, INPAINT}}
KINDS |= {name: {TXT2IMG, IMG2IMG, INPAINT} for name in ("flux2_klein", "flux_kontext")} | {"flux2": {TXT2IMG, IMG2IMG}}
EDITORS = ("flux2", "flux2_klein", "flux_kontext")
"""All steps are run, and a picture makes more tokens, so that kinds do not share."""


@pytest.mark.parametrize("name", KINDS)
def test_a_mixed_set_of_kinds_equals_single_runs_exactly_in_float64(name: str) -> None:
    family = FAMILIES[name]
    found = variants(family.pipeline(torch.float64))
    assert {kind for kind, _ in found} == KINDS[name]
    lab = run(family, found, torch.float64)
    for k, request in lab.requests.items():
        variant = found[TASKS[k][0], False]
        assert distance(lab.images(k), plain(variant.pipeline, job(family, k, variant, torch.float64))) == 0.0, k
        assert request.step == request.steps == variant.pipeline._num_timesteps
    if name not in EDITORS:
        assert lab.requests[1].steps == (6 if name == "lcm" else 3)  # its scheduler spreads all steps over the strength
        shared = lab.requests[1].pass_share < lab.requests[1].passes
        assert shared or name == "chroma", "kinds did not share passes"  # here their timesteps differ in type


@pytest.mark.parametrize(
    ("build", "family", "expected"),
    [
        (sd_inpaint, "sd15", (INPAINT,)),
        (flux_fill, "flux", (INPAINT,)),
        (sdxl_refiner, "sdxl", (IMG2IMG, INPAINT)),
    ],
)
def test_models_made_for_pictures_do_what_they_are_made_for(
    build: Callable[[], Any], family: str, expected: tuple[str, ...]
) -> None:
    pipeline = build().to(torch.float64)
    check_pipeline_class(type(pipeline))
    found = variants(pipeline)
    assert kinds(found) == expected
    lab = Lab(pipeline)
    chosen = {k: found[task[0], False] for k, task in enumerate(TASKS) if task[0] in expected}
    for k, variant in chosen.items():
        lab.submit(k, job(FAMILIES[family], k, variant, torch.float64), pipeline=variant.pipeline)
    lab.run()
    for k, variant in chosen.items():
        alone = plain(variant.pipeline, job(FAMILIES[family], k, variant, torch.float64))
        assert distance(lab.images(k), alone) == 0.0
    assert lab.runner.passes < sum(request.passes for request in lab.requests.values())


def test_pictures_of_one_size_are_encoded_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["sd15"]
    found = variants(family.pipeline(torch.float64))
    variant = found[IMG2IMG, False]
    vae = variant.pipeline.vae
    encode, rows = vae.encode, []

    def counting(x: torch.Tensor, return_dict: bool = True) -> Any:
        rows.append(x.shape[0])
        return encode(x, return_dict=return_dict)

    monkeypatch.setattr(vae, "encode", counting)
    lab = Lab(variant.pipeline)
    for handle, k in enumerate((1, 1, 3)):
        lab.submit(handle, job(family, k, variant, torch.float64) | {"generator": generator(handle)})
    lab.run()
    assert sorted(rows) == [1, 2]
    monkeypatch.undo()
    for handle, k in enumerate((1, 1, 3)):
        alone = job(family, k, variant, torch.float64) | {"generator": generator(handle)}
        assert distance(lab.images(handle), plain(variant.pipeline, alone)) == 0.0


@pytest.mark.parametrize("name", ["sd15", "flux", "zimage"])
def test_several_images_from_one_picture_are_those_of_single_tasks(name: str) -> None:
    family = FAMILIES[name]
    found = variants(family.pipeline(torch.float64))
    for k in (1, 4):
        kind, width, height, steps, strength = TASKS[k]
        variant = found[kind, False]
        task = GenerateTask(1, "", "", width, height, steps, GUIDANCE[k], 40, 2, kind=kind, strength=strength)
        pictures = {"image": picture(width, height, k), "mask": mask(width, height)}
        built = build(task, variant, pictures)
        text = {"prompt": None} | family.text(k) if "prompt" not in family.text(k) else family.text(k)
        lab = Lab(variant.pipeline)
        lab.submit(0, {n: cast(v, torch.float64) for n, v in (built | text).items()})
        lab.run()
        for i in range(2):
            single = job(family, k, variant, torch.float64) | {"generator": generator(40 + i)}
            assert distance(lab.images(0)[i : i + 1], plain(variant.pipeline, single)) == 0.0


def test_exact_mode_is_bit_identical_whatever_kinds_the_neighbours_are() -> None:
    family = FAMILIES["sd15"]
    found = variants(family.pipeline())
    together = run(family, found, torch.float32, max_rows=6, exact=True)
    for k, (kind, *_) in enumerate(TASKS):
        variant = found[kind, False]
        alone = Lab(variant.pipeline, max_rows=6, exact=True)
        alone.submit(0, job(family, k, variant, torch.float32))
        alone.run()
        assert torch.equal(together.images(k), alone.images(0))


def test_a_task_with_a_picture_can_be_cancelled_at_every_step() -> None:
    family = FAMILIES["sd15"]
    variant = variants(family.pipeline())[IMG2IMG, False]
    for step in range(3):
        lab = Lab(variant.pipeline)
        request = lab.submit(0, job(family, 1, variant, torch.float32))
        lab.run_until(lambda: request.step == step)  # noqa: B023 - called at once
        lab.hub.cancel(0)
        assert request.cancelled
        assert (request.step, request.passes, lab.hub.resident) == (step, step, 0)


def test_variants_share_every_component() -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    for variant in variants(pipeline).values():
        for name in ("unet", "vae", "text_encoder", "tokenizer"):
            assert getattr(variant.pipeline, name) is getattr(pipeline, name)


def test_a_pipeline_of_no_family_does_what_it_does() -> None:
    pipeline = FAMILIES["pixart"].pipeline()
    found = variants(pipeline)
    assert list(found) == [(TXT2IMG, False)]
    assert found[TXT2IMG, False].pipeline is pipeline
