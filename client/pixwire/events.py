"""What a job reports while it is on its way, and the queue that holds it for a slow reader. SPEC 9."""

from collections import deque

from pixwire_protocol.record import record
from pixwire_protocol.status import JobState, JobStatus

from .image import Image


@record
class StateChange:
    """The job is in a new state (the first event of a watch says in which state it found the job). SPEC 8.17, 9.1.

    Attributes:
        job: the job's id.
        seq: number of this state in the job's event sequence; a higher one is newer.
        status: the job as it is now, the terminal state with images or error.
    """

    job: str
    seq: int
    status: JobStatus

    @property
    def state(self) -> JobState:
        """The new state."""
        return self.status.state

    @property
    def step(self) -> int:
        """Denoising steps done."""
        return self.status.step

    @property
    def steps(self) -> int:
        """Denoising steps in all."""
        return self.status.steps

    @property
    def timesteps(self) -> tuple[float, ...]:
        """As those of `Progress`."""
        return self.status.timesteps


@record
class Progress:
    """`step` of `steps` denoising steps are done. Older ones that were not read yet are dropped: the latest counts.

    Attributes:
        job: the job's id.
        seq: number of the state that the job is in.
        step: denoising steps done.
        steps: denoising steps in all.
        attempt: counts from 1; after a crash of the engine the job starts again from its first step, with the next one.
        timesteps: what the denoiser was called with in each of these steps, the first step first. Only for a watcher
            who asked for them (`events(timesteps=True)`), and empty where the server does not know.
    """

    job: str
    seq: int
    step: int
    steps: int
    attempt: int = 1
    timesteps: tuple[float, ...] = ()

    @property
    def timestep(self) -> float | None:
        """That of the latest step, when it is known."""
        return self.timesteps[-1] if self.timesteps else None


@record
class Preview:
    """What the image looks like after `step` of `steps`: small, rough, latest wins. SPEC 8.18.

    Attributes:
        job: the job's id.
        seq: number of the state that the job is in.
        step: denoising steps done.
        steps: denoising steps in all.
        image: the preview, mostly a JPEG, with less pixels than the image will have.
    """

    job: str
    seq: int
    step: int
    steps: int
    image: Image


Event = StateChange | Progress | Preview


@record
class UploadProgress:
    """`sent` of the `total` bytes of a job's images have left; it begins again with 0 after a broken connection."""

    job: str
    sent: int
    total: int


@record
class DownloadProgress:
    """`received` of the `total` bytes of image `index` are here."""

    job: str
    index: int
    received: int
    total: int


Heard = Event | UploadProgress | DownloadProgress
"""What a call can report while it is on its way."""


class EventQueue:
    """Events that wait to be read.

    State changes are all kept (a job has a handful); of progress and of previews only the latest unread one, so a
    reader that never reads holds a bounded amount of memory and a slow one is never behind.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def push(self, event: Event) -> None:
        """Adds an event, in place of an unread one of the same lossy kind."""
        if not isinstance(event, StateChange):
            for old in self._events:
                if type(old) is type(event):
                    self._events.remove(old)
                    break
        self._events.append(event)

    def pop(self) -> Event:
        """Takes the oldest event. Raises IndexError when there is none."""
        return self._events.popleft()
