"""Previews: small pictures from latents alone."""

import io
from collections import OrderedDict
from typing import Any

import numpy
import pytest
import tiny_pipelines as tiny
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from hub_lab import FAMILIES, QUIET, Lab, generator
from PIL import Image

from pixwire_server import builtin_model
from pixwire_server.engine import previews
from pixwire_server.engine.request import Request, StepMoment

pytestmark = QUIET


class LinearVae(torch.nn.Module):
    """A VAE whose latents are a known linear function of the mean colour of 8 x 8 pixels."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.config = {"scaling_factor": 0.5, "shift_factor": 0.25}
        self.weight = torch.nn.Parameter(torch.zeros(3, 3, 1, 1))
        self.decoded = 0

    def encode(self, pixels: torch.Tensor) -> Any:
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        latents = torch.cat([mean * 3 + 1, mean[:, :1] - mean[:, 1:2]], 1)
        return type("Encoded", (), {"latent": latents})()

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        assert not return_dict
        self.decoded += 1
        return (torch.nn.functional.interpolate((latents[:, :3] - 1) / 3, scale_factor=8, mode="nearest"),)


class LinearPipeline:
    def __init__(self) -> None:
        self.vae = LinearVae()


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


def test_a_pipeline_without_a_vae_has_no_previews() -> None:
    assert previews.fit(object()) is None


def test_a_vae_is_fitted_once_and_another_one_for_itself() -> None:
    one, same, other = LinearPipeline(), LinearPipeline(), LinearPipeline()
    torch.nn.init.ones_(other.vae.weight)
    fitted = previews.fit(one)
    assert previews.fit(same) is fitted
    assert same.vae.decoded == 0
    assert previews.fit(other) is not fitted


class Watcher(Lab):
    """Keeps what the previewer gets at the last step."""

    def stepped(self, request: Request, moment: StepMoment) -> None:
        self.last = previews.predicted_latents(moment)


def likeness(preview: previews.Preview, image: torch.Tensor, cell: int) -> tuple[float, float]:
    """Correlations of a preview with its image, and with the image moved by half its size."""
    with Image.open(io.BytesIO(preview.image)) as opened:
        assert opened.size == (preview.width, preview.height)
        small = opened.resize((image.shape[3] // cell, image.shape[2] // cell), Image.Resampling.BOX)
    shown = numpy.asarray(small).astype(float)
    averaged = torch.nn.functional.avg_pool2d(image.float(), cell)[0].permute(1, 2, 0).numpy()
    shown, averaged = (values - values.mean((0, 1)) for values in (shown, averaged))
    moved = numpy.roll(averaged, [side // 2 for side in averaged.shape[:2]], (0, 1))
    return tuple(float(numpy.corrcoef(shown.ravel(), other.ravel())[0, 1]) for other in (averaged, moved))


def make_linear(vae: Any, patch: pytest.MonkeyPatch) -> None:
    """Let a VAE with random weights mix colours into its channels and back, in the shapes of its own."""
    film = max(parameter.ndim for parameter in vae.parameters()) == 5
    real = vae.encode(torch.zeros(1, 3, 1, 64, 64) if film else torch.zeros(1, 3, 64, 64))
    latents = real.latent_dist.mode() if hasattr(real, "latent_dist") else real.latent
    scale, mix = 64 // latents.shape[-1], torch.linalg.qr(torch.randn(latents.shape[1], 3, generator=generator(0)))[0]

    def encode(images: torch.Tensor) -> Any:
        small = torch.nn.functional.avg_pool2d(images[:, :, 0] if film else images, scale)
        mixed = torch.einsum("nkhw,ck->nchw", small, mix)
        return type("Encoded", (), {"latents": mixed.unsqueeze(2) if film else mixed})

    def decode(z: torch.Tensor, return_dict: bool = True, **_: object) -> Any:
        colours = 0.4 * torch.einsum("nchw,ck->nkhw", (z[:, :, 0] if film else z).float(), mix)
        pictures = torch.nn.functional.interpolate(colours, scale_factor=scale, mode="nearest")
        pictures = pictures.unsqueeze(2) if film else pictures
        return type("Decoded", (), {"sample": pictures}) if return_dict else (pictures,)

    patch.setattr(vae, "encode", encode)
    patch.setattr(vae, "decode", decode)
    patch.setattr(previews, "_fitted", OrderedDict())


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_latents_of_any_layout_are_previewed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    make_linear(pipeline.vae, monkeypatch)
    lab = Watcher(pipeline)
    lab.submit(0, family.job(0))
    lab.run()
    image = lab.images(0)
    previewer = previews.fit(pipeline)
    assert previewer is not None
    preview = previewer.render(pipeline, lab.last, image.shape[3], image.shape[2])
    assert preview is not None
    like, unlike = likeness(preview, image, previewer.cell)
    assert like > 0.7
    assert unlike < 0.5


def test_previews_of_the_built_in_model_are_small_images() -> None:
    pipeline = DiffusionPipeline.from_pretrained(str(builtin_model.path()), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    lab = Watcher(pipeline)
    arguments = {"prompt": "a red circle on a blue background", "num_inference_steps": 12, "output_type": "pt"}
    lab.submit(0, arguments | {"generator": generator(1), "return_dict": False})
    lab.run()
    previewer = previews.fit(pipeline)
    assert previewer is not None
    preview = previewer.render(pipeline, lab.last, 64, 64)
    assert preview is not None
    assert likeness(preview, lab.images(0), previewer.cell)[0] > 0.9


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
