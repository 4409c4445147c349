"""What a door needs of Jobs, and nothing more. The real one is `pixwire_server.jobs.Jobs`."""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.status import JobStatus, ModelInfo
from pixwire_server.jobs import AdminCommand, JobEvent, JobPage, OpenArtifact, Submitted, Terms, Trace, Upload, Watch


class AdminPort(Protocol):
    """What operators ask of the server. The door has checked that they are some."""

    def perform(self, command: AdminCommand, by: str) -> "Future[Mapping[str, Any]]":
        """Do it, for the principal `by`; the body of the answer. Refusals are RequestError, raised or on the future."""
        ...


class JobsPort(Protocol):
    """Called in the event loop; nothing here blocks.

    A future that is done on return had its answer in memory. Refusals are `RequestError`, set on the future; `submit`
    and `begin_upload` may also raise them at once.
    """

    @property
    def admin(self) -> "AdminPort":
        """For the operators."""
        ...

    def submit(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> "Future[Submitted]":
        """Accept a job; resolves when it is on disk."""
        ...

    def begin_upload(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        attachments: tuple[Attachment, ...],
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> "Future[Submitted | Upload]":
        """Accept a job whose attachments follow; Submitted when no more bytes are needed."""
        ...

    def list_jobs(
        self, principal: str, limit: int, after: str | None, states: Sequence[str], tag: str | None = None
    ) -> "Future[JobPage]":
        """A page of the principal's jobs, the newest first."""
        ...

    def models(self) -> tuple[ModelInfo, ...]:
        """What can be run here."""
        ...

    def status(self, principal: str, job_id: str, with_params: bool = True) -> "Future[JobStatus]":
        """The job now."""
        ...

    def status_body(self, principal: str, job_id: str) -> "bytes | Future[bytes]":
        """The same, as the packed map of a RESULT: at once when it is in memory. No future then: this is asked most."""
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
