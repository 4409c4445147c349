"""Following a job while somebody waits: what Jobs tells, kept until it is taken, until job, client or server end."""

import asyncio
from asyncio import Future
from collections import deque
from enum import Enum
from typing import TypeVar

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobStatus
from pixwire_server.doors.http.sse import number_of
from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import JobEvent, RequestError, StateChanged

T = TypeVar("T")


class Why(Enum):
    """Why there is nobody to wait for the job any more."""

    GONE = "the client has gone"
    STOPPING = "the server is stopping"


class EndedError(Exception):
    """The following is over before the job."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


class Follow:
    """What was told and not taken yet: every state, of progress and previews the latest. So it stays small however slow
    the client is.
    """

    def __init__(self) -> None:
        self._states: deque[JobEvent] = deque()
        self._latest: dict[type[JobEvent], JobEvent] = {}
        self._news = asyncio.Event()
        self._ended: Why | None = None

    def tell(self, told: JobEvent) -> None:
        """The listener for `Jobs.watch`."""
        if isinstance(told, StateChanged):
            self._states.append(told)
        else:
            self._latest[type(told)] = told
        self._news.set()

    def nudge(self) -> None:
        """Somebody else has news: `take` returns."""
        self._news.set()

    def end(self, why: Why) -> None:
        """Nobody waits any more."""
        self._ended = self._ended or why
        self._news.set()

    async def take(self, within_s: float | None = None) -> list[JobEvent]:
        """What was told, in its order; nothing when nothing was within `within_s` seconds. Raises EndedError."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return []
        if self._ended is not None:
            raise EndedError(self._ended)
        self._news.clear()
        told = sorted((*self._states, *self._latest.values()), key=number_of)
        self._states.clear()
        self._latest.clear()
        return told


async def ask(future: "Future[T]") -> T:
    """The answer of Jobs. Raises RequestError, also when the journal was closed under it."""
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RequestError(ErrorCode.DRAINING, "the server is stopping; ask again later") from None


def unheard(future: "Future[T]") -> None:
    """Nobody is left to hear how it ends, nor that it fails."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())


async def to_the_end(jobs: JobsPort, principal: str, job: str, follow: Follow) -> JobStatus:
    """The terminal state of a job. Raises EndedError, and RequestError as `Jobs.watch`."""
    watch = await ask(jobs.watch(principal, job, follow.tell, frozenset()))
    try:
        status = watch.snapshot
        while not status.state.terminal:
            for told in await follow.take():
                if isinstance(told, StateChanged):
                    status = told.status
        return status
    finally:
        watch.close()
