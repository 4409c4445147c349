"""A job in memory: its latest data, who watches it, and how far its run is. Lives in the event loop."""

import asyncio
from collections.abc import Callable

from pixwire_protocol.status import JobStatus

from .events import PREVIEW, PROGRESS, JobEvent, PreviewShown, Progressed, StateChanged, Watch
from .model import Job

_WANTED: dict[type[JobEvent], str] = {Progressed: PROGRESS, PreviewShown: PREVIEW}


class Record:
    """What the server knows of one job beyond the journal."""

    __slots__ = ("_watches", "accepted_at", "job", "let_go", "run", "settling", "started_at")

    def __init__(self, job: Job, accepted_at: float) -> None:
        self.job = job
        self.accepted_at = accepted_at
        """Monotonic seconds, as `started_at`."""
        self.started_at = accepted_at
        """When the latest attempt began."""
        self.run: int | None = None
        """Handle of the run in the engine, while there is one."""
        self.settling: asyncio.Future[JobStatus] | None = None
        """Set from the moment the job's end is known until it is on disk."""
        self.let_go: Callable[[], None] | None = None
        """Called once the job's end is on disk: its images are held in the store until then."""
        self._watches: list[Watch] = []

    @property
    def watched_for_previews(self) -> bool:
        return any(PREVIEW in watch.want for watch in self._watches)

    def add(self, watch: Watch) -> None:
        self._watches.append(watch)

    def remove(self, watch: Watch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    def emit(self, event: JobEvent) -> None:
        """Tell the watchers who want to know; the terminal state is the last thing they hear."""
        wanted = _WANTED.get(type(event))
        for watch in tuple(self._watches):
            if wanted is None or wanted in watch.want:
                watch.tell(event)
        if isinstance(event, StateChanged) and event.status.state.terminal:
            self._watches.clear()
