"""A job in memory: its latest data, who watches it, and how far its run is. Lives in the event loop."""

import asyncio
from collections.abc import Callable, Sequence

from pixwire_protocol.status import JobStatus

from .events import PREVIEW, PROGRESS, JobEvent, PreviewShown, Progressed, StateChanged, Watch
from .model import Job
from .packed import Packed, pack, unpack

_WANTED: dict[type[JobEvent], str] = {Progressed: PROGRESS, PreviewShown: PREVIEW}


class Record:
    """What the server knows of one job beyond the journal."""

    __slots__ = (
        "_job",
        "_watches",
        "accepted_at",
        "due",
        "key",
        "let_go",
        "position",
        "run",
        "settling",
        "started_at",
        "timesteps",
    )

    def __init__(self, job: Job, accepted_at: float) -> None:
        self.key = job.key
        """Principal and id: the one pair that everybody who finds the job by it should keep."""
        self.position = job.position
        self._job: Job | Packed = job
        self.accepted_at = accepted_at
        """Monotonic seconds, as `started_at`."""
        self.started_at = accepted_at
        """When the latest attempt began."""
        self.due: float | None = None
        """When it ought to be finished, for its turn: set when it first waits, the same for all attempts."""
        self.run: int | None = None
        """Handle of the run in the engine, while there is one."""
        self.settling: asyncio.Future[JobStatus] | None = None
        """Set from the moment the job's end is known until it is on disk."""
        self.let_go: Callable[[], None] | None = None
        """Called once the job's end is on disk: its images are held in the store until then."""
        self.timesteps: list[float] | None = None
        """Of the steps done in this attempt, while it lasts."""
        self._watches: tuple[Watch, ...] = ()

    @property
    def job(self) -> Job:
        """Its latest data. Costs some microseconds while it is packed."""
        job = self._job
        return job if isinstance(job, Job) else unpack(job, *self.key)

    @job.setter
    def job(self, job: Job) -> None:
        self._job = job

    @property
    def held(self) -> object:
        """What its data are held in: another object as soon as they change."""
        return self._job

    def pack(self) -> None:
        """Hold the job in fewer bytes until it changes; only for one that waits."""
        if isinstance(self._job, Job):
            self._job = pack(self._job) or self._job

    @property
    def watched_for_previews(self) -> bool:
        return any(PREVIEW in watch.want for watch in self._watches)

    def note_timestep(self, step: int, timestep: float | None) -> None:
        """Step `step`, from 1, is done. One that is not known makes those after it unknown, too."""
        if step == 1:
            self.timesteps = []
        if timestep is not None and self.timesteps is not None and len(self.timesteps) == step - 1:
            self.timesteps.append(timestep)

    def known_timesteps(self) -> Sequence[float]:
        """Those of the present attempt, as far as they are known."""
        return self.timesteps or ()

    def add(self, watch: Watch) -> None:
        self._watches = (*self._watches, watch)

    def remove(self, watch: Watch) -> None:
        self._watches = tuple(other for other in self._watches if other is not watch)

    def emit(self, event: JobEvent) -> None:
        """Tell the watchers who want to know; the terminal state is the last thing they hear."""
        wanted = _WANTED.get(type(event))
        for watch in self._watches:
            if wanted is None or wanted in watch.want:
                watch.tell(event)
        if isinstance(event, StateChanged) and event.status.state.terminal:
            self._watches = ()
            self.timesteps = None
