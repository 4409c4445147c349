"""`pixwire demo`: a server of its own, six prompts at once over one connection, six pictures and a contact sheet.

Everything goes the way a user's program would go: `pixwire.connect`, `client.generate` and a callback for the bars.
Needs `pixwire-server` (which brings pillow for the contact sheet).
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from ..aio.client import AsyncClient
from ..aio.connecting import connect
from ..arguments import pack_params
from ..cli.files import slug
from ..cli.show import Display, display
from ..events import Event, StateChange
from ..image import Image
from .server import DemoServer, need_server

PROMPTS = (
    "a red circle on a blue background",
    "a green star on a white background",
    "a yellow heart on a purple background",
    "an orange triangle on a black background",
    "a white square on a green background",
    "a blue ring on a yellow background",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make: `prompts` (none: the six), into `folder`, with `seed`, by `model` (a folder; None: built in)."""

    prompts: tuple[str, ...] = ()
    folder: Path = Path("demo-output")
    seed: int = 7
    model: Path | None = None


@dataclass(slots=True)
class Tally:
    """What the terminal events say about the forward passes the jobs shared."""

    passes: float = 0.0
    shares: float = 0.0

    def hear(self, event: Event) -> None:
        """Takes an event of any of the jobs."""
        if isinstance(event, StateChange) and event.state.terminal and event.status.engine is not None:
            self.passes += event.status.engine.get("passes", 0)
            self.shares += event.status.engine.get("pass_share", 0.0)

    @property
    def requests_per_pass(self) -> float | None:
        """How many requests a forward pass served on average; None when no job told."""
        return self.passes / self.shares if self.shares else None


async def demo(plan: Plan) -> int:
    """Runs the demo and returns 0. Raises PixwireError, OSError, ImportError (something is not installed)."""
    need_server()
    prompts = tuple(dict.fromkeys(plan.prompts)) or PROMPTS
    for prompt in prompts:
        # What is wrong with them is better known before a server starts.
        pack_params("txt2img", (), prompt, None, seed=plan.seed)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with display(quiet=False) as shown:
        shown.note("starting a server ...")
        async with DemoServer(plan.model) as server:
            shown.note(server.greeting)
            async with connect(server.url) as client:
                tally = Tally()
                start = time.perf_counter()
                images = await _make_all(client, prompts, plan.seed, shown, tally)
                seconds = time.perf_counter() - start
                received = client.bytes_received
        shown.note("the server has stopped cleanly")
    _save(list(zip(prompts, images, strict=True)), plan)
    print(_summary(len(images), seconds, received, tally))
    return 0


async def _make_all(
    client: AsyncClient, prompts: tuple[str, ...], seed: int, shown: Display, tally: Tally
) -> list[Image]:
    async def make(prompt: str) -> Image:
        def hear(event: Event) -> None:
            shown.update(prompt, event)
            tally.hear(event)

        return await client.generate(prompt, seed=seed, on_state=hear, on_progress=hear)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(make(prompt)) for prompt in prompts]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


def _save(pictures: list[tuple[str, Image]], plan: Plan) -> None:
    from .sheet import contact_sheet  # pillow, only now

    for number, (prompt, image) in enumerate(pictures):
        name = slug(prompt)
        if name in {slug(other) for other, _ in pictures[:number]}:
            name += f"-{number + 1}"
        print(image.save(plan.folder / f"{name}{image.extension}"))
    about = f"{plan.model.name if plan.model else 'built-in model'}, seed {plan.seed}"
    sheet = contact_sheet([(prompt, image.to_pil()) for prompt, image in pictures], about)
    path = plan.folder / "contact-sheet.png"
    sheet.save(path)
    print(path)


def _summary(count: int, seconds: float, received: int, tally: Tally) -> str:
    shared = tally.requests_per_pass
    passes = "" if shared is None else f", {shared:.1f} requests per forward pass on average"
    images = "1 image" if count == 1 else f"{count} images"
    return f"{images} in {seconds:.1f} s ({count / seconds:.1f} images/s){passes}, {received:,} bytes received"
