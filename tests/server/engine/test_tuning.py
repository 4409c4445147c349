"""Settings of single models: what they do to the pipeline, and what is said where they cannot be."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import tiny_pipelines as tiny
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance, plain
from PIL import Image

from pixwire_server.engine import tuning
from pixwire_server.engine.api import Finished, GenerateTask, ModelSettings, Submit
from pixwire_server.engine.folder import ModelRefusedError
from pixwire_server.engine.loader import load
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service
from pixwire_server.engine.settings import CHOICES

pytestmark = QUIET

CPU = torch.device("cpu")


def apply(pipeline: Any, **settings: Any) -> Any:
    chosen = ModelSettings("", **settings)
    tuning.check(chosen)
    tuning.quantize(pipeline, chosen, torch.float32)
    tuning.apply(pipeline, chosen, CPU)
    return pipeline


@pytest.mark.parametrize("name", sorted(CHOICES.keys() - {"device", "dtype"}))
def test_a_value_that_does_not_exist_is_refused_by_name(name: str) -> None:
    with pytest.raises(ModelRefusedError, match=f"{name} = 'sideways' must be one of {', '.join(CHOICES[name])}"):
        apply(tiny.sd15(), **{name: "sideways"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"offload": "model"}, "offload = 'model' saves memory of a GPU, and this model runs on cpu"),
        ({"compile": "graphs"}, "compile = 'graphs' means CUDA graphs"),
        ({"attention": "nonsense"}, "attention = 'nonsense' cannot be used here"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ModelRefusedError) as caught:
        apply(tiny.flux(), **settings)
    assert words in str(caught.value)


def test_quantisation_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(ModelRefusedError, match=r"needs the package torchao.*or use float8"):
        apply(tiny.sd15(), quantization="int8")


def test_the_defaults_change_nothing_on_a_processor() -> None:
    before = plain(tiny.sd15(), FAMILIES["sd15"].job(0))
    assert torch.equal(plain(apply(tiny.sd15()), FAMILIES["sd15"].job(0)), before)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"channels_last": "on"}, 1e-4),
        ({"vae_slicing": "on", "vae_tiling": "on"}, 1e-4),
        ({"quantization": "float8"}, 0.2),
    ],
)
def test_requests_on_a_model_that_was_set_up_equal_its_plain_pipeline(
    settings: dict[str, str], tolerance: float
) -> None:
    family = FAMILIES["sd15"]
    untouched = plain(tiny.sd15(), family.job(0))
    pipeline = apply(tiny.sd15(), **settings)
    lab = Lab(pipeline)
    for handle in range(3):
        lab.submit(handle, family.job(handle))
    lab.run()
    assert lab.requests[0].pass_share < lab.requests[0].passes, "nothing was shared"
    for handle in range(3):
        assert distance(lab.images(handle), plain(pipeline, family.job(handle))) < 1e-4
    assert distance(lab.images(0), untouched) < tolerance


def test_a_vae_of_films_bears_channels_last() -> None:
    """What "auto" chooses on a GPU; weights of 5 dimensions keep their order."""
    vae = apply(tiny.qwen(), channels_last="on").vae
    flat = [weight for weight in vae.parameters() if weight.ndim == 4]
    assert flat
    assert {weight.ndim for weight in vae.parameters()} >= {4, 5}
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in flat)


def test_float8_weights_take_a_quarter_of_the_memory() -> None:
    pipeline = tiny.sd15()
    before = tuning.size(pipeline)
    unet = sum(parameter.nbytes for parameter in pipeline.unet.parameters())
    after = tuning.size(apply(pipeline, quantization="float8"))
    assert before - after > unet / 2
    assert any(parameter.dtype == torch.float8_e4m3fn for parameter in pipeline.unet.parameters())


def test_the_rows_of_compiled_models_come_in_few_sizes() -> None:
    assert [tuning.bucket(rows, 16) for rows in (1, 2, 3, 4, 5, 9, 16)] == [1, 2, 4, 4, 8, 16, 16]
    assert [tuning.bucket(rows, 12) for rows in (3, 9, 12)] == [4, 12, 12]
    assert tuning.bucket(20, 16) == 20, "a request larger than the cap runs alone as it is"


def test_a_compiled_model_sees_few_sizes_and_makes_the_same_images(saved_model: Path) -> None:
    """With the compiler left out: what is compiled is the same code, for each number of rows anew."""
    model = load(ModelSettings(str(saved_model)))
    sizes: list[int] = []
    task = GenerateTask(0, "cat dog", "", 32, 32, 3, 4.0, 7)

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        sizes.append(len(kwargs["sample"] if "sample" in kwargs else args[0]))

    model.pipeline.unet.register_forward_pre_hook(note, with_kwargs=True)

    def images(compiled: bool) -> list[Any]:
        reports: list[Any] = []
        service = Service(Models.holding(replace(model, compiled=compiled)), reports.append, max_rows=16, exact=False)
        for handle in range(3):
            service.handle(Submit(replace(task, handle=handle, seed=handle)))
        while service.tick():
            pass
        service.close()
        done = {report.handle: report.images[0].data for report in reports if isinstance(report, Finished)}
        return [numpy.asarray(Image.open(io.BytesIO(done[handle])), int) for handle in range(3)]

    plainly = images(compiled=False)
    assert 6 in sizes
    sizes.clear()
    for filled, plain_one in zip(images(compiled=True), plainly, strict=True):
        assert abs(filled - plain_one).max() <= 1
    assert set(sizes) <= {2, 4, 8}
    assert 8 in sizes


def test_compile_is_asked_for_without_dynamic_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    pipeline = tiny.sd15()
    monkeypatch.setattr(type(pipeline.unet), "compile", lambda self, **options: asked.append(options))
    apply(pipeline, compile="on")
    assert asked == [{"mode": "default", "dynamic": False, "fullgraph": False}]
