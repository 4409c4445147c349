"""What a door needs of Jobs, and nothing more. The real one is `pixwire_server.jobs.Jobs`."""

from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from pixwire_protocol.status import JobStatus
from pixwire_server.jobs import JobEvent, OpenArtifact, Submitted, Watch


class JobsPort(Protocol):
    """Called in the event loop; nothing here blocks.

    A future that is done on return had its answer in memory. Refusals are `RequestError`, set on the future; `submit`
    may also raise them at once.
    """

    def submit(self, principal: str, job_id: str, kind: str, params_tail: bytes) -> "Future[Submitted]":
        """Accept a job; resolves when it is on disk."""
        ...

    def status(self, principal: str, job_id: str, with_params: bool = True) -> "Future[JobStatus]":
        """The job now."""
        ...

    def watch(
        self, principal: str, job_id: str, listener: Callable[[JobEvent], None], want: frozenset[str]
    ) -> "Future[Watch]":
        """Follow the job: a snapshot, then every later event to `listener` until the watch is closed."""
        ...

    def cancel(self, principal: str, job_id: str, reason: str) -> "Future[JobStatus]":
        """Ask the job to stop; resolves with its state once the wish is on disk."""
        ...

    def artifact(self, principal: str, job_id: str, index: int, etag: str | None = None) -> "Future[OpenArtifact]":
        """Open one image of a finished job; the caller closes it."""
        ...
