"""`pixwire submit`: jobs on the server's disk, and their ids on stdout."""

# ruff: noqa: ASYNC109 - `--timeout` is handed on to the library, which keeps it

import asyncio
from collections.abc import Sequence
from typing import cast

from ..aio.job import AsyncJob
from ..arguments import Priority, Terms, kind_of, pack_params
from ..core.many import CONCURRENCY
from ..errors import invalid
from .asking import Asked
from .exits import print_json
from .target import Target


async def submit(
    target: Target,
    prompts: Sequence[str],
    asked: Asked,
    count: int,
    terms: Terms,
    job: str | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Hands over a job for each prompt; prints the ids in the order of the prompts, each as soon as it is on disk.

    Raises PixwireError for the first that is refused; those before it have been printed.
    """
    if not prompts:
        raise invalid("prompt", None, "a prompt, or --prompts FILE", "give a PROMPT that says what the image shows")
    if job is not None and len(prompts) > 1:
        raise invalid("job", job, "with one prompt", f"--job names one job, and there are {len(prompts)} prompts")
    names = tuple(name for name, path in asked.images.items() if path is not None)
    for prompt in prompts:  # what is wrong with any of them is better known before the first is handed over
        pack_params(kind_of(image="image" in names, mask="mask" in names), names, prompt, count, **asked.options)
    terms.head()
    room = asyncio.Semaphore(CONCURRENCY)
    async with target.connect() as client:

        async def hand_over(prompt: str) -> AsyncJob:
            async with room:
                return await client.submit(
                    prompt,
                    count=count,
                    job_id=job,
                    priority=cast("Priority | None", terms.priority),
                    deadline=terms.deadline,
                    queue_ttl=terms.queue_ttl,
                    run_timeout=terms.run_timeout,
                    tags=terms.tags,
                    traceparent=asked.traceparent,
                    timeout=timeout,
                    image=asked.images.get("image"),
                    mask=asked.images.get("mask"),
                    control=asked.images.get("control"),
                    style=asked.images.get("style"),
                    **asked.options,
                )

        handing = [asyncio.ensure_future(hand_over(prompt)) for prompt in prompts]
        made: list[tuple[str, AsyncJob]] = []
        try:
            for prompt, one in zip(prompts, handing, strict=True):
                made.append((prompt, await one))
                if not as_json:
                    print(made[-1][1].id, flush=True)
        finally:
            for one in handing:
                one.cancel()
            await asyncio.gather(*handing, return_exceptions=True)
    if as_json:
        print_json({"jobs": [{"job": handle.id, "prompt": prompt} for prompt, handle in made]})
    return 0
