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
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from pixwire_protocol.messages import Welcome
from pixwire_protocol.status import JobSummary, ModelInfo

from ..arguments import EventCallbacks, GenerateArguments, SubmitArguments, check_job_id, spelled_out
from ..core import requests
from ..core.drafts import draft
from ..core.lease import Lease
from ..core.listing import Listing, Source
from ..core.many import CONCURRENCY, Outcome
from ..errors import PixwireError
from ..events import Preview, Progress, StateChange
from ..image import Image
from .job import AsyncJob
from .many import Batch
from .reading import read

if TYPE_CHECKING:
    from .several import AnyLink


class AsyncClient:
    """A client of one or several servers. Made by `pixwire.connect`; use it as an async context manager, or `close` it.

    When the connection breaks the client makes another one by itself. Calls under way go on there, as if nothing had
    happened: jobs live in the server. With `connect(on_disconnect="fail")` they raise ConnectionLost instead.

    Every call takes `timeout`, in seconds, None for no limit, and raises RequestTimeout when it has passed: that and a
    cancelled await end the waiting, and nothing else.
    """

    def __init__(self, link: "AnyLink") -> None:
        self._link = link
        self._lease = Lease(link)

    @overload
    async def generate(self, prompt: str, *, count: None = None, **arguments: Unpack[GenerateArguments]) -> Image: ...

    @overload
    async def generate(self, prompt: str, *, count: int, **arguments: Unpack[GenerateArguments]) -> list[Image]: ...

    @spelled_out(GenerateArguments)
    async def generate(
        self,
        prompt: str,
        *,
        count: int | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
        **arguments: Unpack[SubmitArguments],
    ) -> Image | list[Image]:
        """Makes images, in one round trip: one `Image`, or, when `count` is given (even 1), a list of that many.

        Image i of a list is what `seed + i` gives alone. Options, all of them the server's choice when left out:
        negative_prompt, width, height (pixels), steps, guidance_scale, seed, model, media_type, strength (of the
        change to `image`, above 0 to 1), control_scale, ip_scale (how closely to follow `style`, 0 to 2), adapters
        (LoRAs that the server has: names, or pairs of name and weight).

        `image` is painted over; with `mask`, only where that is white. `control` guides the composition, `style` the
        look. Each is a path, bytes, a binary file, a `pixwire.Image`, a PIL image or a numpy array.

        How the job is treated: `priority` ("low", "normal", "high"), `deadline` (seconds from its acceptance to its
        end), `queue_ttl` (seconds till it starts), `run_timeout` (seconds for each run) and `tags` (up to eight
        labels, to list it by). A job that misses one of these ends as JobExpired.

        on_state, on_progress and on_preview get each `StateChange`, `Progress` and `Preview`, on_upload the bytes of
        the images sent so far, and in all. They are called in the loop and must not block; what one raises comes out
        of this call. `job_id` makes the call repeatable: the same id and parameters attach to the job that exists.
        `traceparent`, `tracestate`: the trace the job belongs to (W3C Trace Context; see `pixwire.arguments.Trace` for
        OpenTelemetry).

        Cancellation and timeout (seconds) end the waiting, not the job: it goes on at the server under its id (see
        `AsyncJob.cancel`). While images are being sent there is no job yet, and nothing is left of it.

        Raises:
            InvalidArgument: mostly before anything is sent; names field, value and what is allowed.
            JobFailed, JobCancelled, JobExpired: the job ended without an image. JobLost: the server forgot it.
            RequestFailed: the server refused, e.g. QueueFull with `retry_after_ms`, or DeadlineExceeded.
            RequestTimeout, ConnectionLost: with the id of the job, which may be going on.
        """
        since = asyncio.get_running_loop().time()
        callbacks = EventCallbacks(on_progress, on_preview, on_state, on_upload)
        order = await read(draft(prompt, count, **arguments), timeout)
        made = await self._link.perform(requests.generate(order, callbacks.want), timeout, callbacks, since)
        return made[0] if count is None else made

    @spelled_out(SubmitArguments)
    async def generate_many(
        self,
        prompts: Iterable[str | Mapping[str, Any]],
        *,
        concurrency: int = CONCURRENCY,
        timeout: float | None = None,
        **arguments: Unpack[SubmitArguments],
    ) -> AsyncGenerator[Outcome, None]:
        """Makes many images, at most `concurrency` at a time, and yields an `Outcome` for each as soon as it is known:
        `async for outcome in client.generate_many(prompts, steps=20): outcome.image.save(f"{outcome.index}.png")`.

        Args:
            prompts: prompts, or mappings with arguments of `generate` for one request each; taken as they are needed,
                so it may be endless.
            concurrency: requests under way at once. The server shares its passes among them.
            timeout: seconds for each request, the waits for a full server included.
            arguments: of `generate`, for all of them.

        What fails is an Outcome with an `error`, and the others go on. When the server is full, a request is made again
        as soon as the server wants to see it. Leaving the loop early ends the waiting; jobs that were accepted go on.

        Raises InvalidArgument for `concurrency`, TypeError for arguments that do not exist.
        """
        batch = Batch(self._link, prompts, concurrency, timeout, arguments)
        async with contextlib.aclosing(batch.run()) as outcomes:
            async for outcome in outcomes:
                yield outcome

    @spelled_out(SubmitArguments)
    async def submit(
        self,
        prompt: str,
        *,
        count: int | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        timeout: float | None = 30.0,
        **arguments: Unpack[SubmitArguments],
    ) -> AsyncJob:
        """Hands a job to the server and returns once it is on the server's disk: from then on it survives a crash
        there and here.

        Parameters as for `generate`; the time to send the images counts. Cancelling or timing out leaves it open
        whether the job was accepted; submitting again under the same `job_id` is safe and attaches to it.

        Raises: InvalidArgument, JobConflict (the id belongs to other parameters), DeadlineExceeded, CapacityError,
        RequestTimeout, ConnectionLost.
        """
        since = asyncio.get_running_loop().time()
        order = await read(draft(prompt, count, **arguments), timeout)
        call = requests.submit(order)
        listener = None if on_upload is None else EventCallbacks(on_upload=on_upload)
        status = await self._link.perform(call, timeout, listener, since)
        return AsyncJob(self._lease, order.job, status, call.known_at)

    def job(self, job_id: str) -> AsyncJob:
        """A handle on a job that was submitted earlier, here or elsewhere. Asks nothing: an unknown id shows at the
        first use.

        Raises InvalidArgument when this cannot be a job id.
        """
        return AsyncJob(self._lease, check_job_id(job_id))

    async def models(self, *, timeout: float | None = 30.0) -> tuple[ModelInfo, ...]:
        """The models that the server has, with what each can do; `default` marks the one that is used unasked."""
        return await self._link.perform(requests.models(), timeout)

    async def jobs(
        self,
        *,
        states: Iterable[str] = (),
        tag: str | None = None,
        limit: int | None = None,
        timeout: float | None = 30.0,
    ) -> AsyncIterator[JobSummary]:
        """The caller's jobs, newest first: `async for job in client.jobs(states=["running"], limit=10):`.

        Args:
            states: only jobs in one of these; none: all.
            tag: only jobs that were submitted with this among their `tags`.
            limit: at most so many in all; None: every one. They are asked for in pages while the iteration goes on,
                so that a job which ends meanwhile may be missed or told with its old state.
            timeout: seconds for each page.
        """
        listing = Listing(self._link.homes, limit, tuple(states), tag)
        while (found := listing.next()) is not None:
            if isinstance(found, Source):
                listing.feed(found, await self._link.perform(listing.request(found), timeout))
            else:
                yield found

    async def admin(self, action: str, *, timeout: float | None = 30.0, **fields: Any) -> dict[str, Any]:
        """Looks into the server or changes what it does, and returns the body of its answer (SPEC 8.19).

        Actions: overview (limit), pause (reason), resume, drain, cancel (job, principal), requeue (job, principal),
        load, unload, remove_model (model), add_model (model, path). Raises Forbidden without the role "admin" (see
        `roles`), InvalidArgument for an action or a field that does not exist.
        """
        return await self._link.perform(requests.admin(action, fields, len(self._link.homes)), timeout)

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
    def roles(self) -> tuple[str, ...]:
        """What the server lets us do beside our own jobs: "admin" or nothing."""
        return self._link.session.roles

    @property
    def url(self) -> str:
        """The URL this client was connected with; several are joined by commas."""
        return self._link.url

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment; if not, the client is making one, unless it is closed."""
        return self._link.connected

    @property
    def closed(self) -> bool:
        """Whether the client is over for good: closed, or refused by the server."""
        return self._link.closed

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
