"""A stream that follows one job: snapshot, events, and (when asked for) the images at its end."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pixwire_protocol.errors import MessageTooLargeError
from pixwire_protocol.messages import Event, Message, Preview, Result
from pixwire_protocol.registry import LIMITS
from pixwire_protocol.status import JobState, JobStatus
from pixwire_server.doors.images import ImageSender, Part
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.replies import Replies
from pixwire_server.jobs import JobEvent, PreviewShown, Progressed, StateChanged, Watch

MAX_PREVIEW = LIMITS["preview_bytes"].default
TIMESTEPS = "timesteps"
LOSSY = frozenset({"progress", "preview", TIMESTEPS})
"""What `want` may name: two kinds of events that may be left out, and a field."""


@dataclass(frozen=True, slots=True)
class Follow:
    """What the client asked to be told: every state or only the last one, which lossy events, the images or not."""

    states: bool
    want: frozenset[str]
    deliver: bool


class Feed:
    """Answers with a RESULT (the job now), then forwards events until the job's end.

    The watch belongs to the stream: a RESET or a lost connection closes it and the job goes on.
    """

    def __init__(
        self, replies: Replies, jobs: JobsPort, principal: str, stream: int, job_id: str, follow: Follow
    ) -> None:
        self._replies = replies
        self._jobs = jobs
        self._principal = principal
        self._stream = stream
        self._job_id = job_id
        self._follow = follow
        self._first: dict[str, Any] = {}
        self._known_timesteps: Callable[[], Sequence[float]] | None = None

    def start(self, **first: Any) -> None:
        """Begin to watch; `first` is added to the head of the RESULT."""
        self._first = first
        future = self._jobs.watch(self._principal, self._job_id, self._on_event, self._follow.want)
        self._replies.when_done(self._stream, future, self._on_watch)

    def _on_watch(self, watch: Watch) -> None:
        self._replies.hold(self._stream, watch)
        if TIMESTEPS in self._follow.want:
            self._known_timesteps = watch.timesteps
        self._tell(watch.snapshot, Result(self._more(watch.snapshot.to_map() | self._first)))

    def _on_event(self, event: JobEvent) -> None:
        # Called by Jobs for many listeners in turn: a defect here must not reach the others.
        self._replies.guard(self._stream, _FORWARD[type(event)], self, event)

    def _on_state(self, event: StateChanged) -> None:
        if self._follow.states or event.status.state.terminal:
            self._tell(event.status, Event(self._more(event.status.to_map() | {"event": "state"})))

    def _on_progress(self, event: Progressed) -> None:
        body = {
            "job": event.job,
            "seq": event.seq,
            "event": "progress",
            "step": event.step,
            "steps": event.steps,
            "attempt": event.attempt,
        }
        self._replies.send(self._stream, Event(self._more(body)))

    def _more(self, body: dict[str, Any]) -> dict[str, Any]:
        """With the timesteps, for whom wants them: all or none, so that a dropped event takes nothing along."""
        if self._known_timesteps is not None:
            done, known = body["step"], self._known_timesteps()
            if 0 < done <= len(known):
                body["timesteps"] = list(known[:done])
        return body

    def _on_preview(self, event: PreviewShown) -> None:
        preview = Preview(
            job=event.job,
            seq=event.seq,
            step=event.step,
            steps=event.steps,
            media_type=event.media_type,
            width=event.width,
            height=event.height,
            tail=event.image,
        )
        if len(event.image) <= MAX_PREVIEW:
            with contextlib.suppress(MessageTooLargeError):  # lossy: a client with small frames does without
                self._replies.send(self._stream, preview)

    def _tell(self, status: JobStatus, message: Message) -> None:
        """Send a state; after a terminal one come the images or nothing."""
        if not status.state.terminal:
            self._replies.send(self._stream, message)
        elif self._follow.deliver and status.state is JobState.SUCCEEDED and status.artifacts:
            self._replies.send(self._stream, message)
            parts = [Part(artifact=artifact.artifact, etag=artifact.etag) for artifact in status.artifacts]
            ImageSender(self._replies, self._jobs, self._principal, self._stream, self._job_id, parts).start()
        else:
            self._replies.send(self._stream, message, end=True)


_FORWARD: dict[type, Callable[[Feed, Any], None]] = {
    StateChanged: Feed._on_state,
    Progressed: Feed._on_progress,
    PreviewShown: Feed._on_preview,
}
