"""Shared passes change no image: mixed sets in the hub against the plain pipeline, one request at a time.

In float64 the comparison is exact. Float32 kernels choose their summation order by the number of rows, so there only
closeness can be asked; a mistake in joining or dividing rows shows in float64.
"""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from hub_lab import FAMILIES, GUIDANCE, QUIET, STEPS, Lab, distance, generator, plain, run_all
from PIL import Image
from tiny_control import controlnet
from tiny_pipelines import BETAS

from pixwire_server.engine.card import check_pipeline_class

pytestmark = QUIET

MIX = range(len(STEPS))
SAMPLERS = (
    DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler,
    UniPCMultistepScheduler, HeunDiscreteScheduler, PNDMScheduler,
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mixed_set_equals_single_runs_exactly_in_float64(name: str) -> None:
    family = FAMILIES[name]
    check_pipeline_class(family.pipeline_class)
    pipeline = family.pipeline(family.dtype)
    assert type(pipeline) is family.pipeline_class
    mix = (0, 2, 3)
    lab = run_all(pipeline, [family.job(k, family.dtype) for k in mix])
    for handle, k in enumerate(mix):
        assert distance(lab.images(handle), plain(pipeline, family.job(k, family.dtype))) <= family.tolerance
    assert lab.runner.passes < sum(request.passes for request in lab.requests.values()) * 0.6, "no passes shared"


@pytest.mark.parametrize("name", ["sd15", "sd3", "flux", "sana"])
def test_a_mixed_set_is_within_rounding_of_single_runs_in_float32(name: str) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    lab = run_all(pipeline, [family.job(k) for k in MIX], max_rows=5)
    for k in MIX:
        alone = plain(pipeline, family.job(k))
        assert distance(lab.images(k), alone) <= 1e-5
        difference = (lab.images(k) * 255).round() - (alone * 255).round()
        assert difference.abs().max() <= 1


@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_a_lone_request_is_bit_identical_to_the_plain_pipeline(name: str) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    lab = run_all(pipeline, [family.job(0)])
    assert torch.equal(lab.images(0), plain(pipeline, family.job(0)))


def test_requests_join_and_leave_at_any_step() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline(torch.float64)
    lab = Lab(pipeline)
    for k in MIX:
        lab.submit(k, family.job(k, torch.float64))
        for _ in range(k % 3):
            lab.hub.tick()
    lab.run()
    assert lab.hub.resident == 0
    for k in MIX:
        assert distance(lab.images(k), plain(pipeline, family.job(k, torch.float64))) == 0.0


def test_samplers_of_every_kind_share_passes() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline(torch.float64)
    samplers = [kind(**BETAS) for kind in SAMPLERS]
    lab = Lab(pipeline)
    for k, sampler in enumerate(samplers):
        lab.submit(k, family.job(k % 6, torch.float64, num_inference_steps=6), sampler)
    lab.run()
    for k, sampler in enumerate(samplers):
        alone = plain(pipeline, family.job(k % 6, torch.float64, num_inference_steps=6), sampler)
        assert distance(lab.images(k), alone) == 0.0, type(sampler).__name__
    longest = max(request.steps for request in lab.requests.values())
    assert longest > 6, "Heun makes more steps than it was asked for"
    assert lab.runner.passes == longest


def test_image_i_of_a_job_is_the_image_of_a_job_with_seed_plus_i() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline(torch.float64)
    three = family.job(1, torch.float64, num_images_per_prompt=3, generator=[generator(40 + i) for i in range(3)])
    lab = run_all(pipeline, [three, family.job(2, torch.float64)])
    assert lab.images(0).shape[0] == 3
    for i in range(3):
        single = plain(pipeline, family.job(1, torch.float64, generator=generator(40 + i)))
        assert distance(lab.images(0)[i : i + 1], single) == 0.0


def test_a_request_larger_than_the_cap_runs_in_slices() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline(torch.float64)
    arguments = {"num_images_per_prompt": 4, "num_inference_steps": 3}
    seeds = lambda: [generator(i) for i in range(4)]  # noqa: E731
    lab = run_all(pipeline, [family.job(0, torch.float64, generator=seeds(), **arguments)], max_rows=3)
    assert distance(lab.images(0), plain(pipeline, family.job(0, torch.float64, generator=seeds(), **arguments))) == 0.0
    assert lab.runner.passes == 3 * 3, "8 rows at 3 a pass, 3 steps"


def test_two_models_in_one_loop_fall_into_step() -> None:
    pipeline = controlnet().to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    picture = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    job = lambda k: FAMILIES["sd15"].job(k, torch.float64, image=picture)  # noqa: E731
    lab = Lab(pipeline)
    lab.submit(0, job(1))
    lab.run_until(
        lambda: lab.requests[0].passes == 3
    )  # the ControlNet of the second step: out of phase with a newcomer
    lab.submit(1, job(5))
    lab.run()
    for handle, k in enumerate((1, 5)):
        assert distance(lab.images(handle), plain(pipeline, job(k))) == 0.0
    assert lab.requests[1].pass_share < lab.requests[1].passes * 0.75


@pytest.mark.parametrize("name", ["sd15", "sd3", "flux", "sana", "zimage"])
def test_exact_mode_is_bit_identical_whatever_the_neighbours(name: str) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    together = run_all(pipeline, [family.job(k) for k in MIX], max_rows=6, exact=True)
    for k in MIX:
        alone = run_all(pipeline, [family.job(k)], max_rows=6, exact=True)
        assert torch.equal(together.images(k), alone.images(0))


def test_exact_mode_gives_image_i_of_a_job_the_bits_of_the_single_job() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    many = family.job(1, num_images_per_prompt=5, generator=[generator(40 + i) for i in range(5)])
    together = run_all(pipeline, [many, family.job(2)], max_rows=6, exact=True)
    for i in range(5):
        alone = run_all(pipeline, [family.job(1, generator=generator(40 + i))], max_rows=6, exact=True)
        assert torch.equal(together.images(0)[i : i + 1], alone.images(0))


def test_equal_token_counts_of_different_shape_never_share() -> None:
    family = FAMILIES["flux"]
    pipeline = family.pipeline(torch.float64)
    shapes = [(32, 64), (64, 32)]
    jobs = lambda: [family.job(0, torch.float64, height=h, width=w) for h, w in shapes]  # noqa: E731
    lab = run_all(pipeline, jobs())
    for k, arguments in enumerate(jobs()):
        assert distance(lab.images(k), plain(pipeline, arguments)) == 0.0
        assert lab.requests[k].pass_share == lab.requests[k].passes == STEPS[0]


def test_accounts_add_up() -> None:
    family = FAMILIES["sd15"]
    lab = run_all(family.pipeline(), [family.job(k) for k in MIX])
    assert [lab.requests[k].passes for k in MIX] == list(STEPS)
    assert sum(request.pass_share for request in lab.requests.values()) == pytest.approx(lab.runner.passes)
    assert lab.runner.rows == sum(
        steps * (2 if guidance > 1 else 1) for steps, guidance in zip(STEPS, GUIDANCE, strict=True)
    )


def test_guidance_components_are_the_requests_own() -> None:
    family = FAMILIES["hunyuan_image"]
    pipeline = family.pipeline(torch.float64)
    pattern = pipeline.guider
    lab = Lab(pipeline)
    for handle, scale in enumerate((2.0, 5.0)):
        lab.submit(handle, family.job(handle, torch.float64), guidance=scale)
    lab.run()
    assert pattern.momentum_buffer is None, "the pattern itself was used"
    for handle, scale in enumerate((2.0, 5.0)):
        pipeline.guider = pattern.new(guidance_scale=scale)
        assert distance(lab.images(handle), plain(pipeline, family.job(handle, torch.float64))) == 0.0


def test_sizes_that_are_not_in_a_pipelines_list_are_made_all_the_same() -> None:
    family = FAMILIES["kandinsky5"]
    pipeline = family.pipeline()
    lab = run_all(pipeline, [family.job(0, width=64), family.job(0)])
    assert lab.images(0).shape[2:] == (32, 64)
    assert lab.images(1).shape[2:] == (32, 32)
    assert pipeline.resolutions == [(32, 32)]
