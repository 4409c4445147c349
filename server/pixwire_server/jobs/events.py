"""What watchers of a job are told, and the handles the job layer gives out."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pixwire_protocol.record import record
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.source import Source
from pixwire_protocol.status import ArtifactInfo, JobStatus, JobSummary
from pixwire_server.store import Blob, StoreError

from .errors import RequestError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The job is in another state. Never left out; the terminal one is the last event."""

    status: JobStatus


@dataclass(frozen=True, slots=True)
class Progressed:
    """`step` of `steps` are done. Told to those who want "progress"; a later one replaces it."""

    job: str
    seq: int
    step: int
    steps: int
    attempt: int


@dataclass(frozen=True, slots=True)
class PreviewShown:
    """A small picture of the image as predicted at `step`. Told to those who want "preview"; a later one replaces
    it.
    """

    job: str
    seq: int
    step: int
    steps: int
    media_type: str
    width: int
    height: int
    image: bytes


JobEvent = StateChanged | Progressed | PreviewShown
Listener = Callable[[JobEvent], None]

PROGRESS = "progress"
PREVIEW = "preview"


@record
class Submitted:
    """A submit is on disk. `duplicate`: it was there before, and this one attached to it."""

    status: JobStatus
    duplicate: bool


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the jobs of a principal, newest first. `next`, if there are more, asks for those that follow."""

    jobs: tuple[JobSummary, ...]
    next: str | None = None


class Watch:
    """Somebody follows a job. The listener gets every event with a `seq` above `snapshot.seq`, in the event loop, until
    the job's terminal event or `close`.

    It holds events back until `release`: whoever asked for it must have seen the snapshot first.
    """

    __slots__ = ("_closing", "_held", "_listener", "snapshot", "timesteps", "want")

    def __init__(
        self,
        snapshot: JobStatus,
        listener: Listener,
        want: frozenset[str],
        closing: "Callable[[Watch], None]",
        timesteps: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        self.snapshot = snapshot
        self.timesteps = timesteps
        """Those of the steps done in this attempt, as far as they are known; a job that has ended has none."""
        self.want = want
        self._listener = listener
        self._held: list[JobEvent] | None = []
        self._closing: Callable[[Watch], None] | None = closing

    def close(self) -> None:
        """Stop following. May be called again, and from within the listener."""
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing(self)

    def release(self) -> None:
        """Tell what was held back, and from now on at once; for the job layer."""
        held, self._held = self._held or (), None
        for event in held:
            self.tell(event)

    def tell(self, event: JobEvent) -> None:
        """Pass an event to the listener; for the job layer. A listener that fails is logged and harms nobody else."""
        if self._held is not None:
            self._held.append(event)
        elif self._closing is not None:
            try:
                self._listener(event)
            except Exception:
                _log.exception("a watcher failed; the job goes on")


class OpenArtifact:
    """One image, readable until `close`; parts of it that are still in use then stay readable."""

    __slots__ = ("_blob", "info")

    def __init__(self, info: ArtifactInfo, blob: Blob) -> None:
        self.info = info
        self._blob: Blob | None = blob

    def part(self, start: int, stop: int) -> Source:
        """The bytes from `start` up to, not including, `stop`, on their way out."""
        return self._open.part(start, stop)

    def read(self) -> bytes:
        """All bytes. Blocks. Raises RequestError when the file has lost some."""
        try:
            return self._open.read(0, self.info.size)
        except StoreError as error:
            raise damaged(self.info) from error

    def close(self) -> None:
        """Give the file back. May be called again."""
        self._blob = None

    @property
    def _open(self) -> Blob:
        if self._blob is None:
            raise ValueError(f"the image {self.info.etag} was closed")
        return self._blob


def damaged(info: ArtifactInfo) -> RequestError:
    """The file is not what was stored. SPEC 8.13."""
    return RequestError(
        ErrorCode.ARTIFACT_NOT_FOUND,
        f"the file of artifact {info.artifact} is missing or damaged on the server's disk",
        {"field": "artifact", "value": info.artifact},
    )
