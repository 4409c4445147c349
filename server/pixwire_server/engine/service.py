"""The engine behind its messages: commands in, reports out. Knows tasks, images and previews; no sockets, no threads
of its own but the image pool."""

import logging
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pixwire_server.engine import arguments, delivery, device, inputs, tuning
from pixwire_server.engine.adapters import AdapterError, Adapters
from pixwire_server.engine.api import (
    Adapter,
    AddModel,
    Cancel,
    Cancelled,
    Command,
    Failed,
    FailureKind,
    Finished,
    GenerateTask,
    Heartbeat,
    JobStats,
    Left,
    LoadModel,
    Progress,
    RemoveModel,
    Report,
    SetPreviews,
    Started,
    Submit,
    UnloadModel,
)
from pixwire_server.engine.hub import Hub
from pixwire_server.engine.loader import LoadedModel
from pixwire_server.engine.models import Model, Models, ModelUnavailableError
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.preview_desk import PreviewDesk
from pixwire_server.engine.request import Request, StepMoment
from pixwire_server.engine.tally import Tally
from pixwire_server.engine.variants import Variant
from pixwire_server.scheduling.composition import DECODE, DENOISE, ENCODE, Standing
from pixwire_server.scheduling.cost import CostModel, Shape

log = logging.getLogger(__name__)

IMAGE_THREADS = 2
MAX_MESSAGE = 1000
"""Characters of a failure's message; libraries like to print whole configurations."""


_REFUSALS: Mapping[type[Exception], FailureKind] = {
    arguments.InvalidTaskError: FailureKind.INVALID_ARGUMENT,
    AdapterError: FailureKind.INVALID_ARGUMENT,
    ModelUnavailableError: FailureKind.MODEL_UNAVAILABLE,
}
"""What is no fault of the engine, and how it is reported."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A task with everything that belongs to it until its end: its model, and what of it does the task."""

    submit: Submit
    model: Model
    loaded: LoadedModel
    lora: Adapters
    variant: Variant
    adapters: tuple[Adapter, ...]

    @property
    def task(self) -> GenerateTask:
        return self.submit.task


@dataclass(frozen=True, slots=True)
class _Opened:
    """A task whose inputs the pool has read, or failed to."""

    job: _Job
    pictures: Mapping[str, Any] | Exception


class Service:
    """The models, their hub and the image pool.

    A task is in one of three places: `_waiting` for its model, `_opening` its inputs, or in the hub (`_jobs`). After
    that its images are read in the pool, and its model stays until they are (`_delivered`).
    `emit` is called from the engine thread and from the pool; `wake` from the pool when there is work for `tick`.
    """

    def __init__(
        self,
        models: Models,
        emit: Callable[[Report], None],
        *,
        max_rows: int,
        exact: bool,
        costs: CostModel | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._models = models
        self._emit = emit
        self._wake = wake
        self.tally = Tally(costs)
        self.runner = PassRunner(max_rows, exact, self.tally.seen)
        self.hub = Hub(None, self.runner, self, tally=self.tally)
        self._pool = ThreadPoolExecutor(IMAGE_THREADS, "image")
        self._waiting: dict[int, Submit] = {}
        self._opening: dict[int, _Job] = {}
        self._jobs: dict[int, _Job] = {}
        self._opened: queue.SimpleQueue[_Opened] = queue.SimpleQueue()
        self._delivered: queue.SimpleQueue[Model] = queue.SimpleQueue()
        self._lost: Exception | None = None
        self._previews = PreviewDesk(self._pool, emit)
        self._commands: Mapping[type[Any], Callable[[Any], None]] = {
            Submit: self._submit,
            Cancel: lambda command: self._cancel(command.handle),
            SetPreviews: lambda command: self._set_previews(command.handle, command.on),
            LoadModel: lambda command: models.load(command.name),
            UnloadModel: lambda command: models.unload(command.name),
            AddModel: lambda command: models.add(command.settings),
            RemoveModel: lambda command: models.remove(command.name),
        }
        models.on_settled = self._settled

    def handle(self, command: Command) -> None:
        """Carry out one command (all but Shutdown, which is the caller's). Never raises for a task's sake."""
        with self._models.gate:
            self._commands[type(command)](command)

    def tick(self) -> bool:
        """Take in models that are loaded and tasks whose inputs are read, then run one forward pass; False when there
        is nothing to do. Raises the error after which the device answers this process no more.
        """
        with self._models.gate:
            now = time.monotonic()
            while not self._delivered.empty():
                self._models.release(self._delivered.get())
            self._models.tick(now)
            while not self._opened.empty():
                self._open(self._opened.get())
            busy = self.hub.tick()
            report = self.tally.report(now, idle=not busy)
        if self._lost is not None:
            raise self._lost
        if report is not None:
            self._emit(report)
        return busy

    def heartbeat(self) -> Heartbeat:
        """What the engine holds now."""
        return Heartbeat(self.hub.resident + len(self._opening) + len(self._waiting), self.hub.parked)

    def close(self) -> None:
        """Wait for images being encoded. Residents are abandoned."""
        self._models.close()
        self._pool.shutdown()

    # ------------------------------------------------------------------------------ from Submit into the hub

    def _holds(self, handle: int) -> bool:
        return handle in self._waiting or handle in self._opening or handle in self._jobs

    def _submit(self, submit: Submit) -> None:
        if self._holds(submit.task.handle):
            log.error("handle %d is in use, its second task is ignored", submit.task.handle)
            return
        self._find_model(submit)

    def _find_model(self, submit: Submit) -> None:
        """Go on with a task if its model is loaded; else it waits until `_settled`."""
        task = submit.task
        try:
            model = self._models.find(task.model)
            usable = self._models.usable(model)
            if usable is None:
                self._waiting[task.handle] = submit
                self._models.want(model)
                return
            loaded, lora = usable
            variant = arguments.check(task, loaded.card, loaded.variants)
            chosen = self._models.adapters(model, task.adapters)
        except (ModelUnavailableError, arguments.InvalidTaskError, AdapterError) as error:
            self._refuse(task.handle, error)
            return
        self._models.acquire(model)
        job = _Job(submit, model, loaded, lora, variant, chosen)
        if task.inputs:
            self._opening[task.handle] = job
            self._pool.submit(self._read, job)
        else:
            self._start(job, {})

    def _settled(self, model: Model) -> None:
        """A model that tasks wait for is loaded, or will not be."""
        for handle, submit in list(self._waiting.items()):
            if submit.task.model == model.name or not submit.task.model:
                del self._waiting[handle]
                self._find_model(submit)

    def _start(self, job: _Job, pictures: Mapping[str, Any]) -> None:
        task, model = job.task, job.model
        try:
            job.lora.acquire(job.adapters)
        except AdapterError as error:
            self._models.release(model)
            self._refuse(task.handle, error)
            return
        self._jobs[task.handle] = job
        self._emit(Started(task.handle))
        shape = Shape(job.submit.shape, task.width * task.height) if job.submit.shape else None
        request = Request(
            task.handle,
            arguments.build(task, job.variant, pictures),
            pipeline=job.variant.pipeline,
            guidance=task.guidance_scale,
            adapters=job.adapters,
            model=model.key,
            switch=job.lora.switch,
            fill=tuning.bucket if job.loaded.compiled else None,
            standing=Standing(job.submit.level, job.submit.due, shape),
            overlays=arguments.overlays(task, job.variant),
        )
        self.hub.submit(request)

    def _open(self, opened: _Opened) -> None:
        """A task's inputs are read, or turned out unreadable; it may have been cancelled meanwhile."""
        job = opened.job
        if self._opening.get(job.task.handle) is not job:
            return
        del self._opening[job.task.handle]
        if isinstance(opened.pictures, Exception):
            self._models.release(job.model)
            self._refuse(job.task.handle, opened.pictures)
        else:
            self._start(job, opened.pictures)

    def _cancel(self, handle: int) -> None:
        job = self._opening.pop(handle, None)
        if job is None and self._waiting.pop(handle, None) is None:
            self.hub.cancel(handle)
            return
        self._previews.forget(handle)
        self._emit(Left(handle))
        self._emit(Cancelled(handle, 0, JobStats(0, 0.0, 0.0, 0.0, 0.0, 0.0)))
        if job is not None:
            self._models.release(job.model)

    def _refuse(self, handle: int, error: Exception) -> None:
        """End a task that was never started."""
        self._previews.forget(handle)
        self._emit(Left(handle))
        kind = next((kind for known, kind in _REFUSALS.items() if isinstance(error, known)), None)
        if kind is None:
            self._fail(handle, error)
        else:
            self._emit(Failed(handle, kind, str(error)[:MAX_MESSAGE]))

    def _set_previews(self, handle: int, on: bool) -> None:
        self._previews.switch(handle, on and self._holds(handle))

    # ------------------------------------------------------------------------------ Observer

    def stepped(self, request: Request, moment: StepMoment) -> None:
        """Report progress and, if asked for, a preview."""
        self._emit(Progress(request.handle, request.step, request.steps, request.timestep))
        job = self._jobs[request.handle]
        self._previews.offer(job.task, request, moment, job.loaded.previewer)

    def left(self, request: Request) -> None:
        """Tell that the place is free."""
        self._emit(Left(request.handle))

    def ended(self, request: Request) -> None:
        """Report the end, or hand the images to the pool, which does."""
        job = self._jobs.pop(request.handle)
        job.lora.release(job.adapters)
        self._previews.forget(request.handle)
        if not request.cancelled and request.error is None:
            self._pool.submit(self._deliver, [job, request])
            return
        self._models.release(job.model)
        if request.cancelled:
            self._emit(Cancelled(request.handle, request.step, _stats(request, 0.0)))
        elif request.error is not None:
            self._fail(request.handle, request.error)

    def _fail(self, handle: int, error: Exception) -> None:
        """Report it, unless the device is lost: then the task did not end, and the next engine may do it."""
        if device.is_lost():
            log.critical("task %d met a device that answers this process no more: %s", handle, error)
            self._lost = error
            self._wake()
            return
        kind = FailureKind.OUT_OF_MEMORY if device.is_out_of_memory(error) else FailureKind.PIPELINE_ERROR
        log.error("task %d failed (%s)", handle, kind, exc_info=error)
        self._emit(Failed(handle, kind, f"{type(error).__name__}: {error}"[:MAX_MESSAGE]))

    # ------------------------------------------------------------------------------ image pool

    def _read(self, job: _Job) -> None:
        try:
            pictures: Mapping[str, Any] | Exception = inputs.read(job.task)
        except Exception as error:
            pictures = error
        self._opened.put(_Opened(job, pictures))
        self._wake()

    def _deliver(self, ended: list[Any]) -> None:
        """Make the files of a job and its request, then give the model back. By then nothing here refers to it, or
        its memory could not be freed for another; and a GPU is not at its picture any more.
        """
        model = ended[0].model
        self._make_files(ended)
        self._delivered.put(model)
        self._wake()

    def _make_files(self, ended: list[Any]) -> None:
        job, request = ended
        ended.clear()
        task = job.task
        try:
            start = time.perf_counter()
            sampler = type(request.pipeline.scheduler).__name__
            encoded = delivery.files(task, request.images, job.loaded.card, sampler)
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


def _stats(request: Request, image_ms: float) -> JobStats:
    clock = request.clock
    return JobStats(
        passes=request.passes,
        pass_share=request.pass_share,
        encode_ms=clock.milliseconds(ENCODE),
        denoise_ms=clock.milliseconds(DENOISE),
        decode_ms=clock.milliseconds(DECODE),
        image_ms=image_ms,
        pass_rows=request.pass_rows,
        began=clock.began,
    )
