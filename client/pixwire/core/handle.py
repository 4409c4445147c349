"""A handle on a job, as far as both shells have the same: what was heard of the job, and what a call of it needs."""

from typing import Generic, TypeVar

from pixwire_protocol.status import JobState, JobStatus

from ..errors import job_ended
from .calls import ServerName
from .lease import Closable, Lease

L = TypeVar("L", bound=Closable)


class Handle(Generic[L]):
    """What `AsyncJob` and `Job` remember. Pure."""

    def __init__(
        self, lease: Lease[L], job_id: str, status: JobStatus | None = None, known_at: ServerName | None = None
    ) -> None:
        self._lease = lease
        self._known_at = known_at
        self.id = job_id
        self.last_status = status
        """What this handle heard last; None before the first answer. `status()` asks the server."""

    @property
    def _ended(self) -> JobStatus | None:
        """The terminal status, when it is known: nobody need be asked for it again."""
        status = self.last_status
        return status if status is not None and status.state.terminal else None

    def _heard(self, status: JobStatus) -> JobStatus:
        """Remembers the newest status. Returns what it was given."""
        if self.last_status is None or status.seq >= self.last_status.seq:
            self.last_status = status
        return status

    def __repr__(self) -> str:
        state = "" if self.last_status is None else f" {self.last_status.state.value}"
        return f"<pixwire.{type(self).__name__} {self.id}{state}>"


def check_succeeded(status: JobStatus) -> None:
    """Raises JobFailed, JobCancelled or JobExpired for a job that has ended without images."""
    if status.state is not JobState.SUCCEEDED:
        raise job_ended(status)


def left_of(timeout: float | None, passed: float) -> float | None:
    """What is left of a time after so many seconds; None: any time."""
    return None if timeout is None else max(0.0, timeout - passed)
