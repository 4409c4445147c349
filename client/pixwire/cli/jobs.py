"""The commands about jobs that exist, and `ping`."""

# ruff: noqa: ASYNC109 - `--timeout` is handed on to the library, which keeps it

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from pixwire_protocol.status import NORMAL, JobState, JobStatus

from ..arguments import check_job_id
from ..errors import job_ended
from ..events import Event, StateChange
from ..image import Image
from .exits import print_json, printable
from .files import STDOUT, check_folder, only_one, save_all, to_stdout
from .generate import image_map
from .lists import age
from .pictures import Way
from .show import describe, display, seconds
from .target import Target


async def status(target: Target, job: str, as_json: bool) -> int:
    """Prints how a job is."""
    check_job_id(job)
    async with target.connect() as client:
        found = await client.job(job).status()
    _print_status(found, as_json)
    return 0


async def cancel(target: Target, job: str, reason: str | None, as_json: bool) -> int:
    """Asks for the end of a job and prints the state at that moment."""
    check_job_id(job)
    async with target.connect() as client:
        found = await client.job(job).cancel(reason)
    _print_status(found, as_json)
    return 0


async def fetch(
    target: Target, job: str, output: Path | None, index: int | None, timeout: float | None, as_json: bool
) -> int:
    """Waits for a job and saves its images, or the one at `index`; with `-` as output one goes to stdout."""
    check_job_id(job)
    if output == STDOUT and as_json:
        raise only_one("and not beside --json")
    if output is not None:
        check_folder(output)
    with _only_watched(job):
        async with target.connect() as client:
            handle = client.job(job)
            if index is not None:
                images = [await handle.image(index, timeout=timeout)]
            else:
                images = await handle.images(timeout=timeout)
    if output == STDOUT:
        if len(images) > 1:
            raise only_one(f"and job {job} has {len(images)}: choose one with --index")
        to_stdout(images[0])
        return 0
    paths = save_all(images, output or Path(f"{job}{images[0].extension}"))
    if as_json:
        print_json({"job": job, "images": [image_map(image, path) for image, path in zip(images, paths, strict=True)]})
    else:
        _print_paths(images, paths)
    return 0


async def watch(target: Target, job: str, timeout: float | None, as_json: bool, way: Way = Way.OFF) -> int:
    """Shows a job until it ends: a bar and its previews, lines, or one JSON object per event."""
    check_job_id(job)
    last = None
    with _only_watched(job), display(quiet=as_json, preview=way) as shown:
        async with (
            target.connect(shown.note) as client,
            client.job(job).events(previews=shown.shows_pictures, timeout=timeout) as events,
        ):
            async for event in events:
                shown.update(job, event)
                if as_json:
                    print_json(_event_map(event))
                if isinstance(event, StateChange):
                    last = event.status
    if last is not None and last.state is not JobState.SUCCEEDED:
        raise job_ended(last)
    return 0


@contextlib.contextmanager
def _only_watched(job: str) -> Iterator[None]:
    """Ctrl-C ends the waiting, not the job, and says so."""
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt(f"interrupted; job {job} goes on, pixwire cancel ends it") from None


async def ping(target: Target, count: int, as_json: bool) -> int:
    """Measures the round trip."""
    start = time.perf_counter()
    async with target.connect() as client:
        connected = time.perf_counter() - start
        times = [await client.ping() for _ in range(count)]
        server = client.server
    milliseconds = [round(seconds * 1000, 3) for seconds in times]
    if as_json:
        about = {"url": target.url, "agent": server.agent, "server_id": server.server_id, "epoch": server.epoch}
        print_json({**about, "connect_ms": round(connected * 1000, 3), "ping_ms": milliseconds})
    else:
        shown = ", ".join(f"{ms:g}" for ms in milliseconds)
        print(
            f"{target.url}: {printable(server.agent)}, connected in {connected * 1000:.1f} ms, round trips {shown} ms"
        )
    return 0


def _print_status(found: JobStatus, as_json: bool) -> None:
    if as_json:
        print_json(found.to_map())
        return
    lines = [f"{found.job}: {describe(StateChange(found.job, found.seq, found))}"]
    if found.state is JobState.RUNNING:
        lines[0] += f", step {found.step} of {found.steps}"
    if found.priority != NORMAL:
        lines.append(f"  priority {found.priority}")
    if found.tags:
        lines.append(f"  tags {printable(', '.join(found.tags))}")
    if found.deadline_ms is not None:
        lines.append(f"  must end within {seconds(found.deadline_ms)}")
    if found.attempt > 1:
        lines.append(f"  attempt {found.attempt}")
    if found.traceparent is not None:
        lines.append(f"  trace {printable(found.traceparent)}")
    for name, value in (found.params or {}).items():
        lines.append(f"  {name}: {printable(str(value))}")
    lines += [f"  {printable(one.name)}: {printable(one.media_type)}, {one.size:,} bytes" for one in found.attachments]
    for made in found.artifacts:
        size = f"{made.width}x{made.height} {made.media_type}, {made.size:,} bytes"
        lines.append(f"  image {made.artifact}: {size}, seed {made.seed}")
    if found.retain_ms is not None:
        lines.append(f"  its results are kept for {age(found.retain_ms)} more")
    print("\n".join(lines))


def _print_paths(images: list[Image], paths: list[Path]) -> None:
    for path, image in zip(paths, images, strict=True):
        print(f"{path}  {image.width}x{image.height} {image.media_type}, seed {image.seed}")


def _event_map(event: Event) -> dict[str, object]:
    if isinstance(event, StateChange):
        return {"event": "state", **event.status.to_map()}
    kind = type(event).__name__.lower()
    return {"event": kind, "job": event.job, "seq": event.seq, "step": event.step, "steps": event.steps}
