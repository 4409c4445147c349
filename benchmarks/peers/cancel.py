"""From the moment a client gives up until the server's processes stop computing for it.

Looked at from outside, the same way for every server: the processor time of all its processes, every few milliseconds.
Free is the machine when they stand still; a server that cannot cancel computes the rest of the job.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

import pixwire
from benchmarks import processes
from benchmarks.deployments.trace import GUIDANCE, SIZE, Request

EVERY_S, WINDOW_S, QUIET_S = 0.004, 0.02, 0.12
IDLE = 0.15
"""Of a core, over `WINDOW_S`: less is not computing, but timers."""
AFTER = 0.3
"""Of the time of the whole job: then it is given up."""

Begin = Callable[[Request], Awaitable[Callable[[], Awaitable[None]]]]
"""Starts a job and returns when it was sent; what it returns gives the job up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time used by the servers at a moment, in seconds."""

    at: float
    used: float


def still_since(samples: Sequence[Sample], quiet: float = QUIET_S) -> float | None:
    """When the processes began to stand still, if they have for `quiet` seconds at the end; None: not yet."""
    last, end = len(samples) - 1, len(samples) - 1
    since = samples[last].at
    for one in reversed(samples):
        while samples[end].at - one.at > WINDOW_S:
            end -= 1
        if samples[end].used - one.used > IDLE * WINDOW_S:
            break
        since = one.at
    return since if samples[last].at - since >= quiet else None


async def seconds_to_freed(pid: int, begin: Begin, request: Request, whole: float) -> float:
    """Seconds from giving up to standing still. `whole`: how long the job takes when nobody gives it up."""
    give_up = await begin(request)
    await asyncio.sleep(AFTER * whole)
    everyone = processes.family(pid)
    cancelled = time.monotonic()
    await give_up()
    samples = [_sample(everyone)]
    while (since := still_since(samples)) is None:
        await asyncio.sleep(EVERY_S)
        samples.append(_sample(everyone))
    return max(0.0, since - cancelled)


def _sample(pids: Sequence[int]) -> Sample:
    used = 0.0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            used += processes.cpu_seconds(pid)
    return Sample(time.monotonic(), used)


def by_http(http: aiohttp.ClientSession, url: str) -> Begin:
    """Gives up by closing the connection: HTTP has nothing else."""

    async def begin(request: Request) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            async with http.post(url, json=request.to_map()) as response:
                await response.read()

        asking = asyncio.ensure_future(ask())

        async def give_up() -> None:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await asking

        return give_up

    return begin


def by_pxw(client: pixwire.AsyncClient) -> Begin:
    """Gives up by CANCEL."""

    async def begin(request: Request) -> Callable[[], Awaitable[None]]:
        how: dict[str, Any] = {"seed": request.seed, "steps": request.steps, "width": SIZE, "height": SIZE}
        job = await client.submit(request.prompt, guidance_scale=GUIDANCE, **how)

        async def give_up() -> None:
            await job.cancel()

        return give_up

    return begin
