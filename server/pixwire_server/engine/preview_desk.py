"""Which steps are previewed, and the rendering of previews in the image pool: a step never waits for a preview."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import torch

from pixwire_server.engine.api import GenerateTask, PreviewReady
from pixwire_server.engine.previews import MEDIA_TYPE, Previewer, predicted_latents
from pixwire_server.engine.request import Request, StepMoment

log = logging.getLogger(__name__)

INTERVAL_S = 0.1
"""Least time between previews of one task, in seconds; its first preview is never held back."""


@dataclass(slots=True)
class _Wish:
    """A task that is previewed: when the next one is due (monotonic seconds), and whether one is being rendered."""

    due: float = 0.0
    rendering: bool = False


class PreviewDesk:
    """Previews of all tasks. `switch`, `offer` and `forget` belong to the engine thread; `emit` is called in the pool.

    A task has one preview in the pool at most: where the pool falls behind, steps go without. Nothing is emitted for
    a handle after `forget` or `switch(handle, False)` has returned.
    """

    def __init__(self, pool: Executor, emit: Callable[[PreviewReady], None]) -> None:
        self._pool = pool
        self._emit = emit
        self._wishes: dict[int, _Wish] = {}
        self._lock = threading.Lock()

    def switch(self, handle: int, on: bool) -> None:
        """Begin or end the previews of a task. Repetitions change nothing."""
        with self._lock:
            if on:
                self._wishes.setdefault(handle, _Wish())
            else:
                self._wishes.pop(handle, None)

    def forget(self, handle: int) -> None:
        """The task is over."""
        self.switch(handle, False)

    def offer(self, task: GenerateTask, request: Request, moment: StepMoment, previewer: Previewer | None) -> None:
        """A step is done: preview it if that is wanted and due."""
        wish, now = self._wishes.get(task.handle), time.monotonic()
        if wish is None or previewer is None or wish.rendering or now < wish.due:
            return
        wish.due, wish.rendering = now + INTERVAL_S, True
        # A copy of the first image alone: the loop goes on, and may write into its own.
        latents = predicted_latents(moment)[:1].clone()
        self._pool.submit(self._render, task, request.pipeline, latents, (request.step, request.steps), previewer, wish)

    def _render(
        self,
        task: GenerateTask,
        pipeline: Any,
        latents: torch.Tensor,
        progress: tuple[int, int],
        previewer: Previewer,
        wish: _Wish,
    ) -> None:
        try:
            preview = previewer.render(pipeline, latents, task.width, task.height)
        except Exception:  # a preview is never worth a job
            log.exception("task %d: no preview of step %d", task.handle, progress[0])
            preview = None
        with self._lock:
            wish.rendering = False
            if self._wishes.get(task.handle) is not wish:
                return
            if preview is None:
                del self._wishes[task.handle]
                return
            size = preview.width, preview.height
            self._emit(PreviewReady(task.handle, *progress, MEDIA_TYPE, *size, preview.image))
