"""An engine without a model: it finishes every task at once with a few bytes, or holds it until it is told to."""

import asyncio
from collections.abc import Callable

from pixwire_server.engine import api

CARD = api.ModelCard(
    name="toy",
    pipeline_class="ToyPipeline",
    default_steps=4,
    default_guidance_scale=1.0,
    default_width=64,
    default_height=64,
    size_multiple=8,
    max_width=128,
    max_height=128,
    max_steps=200,
    max_count=16,
    device="cpu",
    dtype="float32",
    kinds=("txt2img", "img2img"),
    attachments=("image",),
)
STATS = api.JobStats(passes=4, pass_share=4.0, encode_ms=0, denoise_ms=0, decode_ms=0, image_ms=0)


class ToyEngine:
    """Stands in for `EngineProcess`. `spawned` is set at its start, `started` when a task has come."""

    def __init__(self, *, ready: bool = True, hold: bool = False, image: bytes = b"toy image") -> None:
        self.ready = ready
        self.hold = hold
        self.image = image
        self.tasks: list[api.GenerateTask] = []
        self.started = asyncio.Event()
        self.spawned = asyncio.Event()
        self.stopped = False
        self._report: Callable[[api.Report], None] = lambda report: None
        self._exit: Callable[[int], None] = lambda returncode: None

    def on_report(self, callback: Callable[[api.Report], None]) -> None:
        self._report = callback

    def on_exit(self, callback: Callable[[int], None]) -> None:
        self._exit = callback

    async def start(self, config: api.EngineConfig) -> None:
        self.spawned.set()
        if self.ready:
            asyncio.get_running_loop().call_soon(
                self._report, api.Ready((api.ModelInfo(CARD.name, api.ModelState.LOADED, CARD),))
            )

    def send(self, command: api.Command) -> None:
        if isinstance(command, api.Submit):
            self.tasks.append(command.task)
            self._report(api.Started(command.task.handle))
            self.started.set()
            if not self.hold:
                self.finish(command.task)

    def finish(self, task: api.GenerateTask) -> None:
        image = api.EncodedImage(self.image, task.media_type, task.width, task.height, task.seed)
        self._report(api.Left(task.handle))
        self._report(api.Finished(task.handle, (image,) * task.count, STATS))

    def refuse(self, why: str) -> None:
        """The model can never be served."""
        self._report(api.Refused(why))
        self._exit(api.EXIT_REFUSED)

    async def stop(self, grace: float) -> int:
        self.stopped = True
        return 0

    def kill(self) -> None:
        self._exit(-9)
