"""Image files and previews."""

import io
from typing import Any

import numpy
import pytest
import tiny_pipelines as tiny
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from pixwire_server.engine import images, previews
from pixwire_server.engine.request import StepMoment


def gradient() -> torch.Tensor:
    ramp = torch.linspace(0, 1, 24)
    return torch.stack([ramp.expand(16, 24), 1 - ramp.expand(16, 24), torch.full((16, 24), 0.5)])[None]


def test_pixels_are_rounded_as_diffusers_does() -> None:
    pixels = images.to_pixels(gradient())[0]
    assert pixels.shape == (16, 24, 3)
    assert pixels[0, 0].tolist() == [0, 255, 128]
    assert images.to_pixels(gradient().to(torch.bfloat16))[0].dtype == numpy.uint8


def test_images_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(images.NotFiniteError, match="--dtype float32"):
        images.to_pixels(torch.full((1, 3, 8, 8), float("nan")))


@pytest.mark.parametrize(
    ("media_type", "file_format"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")]
)
def test_every_media_type_is_what_it_says(media_type: str, file_format: str) -> None:
    pixels = images.to_pixels(gradient())[0]
    data = images.encode(pixels, media_type, {"prompt": "a cat"})
    assert data == images.encode(pixels, media_type, {"prompt": "a cat"})
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == (file_format, (24, 16))
        if file_format == "PNG":
            assert numpy.array_equal(numpy.asarray(image), pixels)


def test_png_files_tell_how_they_were_made() -> None:
    text = {"prompt": "eine Kätzchen \N{CAT FACE}", "seed": "7"}
    data = images.encode(images.to_pixels(gradient())[0], "image/png", text)
    with Image.open(io.BytesIO(data)) as image:
        assert {name: image.info[name] for name in text} == text


def test_another_media_type_is_refused() -> None:
    with pytest.raises(ValueError, match="image/gif"):
        images.encode(images.to_pixels(gradient())[0], "image/gif", {})


# ---------------------------------------------------------------------------------------------- previews


class LinearVae(torch.nn.Module):
    """A VAE whose latents are a known linear function of the mean colour of 8 x 8 pixels."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.config = {"scaling_factor": 0.5, "shift_factor": 0.25}

    def encode(self, pixels: torch.Tensor) -> Any:
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        latents = torch.cat([mean * 3 + 1, mean[:, :1] - mean[:, 1:2]], 1)
        return type("Encoded", (), {"latent": latents})()


class LinearPipeline:
    vae = LinearVae()
    vae_scale_factor = 8


def test_a_linear_vae_is_previewed_exactly() -> None:
    previewer = previews.fit(LinearPipeline())
    assert previewer is not None
    colours = torch.tensor([0.9, 0.1, 0.4])
    pixels = (colours * 2 - 1).reshape(1, 3, 1, 1).expand(1, 3, 64, 96)
    latents = (LinearVae().encode(pixels).latent - 0.25) * 0.5
    preview = previewer.render(LinearPipeline(), latents, 96, 64)
    assert preview is not None
    assert (preview.width, preview.height) == (96, 64), "8 x 12 cells, enlarged to the size of the image at most"
    with Image.open(io.BytesIO(preview.image)) as image:
        shown = numpy.asarray(image)[32, 48] / 255
    assert shown == pytest.approx(colours.numpy(), abs=0.03)


def test_large_latents_are_shown_cell_by_cell() -> None:
    previewer = previews.fit(LinearPipeline())
    assert previewer is not None
    preview = previewer.render(LinearPipeline(), torch.zeros(1, 4, 160, 192), 1536, 1280)
    assert preview is not None
    assert (preview.width, preview.height) == (192, 160)


def test_packed_latents_are_unpacked_by_the_pipeline() -> None:
    pipeline = tiny.flux()
    previewer = previews.fit(pipeline)
    assert previewer is not None
    assert previewer.render(pipeline, torch.randn(1, 64, 16), 32, 32) is not None


def test_an_unknown_layout_gives_no_preview() -> None:
    previewer = previews.fit(LinearPipeline())
    assert previewer is not None
    assert previewer.render(LinearPipeline(), torch.zeros(1, 16, 8, 8), 64, 64) is None
    assert previewer.render(LinearPipeline(), torch.zeros(1, 64, 16), 64, 64) is None


def test_a_pipeline_without_a_plain_vae_has_no_previews() -> None:
    assert previews.fit(tiny.qwen()) is None


def moment(scheduler: Any, noisy: torch.Tensor, output: torch.Tensor) -> StepMoment:
    outputs = scheduler.step(output, scheduler.timesteps[0], noisy, return_dict=False)
    return StepMoment(scheduler, output, noisy, outputs)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # in DPM++
def test_the_prediction_of_the_final_image_is_found_where_the_scheduler_keeps_it() -> None:
    clean, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    for scheduler in (DDIMScheduler(clip_sample=False), DPMSolverMultistepScheduler()):
        scheduler.set_timesteps(4)
        noisy = scheduler.add_noise(clean, noise, scheduler.timesteps[:1])
        predicted = previews.predicted_latents(moment(scheduler, noisy, noise))
        assert torch.allclose(predicted, clean, atol=0.05), type(scheduler).__name__
    flow = FlowMatchEulerDiscreteScheduler()
    flow.set_timesteps(4)
    sigma = flow.sigmas[0]
    noisy = (1 - sigma) * clean + sigma * noise
    assert torch.allclose(previews.predicted_latents(moment(flow, noisy, noise - clean)), clean, atol=1e-5)


def test_without_a_prediction_the_noisy_latents_are_shown() -> None:
    before, after = torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8)
    assert previews.predicted_latents(StepMoment(object(), before, before, (after,))) is after
