"""The job layer on a real data directory, with an engine that does exactly what a test tells it to."""

import asyncio
import contextlib
import hashlib
import io
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from PIL import Image

from pixwire_protocol.attachments import Attachment
from pixwire_server.engine import api
from pixwire_server.jobs import Clock, JobEvent, Jobs, JobsSettings, RestartPolicy, StateChanged, Terms, open_jobs

CARD = api.ModelCard(
    name="test/model",
    pipeline_class="TestPipeline",
    default_steps=20,
    default_guidance_scale=5.0,
    default_width=64,
    default_height=128,
    size_multiple=8,
    max_width=512,
    max_height=256,
    max_steps=100,
    max_count=4,
    device="cpu",
    dtype="float32",
)
PAINTER = replace(CARD, kinds=("txt2img", "img2img", "inpaint"), attachments=("image", "mask"), default_strength=0.7)
"""A model that also begins with an image."""
STATS = api.JobStats(passes=3, pass_share=1.5, encode_ms=1.0, denoise_ms=2.0, decode_ms=3.0, image_ms=4.0)
SECONDS = 30.0  # a bound for a test that hangs, never a measure


def picture(seed: int) -> bytes:
    """The image of a seed: any bytes, but always the same."""
    return hashlib.sha256(str(seed).encode()).digest() * 40


def painted(width: int = 64, height: int = 48, seed: int = 0, kind: str = "PNG", **options: Any) -> bytes:
    """A real image file of this size; another seed gives another file."""
    out = io.BytesIO()
    pixels = random.Random(f"{width} {height} {seed}").randbytes(width * height * 3)
    Image.frombytes("RGB", (width, height), pixels).save(out, kind, **options)
    return out.getvalue()


def attachment(name: str, data: bytes, media_type: str = "image/png") -> Attachment:
    return Attachment(name, len(data), hashlib.sha256(data).hexdigest(), media_type)


def ready(*cards: api.ModelCard) -> api.Ready:
    """What an engine reports when it has loaded these models."""
    return api.Ready(tuple(api.ModelInfo(card.name, api.ModelState.LOADED, card) for card in cards))


class FakeEngine:
    """Implements what the supervisor needs of EngineProcess, in this process; reports when it is told to."""

    def __init__(self, farm: "Farm") -> None:
        self.farm = farm
        self.commands: list[api.Command] = []
        self.tasks: dict[int, api.GenerateTask] = {}
        self.killed = False
        self.ended = False
        self._report: Callable[[api.Report], None] = lambda report: None
        self._exit: Callable[[int], None] = lambda code: None

    def on_report(self, callback: Callable[[api.Report], None]) -> None:
        self._report = callback

    def on_exit(self, callback: Callable[[int], None]) -> None:
        self._exit = callback

    async def start(self, config: api.EngineConfig) -> None:
        self.farm.on_config(config)
        self.farm.begin(self)

    def send(self, command: api.Command) -> None:
        self.commands.append(command)
        if isinstance(command, api.Submit):
            self.tasks[command.task.handle] = command.task
        self.farm.moved()

    async def stop(self, grace: float) -> int:
        self.exit(0)
        return 0

    def kill(self) -> None:
        self.killed = True
        if not self.farm.hard_to_kill:
            asyncio.get_running_loop().call_soon(self.exit, -9)

    # what the tests do

    def report(self, report: api.Report) -> None:
        self._report(report)

    def exit(self, code: int) -> None:
        if not self.ended:
            self.ended = True
            self._exit(code)
            self.farm.moved()

    def handle(self, prompt: str) -> int:
        """The handle of the latest task with this prompt."""
        return max(handle for handle, task in self.tasks.items() if task.prompt == prompt)

    def step(self, prompt: str, step: int, timestep: float | None = None) -> None:
        handle = self.handle(prompt)
        self.report(api.Progress(handle, step, self.tasks[handle].steps, timestep))

    def leave(self, prompt: str) -> None:
        self.report(api.Left(self.handle(prompt)))

    def finish(self, prompt: str, *, left: bool = True) -> None:
        handle = self.handle(prompt)
        task = self.tasks[handle]
        if left:
            self.report(api.Left(handle))
        images = tuple(
            api.EncodedImage(picture(task.seed + i), task.media_type, task.width, task.height, task.seed + i)
            for i in range(task.count)
        )
        self.report(api.Finished(handle, images, STATS))

    def cancel(self, prompt: str, step: int) -> None:
        handle = self.handle(prompt)
        self.report(api.Left(handle))
        self.report(api.Cancelled(handle, step, STATS))

    def fail(self, prompt: str, kind: api.FailureKind, message: str = "it broke") -> None:
        handle = self.handle(prompt)
        self.report(api.Left(handle))
        self.report(api.Failed(handle, kind, message))


class Farm:
    """Makes the engines, one after the other, and lets tests wait for what they are sent."""

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self.on_start: Callable[[FakeEngine], None] = lambda engine: engine.report(ready(self.card))
        self.on_config: Callable[[api.EngineConfig], object] = lambda config: None
        self.card = CARD
        self.hard_to_kill = False
        self._moved = asyncio.Event()

    def make(self) -> FakeEngine:
        self.engines.append(FakeEngine(self))
        return self.engines[-1]

    def begin(self, engine: FakeEngine) -> None:
        def started() -> None:
            self.on_start(engine)
            self.moved()

        asyncio.get_running_loop().call_soon(started)

    @property
    def engine(self) -> FakeEngine:
        return self.engines[-1]

    def moved(self) -> None:
        self._moved.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something an engine was sent or did makes `condition` true."""
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._moved.clear()
                await self._moved.wait()

    async def running(self, *prompts: str) -> None:
        """Wait until the current engine was given exactly these tasks, in this order."""
        await self.until(lambda: [task.prompt for task in self.engine.tasks.values()] == list(prompts))


class Follower:
    """Watches one job and remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[JobEvent] = []
        self.watch: Any = None
        self._moved = asyncio.Event()

    def __call__(self, event: JobEvent) -> None:
        self.events.append(event)
        self._moved.set()

    @property
    def states(self) -> list[str]:
        """The states it saw, from the snapshot on, without the first "queued": it may or may not come early enough."""
        statuses = [self.watch.snapshot, *(e.status for e in self.events if isinstance(e, StateChanged))]
        states = [status.state.value for status in statuses]
        return states[1:] if states[0] == "queued" else states

    async def until(self, state: str) -> Any:
        """Wait for this state (the first time it comes); its status."""
        async with asyncio.timeout(SECONDS):
            while state not in self.states:
                self._moved.clear()
                await self._moved.wait()
        return next(e.status for e in self.events if isinstance(e, StateChanged) and e.status.state == state)


class FakeTimer:
    """One call in the time of the bench."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Bench:
    """A job layer and everything around it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.timers: list[FakeTimer] = []
        self.farm = Farm()
        self.now = 1000.0
        self.wall = 1_700_000_000_000
        self.seeds = iter(range(100, 1_000_000, 100))
        self.jobs: Jobs
        self._opened: list[Jobs] = []

    async def open(self, data_dir: Path | None = None, **changes: Any) -> Jobs:
        """Open the job layer (again); `max_resident` and the fields of JobsSettings may be chosen."""
        settings = JobsSettings(
            data_dir or self.data_dir,
            api.EngineConfig((api.ModelSettings("nowhere"),), max_resident=changes.pop("max_resident", 4)),
            store_retry_s=0.01,
            restart=RestartPolicy(base_delay_s=0.0, tick_s=1e9),
        )
        self.jobs = await open_jobs(
            replace(settings, **changes),
            make_engine=self.farm.make,
            clock=Clock(lambda: self.now, lambda: self.wall, self.call_later),
            draw_seed=lambda: next(self.seeds),
            jitter=lambda: 0.0,
        )
        self._opened.append(self.jobs)
        return self.jobs

    @property
    def engine(self) -> FakeEngine:
        return self.farm.engine

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(self.now + delay, callback))
        return self.timers[-1]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, on both clocks; what is due by then is called."""
        self.wall += round(seconds * 1000)
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= until and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = until

    @staticmethod
    def tail(prompt: str, **params: Any) -> bytes:
        return bytes(msgpack.packb({"prompt": prompt, **params}))

    def submit(
        self,
        prompt: str,
        job_id: str | None = None,
        *,
        terms: Terms | None = None,
        principal: str = "anonymous",
        **params: Any,
    ) -> Any:
        """Submit a job whose id is its prompt, unless told otherwise."""
        return self.jobs.submit(principal, job_id or prompt, "txt2img", self.tail(prompt, **params), terms=terms)

    def begin(
        self,
        prompt: str,
        *sent: Attachment,
        job_id: str | None = None,
        principal: str = "anonymous",
        kind: str = "img2img",
        **params: Any,
    ) -> Any:
        """Begin an upload."""
        return self.jobs.begin_upload(principal, job_id or prompt, kind, self.tail(prompt, **params), sent)

    async def send(self, prompt: str, *data: bytes, **options: Any) -> Any:
        """A whole img2img (with a mask: inpaint) submit; the Submitted."""
        names = ("image", "mask", "control")
        sent = [attachment(name, one) for name, one in zip(names, data, strict=False)]
        kind = "inpaint" if len(data) > 1 else "img2img"
        upload = await self.begin(prompt, *sent, **{"kind": kind, **options})
        for one in data:
            upload.write(one)
        return await upload.finish()

    @property
    def files(self) -> list[bytes]:
        """Everything clients sent that is on the disk, whole or half."""
        return sorted(path.read_bytes() for path in (self.data_dir / "attachments").rglob("*") if path.is_file())

    async def idle(self) -> None:
        """Wait until no upload, and nothing of one, is under way."""
        uploads = self.jobs._uploads
        while uploads._open or uploads._work:
            await asyncio.wait(uploads._work)

    async def status(self, job_id: str, **options: Any) -> Any:
        return await self.jobs.status("anonymous", job_id, **options)

    def cancel(self, job_id: str, reason: str = "") -> Any:
        return self.jobs.cancel("anonymous", job_id, reason)

    async def follow(self, job_id: str, *want: str) -> Follower:
        follower = Follower()
        follower.watch = await self.jobs.watch("anonymous", job_id, follower, frozenset(want))
        return follower

    async def image(self, job_id: str, index: int = 0) -> bytes:
        opened = await self.jobs.artifact("anonymous", job_id, index)
        with contextlib.closing(opened):
            return opened.read()

    async def close(self) -> None:
        for jobs in self._opened:
            await jobs.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "data")
    yield made
    await made.close()
