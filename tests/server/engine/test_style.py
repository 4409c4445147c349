"""IP-Adapters: tasks that take their look from a picture, beside tasks that do not, on one model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, Lab, distance
from picture_lab import Kind, alone, picture, task
from tiny_style import save_adapter

from pixwire_server.engine import arguments, inputs, style
from pixwire_server.engine.api import IMG2IMG, TXT2IMG, GenerateTask, TaskInput
from pixwire_server.engine.arguments import InvalidTaskError
from pixwire_server.engine.card import describe
from pixwire_server.engine.folder import ModelRefusedError
from pixwire_server.engine.variants import variants

pytestmark = QUIET

NAMES = ("sd15", "sdxl", "flux")
SCALES = (0.5, 0.5, 1.0, None)  # None: without a picture for the look


def adapted(name: str, folder: Path) -> tuple[Kind, Any, Any]:
    """The family's requests, its pipeline and the overlay of its IP-Adapter."""
    family = FAMILIES[name]
    pipeline = family.pipeline(torch.float64)
    save_adapter(getattr(pipeline, "unet", None) or pipeline.transformer, folder)
    return Kind(family.build, family.text, frozenset()), pipeline, style.load(pipeline, folder)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_with_and_without_style_equal_single_runs_exactly_in_float64(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    untouched = family.pipeline(torch.float64)
    kind, pipeline, look = adapted(name, tmp_path)
    found = variants(pipeline, look)
    jobs = [(found[wanted], wanted, k) for k, wanted in enumerate([(TXT2IMG, False)] * 4)]
    jobs[1] = (found[IMG2IMG, False], (IMG2IMG, False), 1)
    lab = Lab(pipeline)
    make = lambda i: task(kind, jobs[i][2] % 2, jobs[i][1], jobs[i][0], seed=i, **_weight(SCALES[i]))  # noqa: E731
    for i, (variant, _, _) in enumerate(jobs):
        worn = () if SCALES[i] is None else (style.at(look, SCALES[i]),)
        lab.submit(i, make(i), pipeline=variant.pipeline, overlays=worn)
    lab.run()
    images = [lab.images(i) for i in range(4)]
    assert distance(images[3], alone(variants(untouched)[TXT2IMG, False], make(3))) == 0.0, "the model was changed"
    for i, scale in enumerate(SCALES[:3]):
        with style.at(look, scale).worn():
            assert distance(images[i], alone(jobs[i][0], make(i))) == 0.0
    assert lab.requests[0].pass_share < lab.requests[0].passes, "equal weights did not share passes"
    assert lab.requests[2].pass_share == lab.requests[2].passes, "different weights shared a pass"
    plain_arguments = {n: v for n, v in make(0).items() if n != "ip_adapter_image"}
    assert distance(images[0], alone(jobs[0][0], plain_arguments)) > 1e-4, "the picture changed nothing"


def _weight(scale: float | None) -> dict[str, float]:
    return {} if scale is None else {"ip_scale": scale}


def test_a_style_is_the_same_as_diffusers_own(tmp_path: Path) -> None:
    kind, pipeline, look = adapted("sd15", tmp_path)
    variant = variants(pipeline, look)[TXT2IMG, False]
    made = task(kind, 0, (TXT2IMG, False), variant, ip_scale=0.7)
    lab = Lab(pipeline)
    lab.submit(0, made, overlays=(style.at(look, 0.7),))
    lab.run()
    theirs = FAMILIES["sd15"].pipeline(torch.float64)
    theirs.load_ip_adapter(
        str(tmp_path / "ip_adapter"), subfolder="", weight_name="adapter.safetensors",
        image_encoder_folder=str(tmp_path / "ip_adapter" / "image_encoder"), local_files_only=True,
    )  # fmt: skip
    theirs.set_ip_adapter_scale(0.7)
    again = task(kind, 0, (TXT2IMG, False), variant, ip_scale=0.7)
    assert distance(lab.images(0), theirs(**again)[0]) == 0.0


def test_without_a_folder_there_is_no_style() -> None:
    pipeline = FAMILIES["sd15"].pipeline()
    assert style.load(pipeline, Path("/nonexistent")) is None
    assert not variants(pipeline)[TXT2IMG, False].takes_style


def test_what_is_no_ip_adapter_of_this_model_is_refused(tmp_path: Path) -> None:
    sd = FAMILIES["sd15"].pipeline()
    save_adapter(FAMILIES["sdxl"].pipeline().unet, tmp_path / "other")
    before = dict(sd.unet.attn_processors)
    with pytest.raises(ModelRefusedError, match=r"adapter\.safetensors does not fit the model"):
        style.load(sd, tmp_path / "other")
    assert sd.unet.attn_processors == before
    with pytest.raises(ModelRefusedError, match="PixArtSigmaPipeline takes no IP-Adapter"):
        style.load(FAMILIES["pixart"].pipeline(), tmp_path / "other")
    save_adapter(sd.unet, tmp_path / "blind", encoder=False)
    with pytest.raises(ModelRefusedError, match="must hold the image encoder"):
        style.load(sd, tmp_path / "blind")
    (tmp_path / "empty" / "ip_adapter").mkdir(parents=True)
    with pytest.raises(ModelRefusedError, match="it holds 0"):
        style.load(sd, tmp_path / "empty")


def test_a_style_is_asked_of_models_that_have_one(tmp_path: Path) -> None:
    _, pipeline, look = adapted("sd15", tmp_path)
    file = tmp_path / "look.png"
    picture(3000, 40, 1).save(file)
    asked = GenerateTask(1, "", "", 32, 32, 2, 1.0, 1, inputs=(TaskInput("style", str(file), "image/png"),))
    with_style, without = variants(pipeline, look), variants(FAMILIES["sd15"].pipeline())
    assert inputs.read(asked)["style"].size == (1024, 14)
    assert arguments.overlays(asked, with_style[TXT2IMG, False])[0].key == ("style", 1.0)
    assert arguments.overlays(asked, without[TXT2IMG, False]) == ()
    with pytest.raises(InvalidTaskError, match="takes no style for txt2img; leave it out"):
        arguments.check(asked, describe(pipeline, without, tmp_path, "float32"), without)
    card = describe(pipeline, with_style, tmp_path, "float32")
    assert card.attachments == ("image", "mask", "style")
    assert arguments.check(asked, card, with_style).takes_style
