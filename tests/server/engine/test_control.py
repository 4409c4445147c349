"""Control images: requests with and without them, over one model with a ControlNet."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, generator, plain
from test_variants import TASKS, job, mask, picture
from tiny_control import controlnet, flux_controlnet, qwen_controlnet, sdxl_controlnet

from pixwire_server.engine.api import IMG2IMG, INPAINT, TXT2IMG, GenerateTask
from pixwire_server.engine.arguments import build
from pixwire_server.engine.card import check_pipeline_class
from pixwire_server.engine.variants import Variant, inputs, kinds, variants

pytestmark = QUIET

ALL = {TXT2IMG, IMG2IMG, INPAINT}
MODELS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "sd15": (controlnet, ALL),
    "sdxl": (sdxl_controlnet, ALL),
    "flux": (flux_controlnet, ALL),
    "qwen": (qwen_controlnet, {TXT2IMG}),
}
SCALES = (1.0, 0.5, 0.8, 1.0, 0.7)


def controlled(name: str, k: int, variant: Variant, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Task k with a control image, as the engine builds it, but with the family's texts."""
    kind, width, height, steps, strength = TASKS[k]
    task = GenerateTask(k, "", "", width, height, steps, 1.0, k, kind=kind, strength=strength, control_scale=SCALES[k])
    pictures = {"image": picture(width, height, k), "mask": mask(width, height), "control": picture(width, height, 9)}
    built = build(task, variant, pictures)
    built = {n: value for n, value in built.items() if n not in {"prompt", "negative_prompt"}}
    return built | job(FAMILIES[name], k, variant, dtype, **{n: built[n] for n in built if n in PICTURES})


PICTURES = ("image", "control_image", "mask_image")


@pytest.mark.parametrize("name", MODELS)
def test_requests_with_and_without_control_equal_single_runs_exactly_in_float64(name: str) -> None:
    make, kinds_with_control = MODELS[name]
    pipeline = make().to(torch.float64)
    check_pipeline_class(type(pipeline))
    found = variants(pipeline)
    assert kinds(found) == (TXT2IMG, IMG2IMG, INPAINT)
    assert inputs(found) == ("image", "mask", "control")
    assert {kind for kind, with_control in found if with_control} == kinds_with_control
    jobs = []
    for k, (kind, *_) in enumerate(TASKS[:3]):
        jobs.append((found[kind, False], job(FAMILIES[name], k, found[kind, False], torch.float64)))
        if variant := found.get((kind, True)):
            jobs.append((variant, controlled(name, k, variant)))
    lab = Lab(pipeline)
    for handle, (variant, arguments) in enumerate(jobs):
        lab.submit(handle, arguments, pipeline=variant.pipeline)
    lab.run()
    images = [lab.images(handle) for handle in range(len(jobs))]
    for (variant, arguments), image in zip(jobs, images, strict=True):
        seed = arguments["generator"].initial_seed()
        alone = plain(variant.pipeline, arguments | {"generator": generator(seed)})
        assert distance(image, alone) == 0.0
    assert distance(images[0], images[1]) > 0.01, "the control image changed nothing"
    assert lab.runner.passes < sum(request.passes for request in lab.requests.values())


def test_weights_of_control_images_need_not_be_equal_to_share_a_pass() -> None:
    pipeline = controlnet().to(torch.float64)
    variant = variants(pipeline)[TXT2IMG, True]
    job_of = lambda scale: FAMILIES["sd15"].job(  # noqa: E731
        0, torch.float64, image=picture(32, 32, 1), controlnet_conditioning_scale=scale
    )
    lab = Lab(variant.pipeline)
    for handle, scale in enumerate((0.3, 1.0, 1.7)):
        lab.submit(handle, job_of(scale))
    lab.run()
    for handle, scale in enumerate((0.3, 1.0, 1.7)):
        assert distance(lab.images(handle), plain(variant.pipeline, job_of(scale))) == 0.0
        assert lab.requests[handle].pass_share == pytest.approx(lab.requests[handle].passes / 3)
