"""A job at the server, seen from a thread."""

from collections.abc import Callable
from time import monotonic as now
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from pixwire_protocol.status import JobStatus

from ..arguments import EventCallbacks
from ..core import requests
from ..core.calls import Call
from ..core.handle import Handle, check_succeeded, left_of
from ..core.lease import Lease
from ..events import DownloadProgress, Event, UploadProgress
from ..image import Image, Target
from .mailbox import Mailbox

if TYPE_CHECKING:
    from .several import AnyLink

T = TypeVar("T")


class Job(Handle["AnyLink"]):
    """A handle on one job; any number of them may exist for the same job, in any threads.

    Every method raises RequestTimeout when `timeout` seconds passed, ConnectionLost when the connection broke and no
    other one came about, JobNotFound when the server does not know the job (JobLost: when it did once), and JobGone
    when the job is so old that its results are gone. None of that, and no Ctrl-C, touches the job.
    """

    def status(self, *, timeout: float | None = 30.0) -> JobStatus:
        """Asks the server how the job is, with its parameters."""
        return self._heard(self._perform(requests.status(self.id, self._known_at), timeout))

    def cancel(self, reason: str | None = None, *, timeout: float | None = 30.0) -> JobStatus:
        """Asks the server to end the job, queued or running, and returns its state at that moment. `reason`: a few
        words for the record.

        That may still be "running": the final truth is the terminal state that `wait` or `events` tells; a job that
        was just finishing may succeed. Cancelling twice, or a job that has ended, is fine and changes nothing.
        """
        return self._heard(self._perform(requests.cancel(self.id, reason, self._known_at), timeout))

    def events(self, *, previews: bool = False, timesteps: bool = False, timeout: float | None = None) -> "Events":
        """Follows the job: `for event in job.events():` ends after the terminal state.

        The first event is a StateChange with the present state. Then StateChange, Progress and, with `previews`,
        Preview. With `timesteps`, Progress and StateChange tell the timestep of each step that was done. Leaving the
        loop early ends the watching, not the job.
        """
        call = requests.events(self.id, previews=previews, timesteps=timesteps, known_at=self._known_at)
        return Events(self._lease, call, timeout)

    def wait(self, *, timeout: float | None = None) -> JobStatus:
        """Waits for the end of the job and returns its terminal status, whether it succeeded or not."""
        if self._ended is not None:
            return self._ended
        return self._heard(self._perform(requests.watch(self.id, (), self._known_at), timeout))

    def image(self, index: int = 0, *, timeout: float | None = None) -> Image:
        """Waits for the end of the job and fetches one of its images.

        Raises JobFailed, JobCancelled or JobExpired when there is none; ArtifactNotFound when `index` is too large;
        JobGone when the server keeps the images no longer.
        """
        return self._fetch(requests.fetch(self.id, index, self._known_at), timeout)

    def images(self, *, timeout: float | None = None) -> list[Image]:
        """Waits for the end of the job and takes all its images, in one round trip. Raises as `image` does."""
        return self._perform(requests.deliver(self.id, self._known_at), timeout)

    def fetch_to(
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
        image = self._fetch(call, timeout, EventCallbacks(on_bytes=on_bytes))
        image.write_to(target)
        return image

    def _fetch(self, call: Call[Image], timeout: float | None, listener: EventCallbacks | None = None) -> Image:
        start = now()
        status = self.wait(timeout=timeout)
        check_succeeded(status)
        return self._perform(call, left_of(timeout, now() - start), listener)

    def _perform(self, call: Call[T], timeout: float | None, listener: EventCallbacks | None = None) -> T:
        outcome = self._lease.link.perform(call, timeout, listener)
        self._known_at = call.known_at
        return outcome


class Events:
    """The events of one job, as an iterator; `close` (or `with`) ends the watching before the job ends.

    A slow reader gets every state change but only the latest progress and preview. Ctrl-C while it waits loses nothing:
    the next `next` goes on. Once nobody holds the iterator any more the watching ends by itself. `close` may be called
    from another thread, and ends the waiting there.

    Raises, from the iteration: ConnectionLost (also after a fork: the watching belongs to the other process),
    RequestTimeout, RequestFailed. SPEC 9.
    """

    def __init__(self, lease: "Lease[AnyLink]", call: Call[JobStatus], timeout: float | None) -> None:
        self._lease = lease
        self._call = call
        self._timeout = timeout
        self._box: Mailbox[JobStatus] = Mailbox(listening=True)
        self._started = False
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._over:
            raise StopIteration
        if not self._started:
            self._start()
        event = self._box.next()
        while isinstance(event, UploadProgress | DownloadProgress):
            event = self._box.next()
        if event is not None and not self._over:
            return event
        self._over = True
        _ = self._box.outcome
        raise StopIteration

    def _start(self) -> None:
        self._started = True  # before it is begun: who closes in another thread meanwhile has something to release
        try:
            self._lease.link.start(self._call, self._timeout, self._box)
        except BaseException:
            self._started = False
            raise
        if self._over:  # closed before there was anything to release
            self._lease.link.release(self._call, self._box)

    def close(self) -> None:
        """Ends the watching; the iteration ends. What was not read is dropped. The job goes on."""
        self._over = True
        if self._started:
            self._lease.link.release(self._call, self._box)
        self._box.shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._started and not self._over:
            self._lease.link.release(self._call, self._box)
