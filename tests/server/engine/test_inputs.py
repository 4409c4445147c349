"""Pictures as inputs: how they are read, what is refused, and what becomes of their tasks."""

import io
import json
import queue
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from at_once import AtOnce
from hub_lab import QUIET
from PIL import Image
from PIL.Image import Exif
from tiny_control import controlnet
from tiny_rare import sdxl_refiner

from pixwire_server.engine import inputs, preview_desk
from pixwire_server.engine.api import (
    Cancel,
    Cancelled,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Heartbeat,
    JobStats,
    Left,
    ModelSettings,
    PreviewReady,
    Progress,
    Report,
    SetPreviews,
    Started,
    Submit,
    TaskInput,
)
from pixwire_server.engine.arguments import InvalidTaskError
from pixwire_server.engine.loader import LoadedModel, load
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service

pytestmark = QUIET

BUILTIN = Path(inputs.__file__).parents[1] / "builtin_model" / "weights"


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    red = numpy.linspace(0, 255, width, dtype=numpy.uint8)
    pixels = numpy.zeros((height, width, 3), numpy.uint8)
    pixels[:, :, 0] = red
    return Image.fromarray(pixels)


def save(picture: Image.Image, path: Path, kind: str = "PNG", **options: Any) -> Path:
    picture.save(path, kind, **options)
    return path


def task(*pictures: TaskInput, kind: str = "img2img", size: tuple[int, int] = (32, 32)) -> GenerateTask:
    return GenerateTask(1, "cat dog", "", *size, 6, 4.0, 7, kind=kind, strength=0.5, inputs=pictures)


# ---------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_pictures_are_scaled_to_the_size_of_the_task(tmp_path: Path, kind: str, media_type: str) -> None:
    path = save(gradient(), tmp_path / "a", kind, quality=95)
    read = inputs.read(task(TaskInput("image", str(path), media_type)))["image"]
    assert (read.mode, read.size) == ("RGB", (32, 32))
    expected = numpy.asarray(gradient().resize((32, 32), Image.Resampling.LANCZOS), int)
    assert numpy.abs(numpy.asarray(read, int) - expected).max() <= (0 if kind == "PNG" else 12)


def test_a_picture_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    exif = Exif()
    exif[0x0112] = 3  # upside down
    path = save(gradient(32, 32), tmp_path / "a", "WEBP", exif=exif, lossless=True)
    read = inputs.read(task(TaskInput("image", str(path), "image/webp")))["image"]
    assert numpy.array_equal(numpy.asarray(read), numpy.asarray(gradient(32, 32).rotate(180)))


def test_masks_become_grey_without_in_between_values(tmp_path: Path) -> None:
    made = Image.new("RGB", (30, 30))
    made.paste((255, 255, 255), (0, 0, 15, 30))
    read = inputs.read(task(TaskInput("mask", str(save(made, tmp_path / "m")), "image/png")))["mask"]
    assert (read.mode, read.size) == ("L", (32, 32))
    assert set(numpy.unique(numpy.asarray(read))) == {0, 255}


@pytest.mark.parametrize(
    "picture",
    [
        gradient(32, 32).convert("P", palette=Image.Palette.ADAPTIVE),
        gradient(32, 32).convert("RGBA"),
        gradient(32, 32).convert("L"),
        Image.fromarray(numpy.asarray(gradient(32, 32).convert("L"), numpy.uint16) * 257),
    ],
    ids=["palette", "alpha", "grey", "16-bit"],
)
def test_every_pixel_format_is_read_as_rgb(tmp_path: Path, picture: Image.Image) -> None:
    path = save(picture, tmp_path / "a")
    read = inputs.read(task(TaskInput("image", str(path), "image/png")))["image"]
    shown = gradient(32, 32) if picture.mode in {"P", "RGBA"} else gradient(32, 32).convert("L").convert("RGB")
    assert numpy.abs(numpy.asarray(read, int) - numpy.asarray(shown, int)).max() <= 2


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("spoil", "media_type", "words"),
    [
        (cut, "image/png", "image is not a readable PNG picture"),
        (lambda data: b"", "image/png", "image is not a readable PNG picture"),
        (lambda data: data, "image/jpeg", "image is not a readable JPEG picture"),
        (lambda data: data, "image/gif", "must be one of image/png, image/jpeg, image/webp"),
    ],
    ids=["truncated", "empty", "another type", "unknown type"],
)
def test_what_is_no_picture_is_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes], media_type: str, words: str
) -> None:
    path = save(gradient(), tmp_path / "a")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidTaskError, match=words):
        inputs.read(task(TaskInput("image", str(path), media_type)))


def test_a_picture_of_too_many_pixels_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_PIXELS", 40 * 24 - 1)
    path = save(gradient(), tmp_path / "a")
    with pytest.raises(InvalidTaskError, match="image has 40 x 24 pixels, at most 959"):
        inputs.read(task(TaskInput("image", str(path), "image/png")))


# ---------------------------------------------------------------------------------------------- tasks


@pytest.fixture(scope="module")
def model(saved_model: Path) -> LoadedModel:
    return load(ModelSettings(str(saved_model)))


@pytest.fixture
def image(tmp_path: Path) -> TaskInput:
    return TaskInput("image", str(save(gradient(), tmp_path / "image")), "image/png")


@pytest.fixture
def mask(tmp_path: Path) -> TaskInput:
    made = Image.new("L", (40, 24))
    made.paste(255, (0, 0, 20, 24))
    return TaskInput("mask", str(save(made, tmp_path / "mask")), "image/png")


class Bench:
    """A service driven as the child's loop drives it."""

    def __init__(self, model: LoadedModel) -> None:
        self._queue: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[None] = queue.SimpleQueue()
        wake = lambda: self._work.put(None)  # noqa: E731
        self.service = Service(Models.holding(model), self._queue.put, max_rows=16, exact=False, wake=wake)
        self.reports: list[Report] = []

    def heard(self) -> list[Report]:
        while not self._queue.empty():
            self.reports.append(self._queue.get())
        return self.reports

    def wait_for_pool(self) -> None:
        self._work.get(timeout=60)

    def run(self) -> list[Report]:
        while self.service.heartbeat().resident:
            if not self.service.tick() and self.service.heartbeat().resident:
                self.wait_for_pool()
        self.service.close()
        return self.heard()


def test_the_card_tells_what_can_be_done_with_pictures(model: LoadedModel) -> None:
    card = model.card
    assert card.kinds == ("txt2img", "img2img", "inpaint")
    assert (card.attachments, card.default_strength) == (("image", "mask"), 0.8)


def test_an_image_to_image_task_runs_the_familys_own_pipeline(model: LoadedModel, image: TaskInput) -> None:
    bench = Bench(model)
    bench.service.handle(Submit(task(image)))
    assert bench.service.heartbeat() == Heartbeat(1, 0)
    reports = bench.run()
    told = [replace(report, timestep=None) if isinstance(report, Progress) else report for report in reports[:-1]]
    assert told == [Started(1), Progress(1, 1, 3), Progress(1, 2, 3), Progress(1, 3, 3), Left(1)]
    finished = reports[-1]
    assert isinstance(finished, Finished)
    assert finished.stats.passes == 3
    variant = model.variants["img2img", False]
    alone = variant.pipeline(
        prompt="cat dog", image=gradient().resize((32, 32), Image.Resampling.LANCZOS), strength=0.5,
        num_inference_steps=6, guidance_scale=4.0, generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    with Image.open(io.BytesIO(finished.images[0].data)) as made:
        assert numpy.array_equal(numpy.asarray(made), numpy.asarray(alone))
        assert json.loads(made.info["pixwire"])["strength"] == 0.5


def test_tasks_of_all_kinds_share_passes(model: LoadedModel, image: TaskInput, mask: TaskInput) -> None:
    bench = Bench(model)
    bench.service.handle(Submit(replace(task(image), handle=1)))
    bench.service.handle(Submit(replace(task(image, mask, kind="inpaint"), handle=2)))
    bench.service.handle(Submit(replace(task(kind="txt2img"), handle=3)))
    finished = [report for report in bench.run() if isinstance(report, Finished)]
    assert {report.handle for report in finished} == {1, 2, 3}
    assert bench.service.runner.passes < sum(report.stats.passes for report in finished)


def test_an_unreadable_picture_fails_its_task_and_no_other(model: LoadedModel, image: TaskInput) -> None:
    bench = Bench(model)
    broken = Path(image.path).with_name("broken")
    broken.write_bytes(cut(Path(image.path).read_bytes()))
    bench.service.handle(Submit(task(replace(image, path=str(broken)))))
    bench.service.handle(Submit(replace(task(image), handle=2)))
    reports = bench.run()
    left, failed = [report for report in reports if getattr(report, "handle", None) == 1]
    assert left == Left(1)
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.INVALID_ARGUMENT
    assert "image is not a readable PNG" in failed.message
    assert any(isinstance(report, Finished) and report.handle == 2 for report in reports)


def test_a_missing_file_is_not_the_tasks_fault(model: LoadedModel, image: TaskInput, tmp_path: Path) -> None:
    bench = Bench(model)
    bench.service.handle(Submit(task(replace(image, path=str(tmp_path / "gone")))))
    failed = bench.run()[-1]
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.PIPELINE_ERROR


def test_a_task_can_be_cancelled_while_its_picture_is_read(model: LoadedModel, image: TaskInput) -> None:
    bench = Bench(model)
    bench.service._previews._pool = AtOnce()
    bench.service.handle(Submit(task(image)))
    bench.service.handle(SetPreviews(1, True))
    bench.service.handle(Cancel(1))
    nothing = JobStats(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert bench.heard() == [Left(1), Cancelled(1, 0, nothing)]
    bench.wait_for_pool()
    bench.service.handle(Submit(task(kind="txt2img")))  # the handle is free again
    reports = bench.run()[2:]
    assert reports[0] == Started(1)
    assert isinstance(reports[-1], Finished)
    assert not any(isinstance(report, PreviewReady) for report in reports)


def test_previews_can_be_switched_on_before_the_picture_is_read(
    model: LoadedModel, image: TaskInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_desk, "INTERVAL_S", 0.0)
    bench = Bench(model)
    bench.service._previews._pool = AtOnce()
    bench.service.handle(Submit(task(image)))
    bench.service.handle(SetPreviews(1, True))
    previews = [report for report in bench.run() if isinstance(report, PreviewReady)]
    assert [(report.step, report.steps) for report in previews] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "img2vid"}, "kind = 'img2vid' must be one of txt2img, img2img, inpaint"),
        ({"kind": "inpaint"}, "inputs = image: inpaint takes image and mask, each once"),
        ({"kind": "txt2img"}, "inputs = image: txt2img takes none"),
        ({"inputs": ()}, "inputs = none: img2img takes image"),
        ({"inputs": (TaskInput("image", "", ""), TaskInput("image", "", ""))}, "each once"),
        ({"inputs": (TaskInput("image", "", ""), TaskInput("control", "", ""))}, "takes no control"),
        ({"strength": 0.0}, "strength = 0 must be above 0 and at most 1"),
        ({"strength": 1.1}, "strength = 1.1 must be above 0"),
        ({"strength": 0.1}, "strength = 0.1 of steps = 6 leaves no step to compute; use a strength of at least 0.167"),
    ],
)
def test_tasks_that_make_no_sense_are_refused_by_name(
    model: LoadedModel, image: TaskInput, change: dict[str, Any], words: str
) -> None:
    bench = Bench(model)
    bench.service.handle(Submit(replace(task(image), **change)))
    left, failed = bench.run()
    assert left == Left(1)
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.INVALID_ARGUMENT
    assert words in failed.message


def test_a_saved_model_with_a_controlnet_takes_control_images(tmp_path: Path, image: TaskInput) -> None:
    controlnet().save_pretrained(tmp_path / "model")
    model = load(ModelSettings(str(tmp_path / "model")))
    assert model.card.kinds == ("txt2img", "img2img", "inpaint")
    assert model.card.attachments == ("image", "mask", "control")
    bench = Bench(model)
    plain = replace(task(kind="txt2img"), strength=0.0)
    control = replace(image, name="control")
    for handle, inputs_, scale in ((1, (), 1.0), (2, (control,), 1.0), (3, (control,), 0.2)):
        bench.service.handle(Submit(replace(plain, handle=handle, inputs=inputs_, control_scale=scale)))
    made = {report.handle: report.images[0].data for report in bench.run() if isinstance(report, Finished)}
    assert len(set(made.values())) == 3


def test_a_saved_refiner_takes_pictures_only(tmp_path: Path, image: TaskInput) -> None:
    sdxl_refiner().save_pretrained(tmp_path / "model")
    model = load(ModelSettings(str(tmp_path / "model")))
    assert (model.card.kinds, model.card.default_strength) == (("img2img", "inpaint"), 0.3)
    bench = Bench(model)
    bench.service.handle(Submit(replace(task(kind="txt2img"), handle=1)))
    bench.service.handle(Submit(replace(task(image), handle=2)))
    reports = bench.run()
    assert any(
        isinstance(r, Failed) and "kind = 'txt2img' must be one of img2img, inpaint" in r.message for r in reports
    )
    assert any(isinstance(r, Finished) and r.handle == 2 for r in reports)


# ---------------------------------------------------------------------------------------------- the built-in model


def test_the_built_in_model_recolours_and_fills(tmp_path: Path) -> None:
    model = load(ModelSettings(str(BUILTIN)))
    bench = Bench(model)
    picture = Image.new("RGB", (64, 64), (40, 60, 200))
    picture.paste((220, 40, 40), (20, 20, 44, 44))
    right = Image.new("L", (64, 64))
    right.paste(255, (32, 0, 64, 64))
    image = TaskInput("image", str(save(picture, tmp_path / "image")), "image/png")
    mask = TaskInput("mask", str(save(right, tmp_path / "mask")), "image/png")
    asked = replace(task(image, size=(64, 64)), prompt="a green square on a blue background", steps=8, strength=0.7)
    bench.service.handle(Submit(asked))
    bench.service.handle(Submit(replace(asked, handle=2, kind="inpaint", strength=1.0, inputs=(image, mask))))
    finished = {report.handle: report for report in bench.run() if isinstance(report, Finished)}
    before = numpy.asarray(picture, int)

    def change(handle: int) -> Any:
        with Image.open(io.BytesIO(finished[handle].images[0].data)) as made:
            return numpy.abs(numpy.asarray(made, int) - before).mean(axis=2)

    assert change(1).mean() > 3, "nothing was recoloured"
    kept, painted = change(2)[:, :28].mean(), change(2)[:, 36:].mean()
    assert painted > 1.5 * kept, f"painted where it was to be kept: {kept:.1f}, {painted:.1f}"
