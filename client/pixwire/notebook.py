"""For Jupyter: a bar that moves while a job is made, then its images. Needs IPython, which a notebook has.

from pixwire.notebook import follow, watch
images = await follow(await client.submit("a red circle"))          # AsyncClient
images = watch(client.submit("a red circle"))                       # Client
"""

from html import escape
from typing import TYPE_CHECKING, Any

from .events import Event, Preview, StateChange
from .image import Image

if TYPE_CHECKING:
    from .aio.job import AsyncJob
    from .sync.job import Job

COLOURS = {"succeeded": "#2e7d32", "failed": "#c62828", "expired": "#c62828", "cancelled": "#757575"}


async def follow(job: "AsyncJob") -> list[Image]:
    """Shows how the job comes along, then its images, and returns them. Raises as `AsyncJob.images` does; leaving it
    (an interrupted cell) does not cancel the job.
    """
    shown = _Shown(job.id)
    async for event in job.events():
        shown.hear(event)
    images = await job.images()
    shown.finish(images)
    return images


def watch(job: "Job") -> list[Image]:
    """The same for a job of a `Client`."""
    shown = _Shown(job.id)
    for event in job.events():
        shown.hear(event)
    images = job.images()
    shown.finish(images)
    return images


def bar(job: str, state: str, step: int, steps: int) -> str:
    """A job as a line of HTML. Pure."""
    share = 1.0 if state == "succeeded" else step / steps if steps else 0.0
    colour = COLOURS.get(state, "#1565c0")
    text = f"step {step} of {steps}" if state == "running" and steps else state
    return (
        '<div style="display:flex;align-items:center;gap:.75em;font:13px sans-serif">'
        '<div style="width:16em;height:.6em;border-radius:.3em;background:#8884">'
        f'<div style="width:{100 * share:.0f}%;height:100%;border-radius:.3em;background:{colour}"></div></div>'
        f'<span>{escape(text)}</span><code style="opacity:.6">{escape(job)}</code></div>'
    )


class _Shown:
    """What a cell shows of one job."""

    def __init__(self, job: str) -> None:
        import IPython.display

        self._notebook: Any = IPython.display
        self._job = job
        self._state = "queued"
        self._handle = self._notebook.display(self._bar(0, 0), display_id=True)

    def hear(self, event: Event) -> None:
        if isinstance(event, Preview):
            return
        if isinstance(event, StateChange):
            self._state = event.state.value
        self._handle.update(self._bar(event.step, event.steps))

    def finish(self, images: list[Image]) -> None:
        for image in images:
            self._notebook.display(image)

    def _bar(self, step: int, steps: int) -> Any:
        return self._notebook.HTML(bar(self._job, self._state, step, steps))
