"""Whether new jobs are taken now, and what is told to those who are turned away."""

from collections.abc import Callable, Collection

from pixwire_protocol.registry import ErrorCode

from .errors import RequestError
from .pace import Pace
from .table import JobQueue, Key

DRAINING_RETRY_MS = 2_000
"""When to look for the successor of a server that is shutting down."""


class Gate:
    """Lives in the event loop. `pending`: the new jobs on their way into the journal."""

    def __init__(self, queue: JobQueue, pending: Callable[[], Collection[Key]], principal_limit: int | None) -> None:
        self.draining = False
        """The server takes no more jobs, for good."""
        self.paused: Callable[[], RequestError | None] = lambda: None
        """What the operator says."""
        self.pace = Pace()
        self._queue = queue
        self._pending = pending
        self._principal_limit = principal_limit

    def refusal(self, principal: str, begun: bool) -> RequestError | None:
        """Why no new job of this principal is taken, if so. `begun`: its upload was let in before."""
        if begun:
            return self._full(principal)
        if self.draining:
            message = "the server is shutting down; submit the job again, with the same id, when it is back"
            return RequestError(ErrorCode.DRAINING, message, retry_after_ms=DRAINING_RETRY_MS)
        return self.paused() or self._full(principal)

    def _full(self, principal: str) -> RequestError | None:
        pending, limit = self._pending(), self._principal_limit
        own_pending = 0
        if limit is not None and self._queue.of(principal) + len(pending) >= limit:
            own_pending = sum(owner == principal for owner, _ in pending)
        refusal = self._queue.refusal(principal, len(pending), own_pending)
        if refusal is None:
            return None
        allowed, retry_ms = {"allowed": refusal.allowed}, self.pace.retry_after_ms(refusal.retry_after)
        if refusal.own:
            message = f"{refusal.allowed} of your jobs wait, which is all you may have; submit the job again later"
            return RequestError(ErrorCode.QUOTA_EXCEEDED, message, allowed, retry_ms)
        message = f"the queue is full ({refusal.allowed} jobs wait); submit the job again later"
        return RequestError(ErrorCode.QUEUE_FULL, message, allowed, retry_ms)
