"""A job at the server, seen from asyncio."""

# ruff: noqa: ASYNC109 - every call takes `timeout`: the session keeps the deadlines, for every kind of shell

import asyncio
import weakref
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pixwire_protocol.status import JobStatus

from ..arguments import EventCallbacks
from ..core import requests
from ..core.calls import Call
from ..core.handle import Handle, check_succeeded, left_of
from ..core.lease import Lease
from ..events import DownloadProgress, Event, EventQueue, Heard, UploadProgress
from ..image import Image, Target
from .link import retrieve

if TYPE_CHECKING:
    from .several import AnyLink

T = TypeVar("T")


class AsyncJob(Handle["AnyLink"]):
    """A handle on one job; any number of them may exist for the same job.

    Every method raises RequestTimeout when `timeout` seconds passed, ConnectionLost when the connection broke and no
    other one came about, JobNotFound when the server does not know the job (JobLost: when it did once), and JobGone
    when the job is so old that its results are gone. None of that, and no cancelled await, touches the job.
    """

    async def status(self, *, timeout: float | None = 30.0) -> JobStatus:
        """Asks the server how the job is, with its parameters."""
        call = requests.status(self.id, self._known_at)
        status = await self._lease.link.perform(call, timeout)
        self._known_at = call.known_at
        return self._heard(status)

    async def cancel(self, reason: str | None = None, *, timeout: float | None = 30.0) -> JobStatus:
        """Asks the server to end the job, queued or running, and returns its state at that moment. `reason`: a few
        words for the record.

        That may still be "running": the final truth is the terminal state that `wait` or `events` tells; a job that
        was just finishing may succeed. Cancelling twice, or a job that has ended, is fine and changes nothing.
        """
        return self._heard(await self._perform(requests.cancel(self.id, reason, self._known_at), timeout))

    def events(self, *, previews: bool = False, timesteps: bool = False, timeout: float | None = None) -> "AsyncEvents":
        """Follows the job: `async for event in job.events():` ends after the terminal state.

        The first event is a StateChange with the present state. Then StateChange, Progress and, with `previews`,
        Preview. With `timesteps`, Progress and StateChange tell the timestep of each step that was done. Leaving the
        loop early ends the watching, not the job.
        """
        call = requests.events(self.id, previews=previews, timesteps=timesteps, known_at=self._known_at)
        return AsyncEvents(self._lease, call, timeout)

    async def wait(self, *, timeout: float | None = None) -> JobStatus:
        """Waits for the end of the job and returns its terminal status, whether it succeeded or not."""
        if self._ended is not None:
            return self._ended
        return self._heard(await self._perform(requests.watch(self.id, (), self._known_at), timeout))

    def __await__(self) -> Generator[Any, None, JobStatus]:
        """`await job` is `await job.wait()`."""
        return self.wait().__await__()

    async def image(self, index: int = 0, *, timeout: float | None = None) -> Image:
        """Waits for the end of the job and fetches one of its images.

        Raises JobFailed, JobCancelled or JobExpired when there is none; ArtifactNotFound when `index` is too large;
        JobGone when the server keeps the images no longer.
        """
        return await self._fetch(requests.fetch(self.id, index, self._known_at), timeout)

    async def images(self, *, timeout: float | None = None) -> list[Image]:
        """Waits for the end of the job and takes all its images, in one round trip. Raises as `image` does."""
        return await self._perform(requests.deliver(self.id, self._known_at), timeout)

    async def fetch_to(
        self,
        target: Target,
        index: int = 0,
        *,
        on_bytes: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
    ) -> Image:
        """Waits for the end of the job, fetches one of its images and writes it to `target`: a path (as `Image.save`
        does: the old file or the whole new one) or a file that was opened to write bytes.

        on_bytes gets the bytes that came so far, and in all; it ends with all of them, also after a broken connection,
        when the rest is fetched. Raises as `image` does, and OSError.
        """
        call = requests.fetch(self.id, index, self._known_at, tells_bytes=on_bytes is not None)
        image = await self._fetch(call, timeout, EventCallbacks(on_bytes=on_bytes))
        await asyncio.to_thread(image.write_to, target)
        return image

    async def _fetch(self, call: Call[Image], timeout: float | None, listener: EventCallbacks | None = None) -> Image:
        loop = asyncio.get_running_loop()
        start = loop.time()
        status = await self.wait(timeout=timeout)
        check_succeeded(status)
        rest = left_of(timeout, loop.time() - start)
        return await self._perform(call, rest, listener)

    async def _perform(self, call: Call[T], timeout: float | None, listener: EventCallbacks | None = None) -> T:
        outcome = await self._lease.link.perform(call, timeout, listener)
        self._known_at = call.known_at
        return outcome


class AsyncEvents:
    """The events of one job, as an async iterator; `aclose` (or `async with`) ends the watching before the job ends.

    A slow reader gets every state change but only the latest progress and preview. Cancelling a waiting `anext` loses
    nothing: the next one goes on. Once nobody holds the iterator any more, the next event that arrives ends the
    watching by itself.

    Raises, from the iteration: ConnectionLost, RequestTimeout, RequestFailed. SPEC 9.
    """

    def __init__(self, lease: "Lease[AnyLink]", call: Call[JobStatus], timeout: float | None) -> None:
        self._lease = lease
        self._call = call
        self._timeout = timeout
        self._outcome: asyncio.Future[JobStatus] | None = None
        self._queue = EventQueue()
        self._news = asyncio.Event()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._over:
                raise StopAsyncIteration
            if self._outcome is None:
                self._outcome = self._start()
            if self._outcome.done():
                self._over = True
                self._outcome.result()
            else:
                self._news.clear()
                await self._news.wait()
        return self._queue.pop()

    def _start(self) -> "asyncio.Future[JobStatus]":
        myself = weakref.ref(self)

        def listen(event: Heard) -> bool:
            events = myself()
            if events is not None and not isinstance(event, UploadProgress | DownloadProgress):
                events._queue.push(event)
                events._news.set()
            return events is not None

        def finish(outcome: "asyncio.Future[JobStatus]") -> None:
            retrieve(outcome)
            events = myself()
            if events is not None:
                events._news.set()

        outcome = self._lease.link.start(self._call, self._timeout, listen)
        outcome.add_done_callback(finish)
        return outcome

    async def aclose(self) -> None:
        """Ends the watching; the iteration ends. What was not read is dropped. The job goes on."""
        self._over = True
        self._queue = EventQueue()
        self._lease.link.release(self._call)
        self._news.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
