"""`pixwire generate`: one request, a bar, files; Ctrl-C cancels the job."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from ..aio.client import AsyncClient
from ..arguments import GenerateOptions, Priority, Terms, check_job_id, kind_of, new_job_id, pack_params
from ..errors import ConnectionLost, PixwireError, RequestTimeout, invalid
from ..events import Event, Preview
from ..image import EXTENSIONS, Image
from ..recipe import arguments_of, read_recipe
from .exits import print_json
from .files import STDOUT, check_folder, media_type_of, numbered, only_one, save_all, slug, to_stdout
from .pictures import Way
from .show import Display, display
from .target import Target

CANCEL_SECONDS = 5.0  # how long Ctrl-C waits for the server to say that the job is over


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what became of the jobs: their states by id, None where the server could not be asked.

    Attributes: `job`, `state`: of the first.
    """

    def __init__(self, states: Mapping[str, str | None]) -> None:
        self.job: str | None = next(iter(states), None)
        self.state = None if self.job is None else states[self.job]
        known = [f"job {job} is {state}" if state else f"job {job} may be going on" for job, state in states.items()]
        if len(known) > 1:
            over = sum(state is not None for state in states.values())
            known = [f"{over} of {len(states)} jobs are cancelled" if over else f"{len(states)} jobs may be going on"]
        super().__init__("; ".join(["interrupted", *known]))


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. `output` None: named after the prompt; `-`: stdout. `images`: by name."""

    target: Target
    prompt: str | None
    options: GenerateOptions
    count: int
    output: Path | None
    preview: Path | None
    timeout: float | None
    job: str | None
    as_json: bool
    images: Mapping[str, Path | None] = field(default_factory=dict)
    traceparent: str | None = None
    terms: Terms = field(default_factory=Terms)
    like: Path | None = None
    way: Way = Way.OFF

    @property
    def to_stdout(self) -> bool:
        """Whether the image itself goes to stdout."""
        return self.output == STDOUT


@dataclass(slots=True)
class Made:
    """What became of one prompt: its images and where they are, or why there are none."""

    prompt: str
    job: str
    images: list[Image] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False

    def tell(self) -> None:
        """A line for each image."""
        for path, image in zip(self.paths, self.images, strict=False):
            print(f"{path}  {image.width}x{image.height} {image.media_type}, seed {image.seed}")


async def generate(order: Order) -> list[Made]:
    """Carries an order out; what went to stdout is nowhere else. Raises PixwireError, OSError, Interrupted."""
    order = with_recipe(order)
    options = checked(order)
    job = new_job_id() if order.job is None else check_job_id(order.job)
    with display(quiet=order.as_json, preview=order.way) as shown:
        async with order.target.connect(shown.note) as client:
            try:
                images = await images_of(client, order, options, job, shown)
            except asyncio.CancelledError:
                raise Interrupted({job: await end_job(client, job)}) from None
    if order.to_stdout:
        to_stdout(images[0])
        return []
    output = order.output or Path(f"{slug(str(order.prompt))}-{images[0].seed}{images[0].extension}")
    try:
        made = Made(str(order.prompt), job, images, save_all(images, output))
    except OSError:
        print(f"to come back for it: pixwire fetch {job}", file=sys.stderr)
        raise
    if order.as_json:
        shown_images = [image_map(image, path) for image, path in zip(images, made.paths, strict=True)]
        print_json({"job": job, "images": shown_images})
    else:
        made.tell()
    return [made]


def checked(order: Order) -> GenerateOptions:
    """The parameters, with the media type that the output's name asks for. Raises InvalidArgument."""
    options = order.options.copy()
    if order.to_stdout:
        if order.count > 1 or order.as_json:
            raise only_one("and not beside --json")
    elif order.output is not None:
        for path in numbered(order.output, order.count):
            check_folder(path)
        asked = media_type_of(order.output)
        if options.get("media_type") not in (None, asked):
            wanted = EXTENSIONS.get(str(options["media_type"]), "png, jpeg, webp, avif or rgb")
            raise invalid(
                "output", str(order.output), wanted, f"{order.output} does not fit --media-type; use {wanted}"
            )
        options["media_type"] = asked
    if order.preview is not None:
        check_folder(order.preview)
    names = tuple(name for name, path in order.images.items() if path is not None)
    kind = kind_of(image="image" in names, mask="mask" in names)
    pack_params(kind, names, str(order.prompt), order.count, **options)
    order.terms.head()
    return options


def with_recipe(order: Order) -> Order:
    """The order with what the picture `like` tells of itself, where nothing else is said. Raises InvalidArgument."""
    if order.like is None:
        if order.prompt is None:
            raise invalid(
                "prompt",
                None,
                "a prompt, or --like FILE",
                "give a PROMPT that says what the image shows, or --like FILE",
            )
        return order
    recipe = read_recipe(order.like.read_bytes())
    if recipe is None:
        allowed = "a picture of a pixwire server"
        raise invalid(
            "like", str(order.like), allowed, f"{order.like} does not tell how it was made: it needs {allowed}"
        )
    for name in recipe.get("attachments") or ():
        if order.images.get(name) is None:
            text = f"{order.like} was made with another picture, {name}: give it, too, with --{name}"
            raise invalid(name, None, "the picture it was made with", text)
    given = {name: value for name, value in order.options.items() if value is not None}
    told = arguments_of(recipe)
    prompt = order.prompt or told.pop("prompt", None)
    told.pop("prompt", None)
    return replace(order, prompt=prompt, options=cast("GenerateOptions", {**told, **given}), like=None)


def adapter_of(text: str) -> tuple[str, float]:
    """NAME or NAME:WEIGHT. Raises InvalidArgument for a weight that is no number."""
    name, colon, weight = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        return name, float(weight)
    except ValueError:
        raise invalid("adapter", text, "NAME or NAME:WEIGHT", f"{weight!r} in --adapter {text} is no number") from None


async def images_of(
    client: AsyncClient, order: Order, options: GenerateOptions, job: str, shown: Display
) -> list[Image]:
    """The images of an order, shown as they come along. Raises PixwireError."""
    prompt, terms = str(order.prompt), order.terms
    update = partial(shown.update, prompt)
    try:
        return await client.generate(
            prompt,
            count=order.count,
            job_id=job,
            on_state=update,
            on_progress=update,
            image=order.images.get("image"),
            mask=order.images.get("mask"),
            control=order.images.get("control"),
            style=order.images.get("style"),
            priority=cast("Priority | None", terms.priority),
            deadline=terms.deadline,
            queue_ttl=terms.queue_ttl,
            run_timeout=terms.run_timeout,
            tags=terms.tags,
            traceparent=order.traceparent,
            on_upload=partial(shown.upload, prompt),
            on_preview=_preview(order.preview, update if shown.shows_pictures else None),
            timeout=order.timeout,
            **options,
        )
    except (RequestTimeout, ConnectionLost) as error:
        if error.job is not None and (isinstance(error, RequestTimeout) or error.processed != "no"):
            shown.note(f"to come back for it: pixwire fetch {job}")
        raise


async def end_job(client: AsyncClient, job: str) -> str | None:
    """Cancels a job and waits a moment for its end. Returns its last known state, None when the server did not say.

    A second Ctrl-C ends the waiting.
    """
    handle = client.job(job)
    state = None
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            state = (await handle.cancel("interrupted")).state
            state = (await handle.wait()).state
    except (PixwireError, TimeoutError, asyncio.CancelledError):
        pass
    return state


def _preview(path: Path | None, show: Callable[[Event], None] | None) -> Callable[[Preview], None] | None:
    """What is done with a preview; None: they are not even asked for."""
    if path is None:
        return show

    def keep(preview: Preview) -> None:
        preview.image.save(path)
        if show is not None:
            show(preview)

    return keep


def image_map(image: Image, path: Path) -> dict[str, Any]:
    """An image as a JSON object."""
    return {
        "path": str(path),
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "seed": image.seed,
        "bytes": len(image.data),
    }
