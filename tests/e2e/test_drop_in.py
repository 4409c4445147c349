"""The same script with a diffusers pipeline and with `pixwire.Pipeline` on the same model: the same images."""

from collections.abc import Iterator
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch

import pixwire
from pixwire import errors
from pixwire_server import builtin_model
from pixwire_server.engine.loader import quiet_libraries

STEPS = 6


@pytest.fixture(scope="module")
def theirs() -> Any:
    quiet_libraries()
    return diffusers.StableDiffusionPipeline.from_pretrained(str(builtin_model.path()))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def ours(server: Any) -> Iterator[pixwire.Pipeline]:
    with pixwire.Pipeline(server.url) as pipe:
        yield pipe


def script(pipe: Any, prompt: str, **more: Any) -> tuple[Any, list[tuple[int, float]]]:
    """What a user of diffusers has written, unchanged: the images, and what the callback was told."""
    told: list[tuple[int, float]] = []

    def on_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        told.append((step, float(timestep)))
        return {}

    pipe.set_progress_bar_config(disable=True)
    pipe = pipe.to("cpu")
    generator = torch.Generator().manual_seed(7)
    size = {} if "image" in more else {"height": 64, "width": 64}
    more |= {"callback_on_step_end": on_step, "callback_on_step_end_tensor_inputs": []}
    made = pipe(prompt, num_inference_steps=STEPS, guidance_scale=5.0, generator=generator, **size, **more)
    return made.images, told


def same_script(theirs: Any, ours: Any, steps: int, **more: Any) -> None:
    """Run with both: the same images, the same steps, the same timesteps."""
    (one, steps_there), (other, steps_here) = (script(pipe, "a red circle", **more) for pipe in (theirs, ours))
    assert isinstance(other[0], PIL.Image.Image)
    assert len(one) == len(other) == 1
    same(one[0], other[0])
    assert steps_there == steps_here
    assert [step for step, _ in steps_here] == list(range(steps))


def same(one: Any, other: Any) -> None:
    assert np.array_equal(np.asarray(one), np.asarray(other)), np.abs(
        np.asarray(one, int) - np.asarray(other, int)
    ).max()


def test_text_to_image(theirs: Any, ours: pixwire.Pipeline) -> None:
    same_script(theirs, ours, STEPS)


def test_image_to_image_and_inpainting(theirs: Any, ours: pixwire.Pipeline) -> None:
    picture = PIL.Image.new("RGB", (64, 64), (30, 200, 40))
    mask = PIL.Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    to_image = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(theirs)
    same_script(to_image, ours, STEPS // 2, image=picture, strength=0.5)
    into = diffusers.StableDiffusionInpaintPipeline.from_pipe(theirs)
    same_script(into, ours, STEPS, image=picture, mask_image=mask, strength=1.0)


def test_several_images(theirs: Any, ours: pixwire.Pipeline) -> None:
    prompts = ["a red circle", "a green star"]
    made = []
    for pipe in (theirs, ours):
        generators = [torch.Generator().manual_seed(seed) for seed in (3, 5)]
        how: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "height": 64, "width": 64}
        made.append(pipe(prompts, generator=generators, **how).images)
    assert len(made[1]) == 2
    for one, other in zip(*made, strict=True):
        far = np.abs(np.asarray(one, int) - np.asarray(other, int))
        assert far.max() <= 2, "one batch of two and two requests may differ in the last digits"


def test_arrays_and_tensors(ours: pixwire.Pipeline) -> None:
    common: dict[str, Any] = {"num_inference_steps": 2, "height": 64, "width": 64, "seed": 7}
    array = ours("a red circle", output_type="np", **common).images
    tensor = ours("a red circle", output_type="pt", return_dict=False, **common)[0]
    assert array.shape == (1, 64, 64, 3)
    assert array.dtype == np.float32
    assert torch.equal(tensor, torch.from_numpy(array.transpose(0, 3, 1, 2)))


def test_a_generator_goes_on(ours: pixwire.Pipeline) -> None:
    """Used twice it makes two images, and made anew the same two again."""

    def two() -> list[Any]:
        generator = torch.Generator().manual_seed(11)
        return [
            np.asarray(ours("a red circle", num_inference_steps=2, generator=generator).images[0]) for _ in range(2)
        ]

    (first, second), (again, other) = two(), two()
    assert np.array_equal(first, again)
    assert np.array_equal(second, other)
    assert not np.array_equal(first, second)


def test_callbacks(ours: pixwire.Pipeline) -> None:
    heard: list[tuple[Any, int, dict[str, Any]]] = []

    def listen(pipe: Any, step: int, timestep: float | None, tensors: dict[str, Any]) -> dict[str, Any]:
        heard.append((pipe, step, tensors))
        return tensors

    ours("a red circle", num_inference_steps=5, callback_on_step_end=listen)
    assert [step for _, step, _ in heard] == list(range(5))
    assert all(pipe is ours and tensors == {} for pipe, _, tensors in heard)


def test_an_interrupted_call_cancels_its_job(ours: pixwire.Pipeline) -> None:
    def stop(pipe: Any, step: int, timestep: float | None, tensors: dict[str, Any]) -> None:
        pipe._interrupt = True

    with pytest.raises(errors.JobCancelled):
        ours("a red circle", num_inference_steps=200, height=128, width=128, callback_on_step_end=stop)

    def broken(pipe: Any, step: int, timestep: float | None, tensors: dict[str, Any]) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        ours("a red circle", num_inference_steps=200, tags=["broken"], callback_on_step_end=broken)
    (job,) = ours.client.jobs(tag="broken")
    assert ours.client.job(job.job).wait(timeout=30).state == "cancelled"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("output_type", {"output_type": "latent"}),
    ("callback_on_step_end_tensor_inputs", {"callback_on_step_end_tensor_inputs": ["latents"]}),
    ("seed", {"seed": 1, "generator": 2}),
    ("generator", {"generator": [1, 2, 3]}),
    ("generator", {"generator": object()}),
    ("negative_prompt", {"negative_prompt": ["a", "b"]}),
    ("steps", {"num_inference_steps": 0}),
]


@pytest.mark.parametrize(("field", "arguments"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_arguments(ours: pixwire.Pipeline, field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        ours("x", **arguments)
    assert caught.value.field == field


def test_what_a_local_pipeline_has(ours: pixwire.Pipeline) -> None:
    ours.enable_model_cpu_offload()
    ours.enable_attention_slicing("max")
    assert ours.to("cuda") is ours
    with pytest.raises(AttributeError, match="server's"):
        _ = ours.unet
    with pytest.raises(TypeError, match="guidance_rescale"):
        ours("x", guidance_rescale=0.5)
