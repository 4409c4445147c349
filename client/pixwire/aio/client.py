"""`import pixwire` for asyncio: connect, ask for images, follow and cancel jobs.

    async with pixwire.connect("pixwire://localhost") as client:
        image = await client.generate("a red circle on a blue background", seed=7)
        image.save("circle.png")
        again = await client.generate("a red circle on a green background", image=image, strength=0.6)

Everything may be called concurrently from the tasks of the loop that the client was connected in; any number of calls
share the one connection. Cancelling an `await` never cancels a job and never harms the connection; `job.cancel()` is
what ends a job. SPEC 7, 9.
"""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Self, Unpack, overload

from pixwire_protocol.messages import Welcome
from pixwire_protocol.status import JobSummary, ModelInfo

from .. import sources
from ..arguments import (
    EventCallbacks,
    GenerateArguments,
    GenerateOptions,
    Trace,
    check_job_id,
    kind_of,
    new_job_id,
    pack_params,
)
from ..core import requests
from ..core.uploads import Upload
from ..errors import PixwireError, RequestTimeout
from ..events import Preview, Progress, StateChange
from ..image import Image
from ..sources import ImageSource
from ..url import Endpoint
from .job import AsyncJob
from .link import Link

PAGE = 100  # jobs that one request for the list asks for


class AsyncClient:
    """A client of one server. Made by `pixwire.connect`; use it as an async context manager, or `close` it.

    When the connection breaks the client makes another one by itself. Calls under way go on there, as if nothing had
    happened: jobs live in the server. With `connect(on_disconnect="fail")` they raise ConnectionLost instead.
    """

    def __init__(self, endpoint: Endpoint, link: Link) -> None:
        self._endpoint = endpoint
        self._link = link

    @overload
    async def generate(self, prompt: str, *, count: None = None, **arguments: Unpack[GenerateArguments]) -> Image: ...

    @overload
    async def generate(self, prompt: str, *, count: int, **arguments: Unpack[GenerateArguments]) -> list[Image]: ...

    async def generate(
        self,
        prompt: str,
        *,
        count: int | None = None,
        image: ImageSource | None = None,
        mask: ImageSource | None = None,
        control: ImageSource | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Image | list[Image]:
        """Makes images, in one round trip: one `Image`, or, when `count` is given (even 1), a list of that many.

        Image i of a list is what `seed + i` gives alone. Options, all of them the server's choice when left out:
        negative_prompt, width, height (pixels), steps, guidance_scale, seed, model, media_type, strength (of the
        change to `image`, above 0 to 1), control_scale.

        `image` is painted over; with `mask`, only where that is white. `control` guides the composition. Each is a
        path, bytes, a binary file, a `pixwire.Image`, a PIL image or a numpy array.

        The callbacks are called in the loop and must not block; what one raises comes out of this call. on_upload gets
        the bytes of the images sent so far, and in all. `job_id` makes the call repeatable: the same id and parameters
        attach to the job that exists. `traceparent`, `tracestate`: the trace the job belongs to (W3C Trace Context; see
        `pixwire.arguments.Trace` for OpenTelemetry).

        Cancellation and timeout (seconds) end the waiting, not the job: it goes on at the server under its id (see
        `AsyncJob.cancel`). While images are being sent there is no job yet, and nothing is left of it.

        Raises:
            InvalidArgument: mostly before anything is sent; names field, value and what is allowed.
            JobFailed, JobCancelled, JobExpired: the job ended without an image. JobLost: the server forgot it.
            RequestFailed: the server refused, e.g. QueueFull with `retry_after_ms`.
            RequestTimeout, ConnectionLost: with the id of the job, which may be going on.
        """
        since = asyncio.get_running_loop().time()
        callbacks = EventCallbacks(on_progress, on_preview, on_state, on_upload)
        images, trace = {"image": image, "mask": mask, "control": control}, Trace(traceparent, tracestate)
        order = await _order(timeout, job_id, trace, images, prompt, count, options)
        made = await self._link.perform(requests.generate(order, callbacks.want), timeout, callbacks, since)
        return made[0] if count is None else made

    async def submit(
        self,
        prompt: str,
        *,
        count: int | None = None,
        image: ImageSource | None = None,
        mask: ImageSource | None = None,
        control: ImageSource | None = None,
        job_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = 30.0,
        **options: Unpack[GenerateOptions],
    ) -> AsyncJob:
        """Hands a job to the server and returns once it is on the server's disk: from then on it survives a crash
        there and here.

        Parameters as for `generate`; the time to send the images counts. Cancelling or timing out leaves it open
        whether the job was accepted; submitting again under the same `job_id` is safe and attaches to it.

        Raises: InvalidArgument, JobConflict (the id belongs to other parameters), CapacityError, RequestTimeout,
        ConnectionLost.
        """
        since = asyncio.get_running_loop().time()
        images, trace = {"image": image, "mask": mask, "control": control}, Trace(traceparent, tracestate)
        order = await _order(timeout, job_id, trace, images, prompt, count, options)
        call = requests.submit(order)
        status = await self._link.perform(call, timeout, EventCallbacks(on_upload=on_upload), since)
        return AsyncJob(self._link, order.job, status, call.known_at)

    def job(self, job_id: str) -> AsyncJob:
        """A handle on a job that was submitted earlier, here or elsewhere. Asks nothing: an unknown id shows at the
        first use.

        Raises InvalidArgument when this cannot be a job id.
        """
        return AsyncJob(self._link, check_job_id(job_id))

    async def models(self, *, timeout: float | None = 30.0) -> tuple[ModelInfo, ...]:
        """The models that the server has, with what each can do; `default` marks the one that is used unasked."""
        return await self._link.perform(requests.models(), timeout)

    async def jobs(
        self, *, states: Iterable[str] = (), limit: int | None = None, timeout: float | None = 30.0
    ) -> AsyncIterator[JobSummary]:
        """The caller's jobs, newest first: `async for job in client.jobs(states=["running"], limit=10):`.

        Args:
            states: only jobs in one of these; none: all.
            limit: at most so many in all; None: every one. They are asked for in pages while the iteration goes on,
                so that a job which ends meanwhile may be missed or told with its old state.
            timeout: seconds for each page.
        """
        wanted, after = tuple(states), None
        left = limit
        while left is None or left > 0:
            page = await self._link.perform(requests.jobs(min(left or PAGE, PAGE), after, wanted), timeout)
            for summary in page.jobs[:left]:
                yield summary
            left = None if left is None else left - len(page.jobs)
            after = page.next
            if after is None:
                return

    async def ping(self, *, timeout: float | None = 10.0) -> float:
        """The round trip to the server's loop and back, in seconds.

        Raises RequestTimeout, ConnectionLost (a ping is about one connection: it does not survive it), and RateLimited
        for more pings than the server wants (7 in 50 s, mostly).
        """
        return await self._link.perform(requests.ping(), timeout)

    async def close(self) -> None:
        """Closes the connection; calls under way raise ConnectionLost, jobs go on. Closing twice is fine.

        Cancelling stops the wait for the last bytes to leave, not the closing.
        """
        await self._link.close()

    @property
    def server(self) -> Welcome:
        """What the server said about itself when it was connected last: agent, server_id, epoch, features, limits."""
        welcome = self._link.session.welcome
        if welcome is None:
            raise PixwireError("the client was never connected")
        return welcome

    @property
    def principal(self) -> str | None:
        """Whose jobs the client sees: the name that the server has for us. None when it does not say."""
        return self._link.session.principal

    @property
    def url(self) -> str:
        """The URL this client was connected with."""
        return self._endpoint.url

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment; if not, the client is making one, unless it is closed."""
        return self._link.session.connected

    @property
    def closed(self) -> bool:
        """Whether the client is over for good: closed, or refused by the server."""
        return self._link.session.over is not None

    @property
    def bytes_received(self) -> int:
        """All bytes that came from the server, over all connections."""
        return self._link.bytes_received

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = " closed" if self.closed else "" if self.connected else " not connected"
        return f"<pixwire.AsyncClient {self.url}{state}>"


async def _order(
    timeout: float | None,
    job_id: str | None,
    trace: Trace,
    images: dict[str, ImageSource | None],
    prompt: str,
    count: int | None,
    options: GenerateOptions,
) -> requests.JobOrder:
    """Checks everything, then reads the images: what is wrong with an argument is known before a file is opened."""
    names = tuple(name for name, source in images.items() if source is not None)
    kind = kind_of(image="image" in names, mask="mask" in names)
    packed = pack_params(kind, names, prompt, count, **options)
    job = new_job_id() if job_id is None else check_job_id(job_id)
    trace.check()
    if not names:
        return requests.JobOrder(job, kind, packed, trace=trace)
    if sources.is_quick(images):
        parts = sources.prepare(images)
    else:
        try:
            async with asyncio.timeout(timeout):
                parts = await asyncio.to_thread(sources.prepare, images)
        except TimeoutError:
            raise RequestTimeout("reading the images", timeout or 0.0) from None
    return requests.JobOrder(job, kind, packed, Upload(parts), trace)
