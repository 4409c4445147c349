"""What the tests of the asyncio client share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from scripted_server import Request

PNG = bytes(range(256)) * 16
BIG = bytes(range(251)) * 8000  # two million bytes: several windows
SECONDS = 20.0  # a bound for a test that hangs, never a measure


def spawn(work: Awaitable[Any]) -> "asyncio.Task[Any]":
    """A task that does not hang for ever."""

    async def wait() -> Any:
        async with asyncio.timeout(SECONDS):
            return await work

    return asyncio.get_running_loop().create_task(wait())


Step = Callable[[Request], None]
STAGES: list[tuple[str, list[Step]]] = [
    ("sent", []),
    ("accepted", [lambda r: r.accept()]),
    ("running", [lambda r: r.accept("running"), lambda r: r.progress(1)]),
    (
        "half an image",
        [
            lambda r: r.accept("running"),
            lambda r: r.change("succeeded", artifacts=[r.info(0, BIG)]),
            lambda r: r.announce_image(0, BIG),
            lambda r: r.data(BIG[:300_000]),
        ],
    ),
]
