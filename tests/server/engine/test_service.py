"""The engine behind its messages, in this process: which reports follow which commands."""

import io
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from at_once import AtOnce
from PIL import Image

from pixwire_server.engine import images, preview_desk
from pixwire_server.engine.api import (
    Cancel,
    Cancelled,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Heartbeat,
    Left,
    ModelSettings,
    PreviewReady,
    Progress,
    Report,
    SetPreviews,
    Started,
    Submit,
)
from pixwire_server.engine.loader import LoadedModel, load
from pixwire_server.engine.models import Models
from pixwire_server.engine.service import Service

TASK = GenerateTask(1, "cat dog", "dog", 32, 32, 4, 5.0, 7)


@pytest.fixture(scope="module")
def model(saved_model: Path) -> LoadedModel:
    return load(ModelSettings(str(saved_model)))


class Bench:
    """A service and everything it reported."""

    def __init__(self, model: LoadedModel) -> None:
        self._queue: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.reports: list[Report] = []
        self.service = Service(Models.holding(model), self._queue.put, max_rows=16, exact=False)

    def run(self) -> list[Report]:
        """To the end of all tasks and of the image pool."""
        while self.service.tick():
            pass
        self.service.close()
        return self.heard()

    def heard(self) -> list[Report]:
        while not self._queue.empty():
            self.reports.append(self._queue.get())
        return self.reports

    def render_at_once(self) -> None:
        """Previews on this thread: none is left out because the one before is not ready."""
        self.service._previews._pool = AtOnce()

    def run_until_step(self, handle: int, step: int) -> None:
        while not any(isinstance(r, Progress) and (r.handle, r.step) == (handle, step) for r in self.heard()):
            assert self.service.tick()


@pytest.fixture
def bench(model: LoadedModel) -> Iterator[Bench]:
    made = Bench(model)
    yield made
    made.service.close()


def stepped(report: Report) -> Report:
    """Without the timestep, which is the scheduler's affair."""
    return replace(report, timestep=None) if isinstance(report, Progress) else report


def only(reports: list[Report], kind: type[Any], handle: int = 1) -> list[Any]:
    return [report for report in reports if isinstance(report, kind) and report.handle == handle]


def test_a_task_is_started_steps_leaves_and_finishes(bench: Bench) -> None:
    bench.service.handle(Submit(TASK))
    reports = bench.run()
    told = [*map(stepped, reports[:-1])]
    assert told == [Started(1), *(Progress(1, step, 4) for step in range(1, 5)), Left(1)]
    timesteps = [report.timestep for report in only(reports, Progress)]
    assert timesteps == sorted(timesteps, reverse=True)
    assert all(type(timestep) is int and 0 <= timestep < 1000 for timestep in timesteps)
    finished = reports[-1]
    assert isinstance(finished, Finished)
    assert (finished.stats.passes, finished.stats.pass_share) == (4, 4.0)
    assert (
        min(finished.stats.encode_ms, finished.stats.denoise_ms, finished.stats.decode_ms, finished.stats.image_ms) > 0
    )
    with Image.open(io.BytesIO(finished.images[0].data)) as image:
        assert image.size == (32, 32)
        assert image.info["parameters"].startswith("cat dog\nNegative prompt: dog\nSteps: 4, ")
        assert "Model: tiny-sd" in image.info["parameters"]


def test_the_image_is_that_of_the_plain_pipeline(bench: Bench, model: LoadedModel) -> None:
    bench.service.handle(Submit(TASK))
    finished = bench.run()[-1]
    assert isinstance(finished, Finished)
    plain = model.pipeline(
        prompt="cat dog", negative_prompt="dog", width=32, height=32, num_inference_steps=4, guidance_scale=5.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    with Image.open(io.BytesIO(finished.images[0].data)) as image:
        assert numpy.array_equal(numpy.asarray(image), numpy.asarray(plain))


def test_images_of_one_task_have_rising_seeds_and_the_pixels_of_single_tasks(bench: Bench) -> None:
    bench.service.handle(Submit(replace(TASK, count=3)))
    for i in range(3):
        bench.service.handle(Submit(replace(TASK, handle=10 + i, seed=7 + i)))
    reports = bench.run()
    images = only(reports, Finished)[0].images
    assert [image.seed for image in images] == [7, 8, 9]
    for i, image in enumerate(images):
        single = only(reports, Finished, 10 + i)[0].images[0]
        with Image.open(io.BytesIO(image.data)) as one, Image.open(io.BytesIO(single.data)) as other:
            assert numpy.abs(numpy.asarray(one, int) - numpy.asarray(other, int)).max() <= 1


def test_tasks_that_run_together_say_how_much_they_shared(bench: Bench) -> None:
    for handle in (1, 2):
        bench.service.handle(Submit(replace(TASK, handle=handle, seed=handle)))
    reports = bench.run()
    stats = [only(reports, Finished, handle)[0].stats for handle in (1, 2)]
    assert [s.passes for s in stats] == [4, 4]
    assert sum(s.passes for s in stats) / sum(s.pass_share for s in stats) == pytest.approx(2.0)


def test_cancel_reports_the_steps_done_and_frees_the_place_at_once(bench: Bench) -> None:
    bench.service.handle(Submit(TASK))
    bench.run_until_step(1, 2)
    bench.service.handle(Cancel(1))
    left, cancelled = bench.heard()[-2:]
    assert left == Left(1)
    assert isinstance(cancelled, Cancelled)
    assert (cancelled.handle, cancelled.step, cancelled.stats.passes) == (1, 2, 2)
    assert cancelled.stats.denoise_ms > 0
    assert cancelled.stats.decode_ms == cancelled.stats.image_ms == 0
    assert bench.service.heartbeat() == Heartbeat(0, 0)
    assert [*map(stepped, only(bench.run(), Progress))] == [Progress(1, 1, 4), Progress(1, 2, 4)]


def test_commands_for_strangers_are_ignored(bench: Bench) -> None:
    bench.service.handle(Cancel(99))
    bench.service.handle(SetPreviews(99, True))
    assert bench.run() == []


def test_a_handle_in_use_is_not_taken_over(bench: Bench) -> None:
    bench.service.handle(Submit(TASK))
    bench.service.handle(Submit(TASK))
    assert len(only(bench.run(), Finished)) == 1


def test_an_invalid_task_is_answered_without_being_started(bench: Bench) -> None:
    bench.service.handle(Submit(replace(TASK, width=33)))
    left, failed = bench.run()
    assert left == Left(1)
    assert isinstance(failed, Failed)
    assert failed.kind == FailureKind.INVALID_ARGUMENT
    assert "width = 33 must be a multiple of 8" in failed.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("boom"), FailureKind.PIPELINE_ERROR), (torch.OutOfMemoryError("full"), FailureKind.OUT_OF_MEMORY)],
)
def test_a_failing_task_fails_alone(
    bench: Bench, model: LoadedModel, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def fail(self: Any, prompt: str, *args: Any, **kwargs: Any) -> Any:
        if prompt == "bad":
            raise error
        return original(self, prompt, *args, **kwargs)

    original = type(model.pipeline).encode_prompt
    monkeypatch.setattr(type(model.pipeline), "encode_prompt", fail)
    bench.service.handle(Submit(replace(TASK, handle=1, prompt="bad")))
    bench.service.handle(Submit(replace(TASK, handle=2)))
    reports = bench.run()
    assert only(reports, Left) == [Left(1)]
    assert only(reports, Failed) == [Failed(1, kind, f"{type(error).__name__}: {error}")]
    assert len(only(reports, Finished, 2)) == 1


def test_an_image_that_cannot_be_encoded_fails_its_task(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("encoder error")

    monkeypatch.setattr(images, "encode", fail)
    bench.service.handle(Submit(TASK))
    assert bench.run()[-1] == Failed(1, FailureKind.PIPELINE_ERROR, "OSError: encoder error")


def test_previews_come_when_they_are_wanted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_desk, "INTERVAL_S", 0.0)
    bench.render_at_once()
    bench.service.handle(Submit(TASK))
    bench.service.handle(Submit(replace(TASK, handle=2)))
    bench.run_until_step(1, 1)
    bench.service.handle(SetPreviews(1, True))
    bench.run_until_step(1, 3)
    bench.service.handle(SetPreviews(1, False))
    reports = bench.run()
    previews = only(reports, PreviewReady)
    assert [(p.step, p.steps, p.media_type) for p in previews] == [(2, 4, "image/jpeg"), (3, 4, "image/jpeg")]
    with Image.open(io.BytesIO(previews[0].image)) as image:
        assert image.size == (previews[0].width, previews[0].height) == (32, 32)
    assert only(reports, PreviewReady, 2) == []


def test_the_first_preview_is_never_held_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_desk, "INTERVAL_S", 3600.0)
    bench.render_at_once()
    bench.service.handle(Submit(TASK))
    bench.service.handle(SetPreviews(1, True))
    assert [p.step for p in only(bench.run(), PreviewReady)] == [1]
