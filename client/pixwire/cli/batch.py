"""`pixwire generate` with several prompts: all at once as far as is sensible, each image saved as soon as it is there.

What fails does not stop the others; the exit code is that of the first failure. Ctrl-C cancels all jobs.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ..aio.client import AsyncClient
from ..arguments import GenerateOptions, new_job_id
from ..core.many import CONCURRENCY
from ..errors import PixwireError, invalid
from .exits import ExitCode, error_map, print_json, report
from .files import check_folder, media_type_of, numbered, slug
from .generate import Interrupted, Made, Order, checked, end_job, generate, image_map, images_of
from .show import Display, display


async def run(order: Order, prompts: Sequence[str], grid: Path | None, open_files: bool) -> int:
    """One prompt or many. `grid`: a picture with all of them; `open_files`: show them with the system's viewer.

    Raises PixwireError, OSError, ImportError (pillow, for the grid), Interrupted.
    """
    if order.to_stdout and (grid is not None or open_files):
        text = "--grid and --open need images in files: name one with --output"
        raise invalid("output", "-", "a file, with --grid or --open", text)
    if grid is not None:
        from ..demo import sheet  # noqa: F401 - that pillow is missing is better known now

        media_type_of(grid)
        check_folder(grid)
    if len(prompts) > 1:
        code, every = await _generate_all(order, prompts)
    else:
        code, every = 0, await generate(replace(order, prompt=prompts[0] if prompts else None))
    shown = [path for one in every for path in one.paths]
    if grid is not None and shown:
        shown = [_save_grid(every, grid)]
        if not order.as_json:
            print(shown[0])
    if open_files:
        for path in shown:
            typer.launch(str(path))
    return code


async def _generate_all(order: Order, prompts: Sequence[str]) -> tuple[int, list[Made]]:
    """Makes them all. Returns the exit code, and what became of each. Raises PixwireError, OSError, Interrupted."""
    if order.to_stdout or order.job is not None or order.preview is not None:
        text = "several prompts fit neither --output - nor --job nor --preview-file: these are for one prompt"
        raise invalid("prompt", len(prompts), "one prompt with these options", text)
    for prompt in prompts:
        options = checked(replace(order, prompt=prompt))
    every = [Made(prompt, new_job_id()) for prompt in prompts]
    names = _names(order, prompts)
    with display(quiet=order.as_json, preview=order.way) as shown:
        async with order.target.connect(shown.note) as client:
            await _make_all(client, order, options, every, names, shown)
    if not order.as_json:
        for one in every:
            one.tell()
    failed = [one.error for one in every if one.error is not None]
    if order.as_json:
        print_json({"results": [_map(one) for one in every]})
    codes = [report(error, as_json=False) for error in failed]
    return (codes[0] if codes else ExitCode.OK), every


async def _make_all(
    client: AsyncClient,
    order: Order,
    options: GenerateOptions,
    every: Sequence[Made],
    names: Sequence[Path | None],
    shown: Display,
) -> None:
    room = asyncio.Semaphore(CONCURRENCY)
    begun: list[Made] = []
    taken: set[Path] = set()

    async def make(one: Made, name: Path | None) -> None:
        async with room:
            begun.append(one)
            try:
                mine = replace(order, prompt=one.prompt)
                one.images = await images_of(client, mine, options, one.job, shown)
                one.paths = await asyncio.to_thread(_save, one, _paths(one, name, order.count, taken))
            except (PixwireError, OSError) as error:
                one.error = error
            one.done = True

    tasks = [asyncio.ensure_future(make(one, name)) for one, name in zip(every, names, strict=True)]
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = [one.job for one in begun if not one.done]
        ends = {job: asyncio.ensure_future(end_job(client, job)) for job in left}
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C again; it has reached them all by then
            await asyncio.gather(*ends.values())
        raise Interrupted({job: None if end.cancelled() else end.result() for job, end in ends.items()}) from None


def _names(order: Order, prompts: Sequence[str]) -> list[Path | None]:
    """The file names for each prompt, to be numbered for several images; None: after prompt and seed."""
    if order.output is None:
        return [None] * len(prompts)
    return list(numbered(order.output, len(prompts)))


def _paths(one: Made, name: Path | None, count: int, taken: set[Path]) -> list[Path]:
    """Where its images go. Two equal prompts with equal seeds get two names."""
    if name is None:
        first = one.images[0]
        name = Path(f"{slug(one.prompt)}-{first.seed}{first.extension}")
        if name in taken:
            name = name.with_stem(f"{name.stem}-{one.job}")
        taken.add(name)
    return numbered(name, count)


def _save(one: Made, paths: Sequence[Path]) -> list[Path]:
    return [image.save(path) for image, path in zip(one.images, paths, strict=True)]


def _map(one: Made) -> dict[str, Any]:
    told: dict[str, Any] = {"prompt": one.prompt, "job": one.job}
    if one.error is not None:
        return {**told, "error": error_map(one.error)}
    return {**told, "images": [image_map(image, path) for image, path in zip(one.images, one.paths, strict=True)]}


def _save_grid(every: Sequence[Made], path: Path) -> Path:
    """One picture with all of them and their prompts. Needs pillow. Raises OSError."""
    from ..demo.sheet import contact_sheet

    pictures = [(one.prompt, image.to_pil()) for one in every for image in one.images]
    contact_sheet(pictures, f"{len(pictures)} images").save(path)
    return path
