"""The engine behind its messages: commands in, reports out. Knows tasks, images and previews; no sockets, no threads
of its own but the image pool."""

import logging
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from pixwire_server.engine import arguments, images, inputs
from pixwire_server.engine.adapters import AdapterError, Adapters
from pixwire_server.engine.api import (
    Cancel,
    Cancelled,
    Command,
    EncodedImage,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Heartbeat,
    JobStats,
    Left,
    PreviewReady,
    Progress,
    Report,
    SetPreviews,
    Started,
    Submit,
)
from pixwire_server.engine.hub import Hub
from pixwire_server.engine.loader import LoadedModel
from pixwire_server.engine.passes import PassRunner, is_out_of_memory
from pixwire_server.engine.previews import MEDIA_TYPE, predicted_latents
from pixwire_server.engine.request import Request, StepMoment
from pixwire_server.engine.variants import Variant
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE

log = logging.getLogger(__name__)

IMAGE_THREADS = 2
MAX_MESSAGE = 1000
"""Characters of a failure's message; libraries like to print whole configurations."""

PREVIEW_INTERVAL_S = 0.1
"""Least time between previews of one task; its first preview is never held back."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A task whose inputs the pool has read, or failed to."""

    task: GenerateTask
    variant: Variant
    pictures: Mapping[str, Any] | Exception


class Service:
    """One model, its hub and its image pool.

    `emit` is called from the engine thread and from the pool; `wake` from the pool when there is work for `tick`.
    """

    def __init__(
        self,
        model: LoadedModel,
        emit: Callable[[Report], None],
        *,
        max_rows: int,
        exact: bool,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._emit = emit
        self._wake = wake
        self.adapters = Adapters(model.pipeline)
        self.runner = PassRunner(max_rows, exact, self.adapters)
        self.hub = Hub(model.pipeline, self.runner, self)
        self._pool = ThreadPoolExecutor(IMAGE_THREADS, "image")
        self._tasks: dict[int, GenerateTask] = {}
        self._opening: dict[int, GenerateTask] = {}
        self._opened: queue.SimpleQueue[_Opened] = queue.SimpleQueue()
        self._next_preview: dict[int, float] = {}

    def handle(self, command: Command) -> None:
        """Carry out one command (all but Shutdown, which is the caller's). Never raises for a task's sake."""
        if isinstance(command, Submit):
            self._submit(command.task)
        elif isinstance(command, Cancel):
            self._cancel(command.handle)
        elif isinstance(command, SetPreviews):
            self._set_previews(command.handle, command.on)

    def tick(self) -> bool:
        """Take in tasks whose inputs are read, then run one forward pass; False when there is nothing to do."""
        while not self._opened.empty():
            self._open(self._opened.get())
        return self.hub.tick()

    def heartbeat(self) -> Heartbeat:
        """What the engine holds now."""
        return Heartbeat(self.hub.resident + len(self._opening), self.hub.parked)

    def close(self) -> None:
        """Wait for images being encoded. Residents are abandoned."""
        self._pool.shutdown()

    def _submit(self, task: GenerateTask) -> None:
        if task.handle in self._tasks or task.handle in self._opening:
            log.error("handle %d is in use, its second task is ignored", task.handle)
            return
        try:
            variant = arguments.check(task, self._model.card, self._model.variants)
        except arguments.InvalidTaskError as error:
            self._refuse(task.handle, error)
            return
        if task.inputs:
            self._opening[task.handle] = task
            self._pool.submit(self._read, task, variant)
        else:
            self._start(task, variant, {})

    def _start(self, task: GenerateTask, variant: Variant, pictures: Mapping[str, Any]) -> None:
        try:
            self.adapters.acquire(task.adapters)
        except AdapterError as error:
            self._refuse(task.handle, error)
            return
        self._tasks[task.handle] = task
        self._emit(Started(task.handle))
        built = arguments.build(task, variant, pictures)
        request = Request(
            task.handle, built, pipeline=variant.pipeline, guidance=task.guidance_scale, adapters=task.adapters
        )
        self.hub.submit(request)

    def _open(self, opened: "_Opened") -> None:
        """A task's inputs are read, or turned out unreadable; it may have been cancelled meanwhile."""
        task = opened.task
        if self._opening.get(task.handle) is not task:
            return
        del self._opening[task.handle]
        if isinstance(opened.pictures, Exception):
            self._refuse(task.handle, opened.pictures)
        else:
            self._start(task, opened.variant, opened.pictures)

    def _cancel(self, handle: int) -> None:
        if self._opening.pop(handle, None) is not None:
            self._next_preview.pop(handle, None)
            self._emit(Left(handle))
            self._emit(Cancelled(handle, 0, JobStats(0, 0.0, 0.0, 0.0, 0.0, 0.0)))
        else:
            self.hub.cancel(handle)

    def _refuse(self, handle: int, error: Exception) -> None:
        """End a task that was never started."""
        self._next_preview.pop(handle, None)
        self._emit(Left(handle))
        if isinstance(error, arguments.InvalidTaskError | AdapterError):
            self._emit(Failed(handle, FailureKind.INVALID_ARGUMENT, str(error)[:MAX_MESSAGE]))
        else:
            self._fail(handle, error)

    def _set_previews(self, handle: int, on: bool) -> None:
        if on and (handle in self._tasks or handle in self._opening) and self._model.previewer is not None:
            self._next_preview.setdefault(handle, 0.0)
        else:
            self._next_preview.pop(handle, None)

    # ------------------------------------------------------------------------------ Observer

    def stepped(self, request: Request, moment: StepMoment) -> None:
        """Report progress and, if asked for, a preview."""
        self._emit(Progress(request.handle, request.step, request.steps))
        due = self._next_preview.get(request.handle)
        if due is not None and time.monotonic() >= due:
            self._next_preview[request.handle] = time.monotonic() + PREVIEW_INTERVAL_S
            self._preview(request, moment)

    def left(self, request: Request) -> None:
        """Tell that the place is free."""
        self._emit(Left(request.handle))

    def ended(self, request: Request) -> None:
        """Report the end, or hand the images to the pool, which does."""
        task = self._tasks.pop(request.handle)
        self.adapters.release(task.adapters)
        self._next_preview.pop(request.handle, None)
        if request.cancelled:
            self._emit(Cancelled(request.handle, request.step, _stats(request, 0.0)))
        elif request.error is not None:
            self._fail(request.handle, request.error)
        else:
            self._pool.submit(self._deliver, task, request)

    def _preview(self, request: Request, moment: StepMoment) -> None:
        task, previewer = self._tasks[request.handle], self._model.previewer
        if previewer is None:
            return
        preview = previewer.render(request.pipeline, predicted_latents(moment), task.width, task.height)
        if preview is None:
            self._next_preview.pop(request.handle)
            return
        size = preview.width, preview.height
        self._emit(PreviewReady(request.handle, request.step, request.steps, MEDIA_TYPE, *size, preview.image))

    def _fail(self, handle: int, error: Exception) -> None:
        kind = FailureKind.OUT_OF_MEMORY if is_out_of_memory(error) else FailureKind.PIPELINE_ERROR
        log.error("task %d failed (%s)", handle, kind, exc_info=error)
        self._emit(Failed(handle, kind, f"{type(error).__name__}: {error}"[:MAX_MESSAGE]))

    # ------------------------------------------------------------------------------ image pool

    def _read(self, task: GenerateTask, variant: Variant) -> None:
        try:
            pictures: Mapping[str, Any] | Exception = inputs.read(task)
        except Exception as error:
            pictures = error
        self._opened.put(_Opened(task, variant, pictures))
        self._wake()

    def _deliver(self, task: GenerateTask, request: Request) -> None:
        try:
            start = time.perf_counter()
            encoded = self._encode(task, request.result[0])
            stats = _stats(request, (time.perf_counter() - start) * 1000)
        except Exception as error:
            self._fail(task.handle, error)
            return
        self._emit(Finished(task.handle, encoded, stats))
        log.info(
            "task %d finished: %d steps, %d passes shared by %.2f requests on average, %.0f ms",
            task.handle,
            request.steps,
            stats.passes,
            stats.passes / stats.pass_share if stats.pass_share else 0.0,
            stats.encode_ms + stats.denoise_ms + stats.decode_ms + stats.image_ms,
        )

    def _encode(self, task: GenerateTask, tensor: torch.Tensor) -> tuple[EncodedImage, ...]:
        encoded = []
        for i, pixels in enumerate(images.to_pixels(tensor)):
            text = arguments.metadata(task, task.seed + i, self._model.card.name)
            height, width = pixels.shape[:2]
            encoded.append(
                EncodedImage(
                    images.encode(pixels, task.media_type, text), task.media_type, width, height, task.seed + i
                )
            )
        return tuple(encoded)


def _stats(request: Request, image_ms: float) -> JobStats:
    clock = request.clock
    return JobStats(
        passes=request.passes,
        pass_share=request.pass_share,
        encode_ms=clock.milliseconds(ENCODE),
        denoise_ms=clock.milliseconds(DENOISE),
        decode_ms=clock.milliseconds(DECODE),
        image_ms=image_ms,
    )
