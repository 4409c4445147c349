"""One request under way: which frames may come next on its stream, and what they mean for the one who waits.

A `Call` is the client's half of one stream (SPEC 7): made by a function of `requests`, opened and fed by
`session.ClientSession`, awaited by a shell. It knows no socket, no clock and no other call.

The life of a call is the table `HANDLERS`; a frame that is not in it breaks the protocol:

    ANSWER --RESULT--> (EVENTS | ARTIFACT | BYTES | done)        the reply to the request
    EVENTS --EVENT, PREVIEW--> EVENTS | ARTIFACT | done          until the terminal state
    ARTIFACT --RESULT--> BYTES                                   the announcement of one image
    BYTES --DATA--> BYTES | ARTIFACT | done                      straight into its final buffer
    any --ERROR, RESET--> done
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from pixwire_protocol import messages
from pixwire_protocol.errors import RemoteProtocolError, error_name
from pixwire_protocol.registry import LIMITS
from pixwire_protocol.status import ArtifactInfo, JobState, JobStatus

from .errors import PixwireError, ProtocolViolation, job_ended, request_failed
from .events import Event, Preview, Progress, StateChange
from .image import Image

T = TypeVar("T")

MAX_IMAGE_BYTES = LIMITS["artifact_bytes"].default
RETRY = ("no", "same_id", "after")
PROCESSED = ("no", "maybe", "yes")


class Phase(Enum):
    """What comes next on the stream."""

    ANSWER = auto()
    EVENTS = auto()
    ARTIFACT = auto()
    BYTES = auto()
    DONE = auto()


@dataclass(slots=True)
class Filling:
    """An image whose bytes are on their way into `buffer`; `filled` of them are there."""

    info: Mapping[str, Any]
    buffer: bytearray
    filled: int = 0
    has_sink: bool = False

    @property
    def rest(self) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self.buffer)[self.filled :]


@dataclass(slots=True, eq=False)
class Call(Generic[T]):
    """A request and everything known about it; `request` None is a PING, which has no stream.

    The first four fields say what is asked and are fixed; `stream`, `deadline`, `timeout` and `refusals` belong to
    the session; the rest is what the answers said so far. When `phase` is DONE, `error` or `value` is the outcome.
    """

    operation: str
    request: messages.Request | None
    job: str | None
    finish: Callable[["Call[T]"], T]
    watch: bool = False
    deliver: bool = False
    max_image_bytes: int = MAX_IMAGE_BYTES

    stream: int | None = None
    deadline: float | None = None
    timeout: float = 0.0
    refusals: int = 0

    phase: Phase = Phase.ANSWER
    status: JobStatus | None = None
    duplicate: bool = False
    filling: Filling | None = None
    images: list[Image] = field(default_factory=list)
    value: T | None = None
    error: PixwireError | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.phase is Phase.DONE

    @property
    def outcome(self) -> T:
        """The value of a call that is done. Raises its error."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)

    def fail(self, error: PixwireError) -> None:
        """Ends the call with an error, unless it has ended."""
        if not self.done:
            self.phase, self.error, self.filling = Phase.DONE, error, None

    def receive(self, message: messages.Message, end: bool) -> Event | None:
        """Takes the next message of the stream, the last one with `end`. Returns what a watcher wants to hear of it."""
        if self.done:
            return None
        handler = HANDLERS.get((self.phase, type(message)))
        if handler is None:
            self._violation(f"{type(message).__name__} came where {self.operation} waits for {self.phase.name}")
            return None
        try:
            event = handler(self, message)
        except (RemoteProtocolError, ValueError, TypeError, KeyError) as error:
            self._violation(f"{type(message).__name__} is malformed: {error!r}")
            return None
        if end and not self.done:
            self._violation(f"the answer to {self.operation} ended early, waiting for {self.phase.name}")
        return event

    def _violation(self, reason: str) -> None:
        self.fail(ProtocolViolation(reason, job=self.job))

    def _succeed(self) -> None:
        self.value = self.finish(self)
        self.phase = Phase.DONE

    # --- the handlers of the table

    def _on_answer(self, message: messages.Result) -> Event | None:
        body = message.body
        if isinstance(self.request, messages.Fetch):
            self._begin_image(body)
            return None
        self.duplicate = body.get("duplicate") is True
        return self._on_state(body)

    def _on_state(self, body: Mapping[str, Any]) -> Event | None:
        status = self.status = JobStatus.from_map(body)
        if not self.watch:
            self._succeed()
        elif not status.state.terminal:
            self.phase = Phase.EVENTS
        elif not self.deliver:
            self._succeed()
        elif status.state is not JobState.SUCCEEDED:
            self.fail(job_ended(status))
        elif not status.artifacts:
            self._violation("a succeeded job has no image")
        else:
            self.phase = Phase.ARTIFACT
        return StateChange(status.job, status.seq, status)

    def _on_event(self, message: messages.Event) -> Event | None:
        body = message.body
        match body.get("event"):
            case "state":
                return self._on_state(body)
            case "progress":
                return Progress(body["job"], body["seq"], body["step"], body["steps"], body.get("attempt", 1))
        return None  # kinds of a later version: an event of no known meaning changes nothing

    def _on_preview(self, message: messages.Preview) -> Event | None:
        image = Image(
            memoryview(bytes(message.tail)), message.media_type, message.width, message.height, job=message.job
        )
        return Preview(message.job, message.seq, message.step, message.steps, image)

    def _on_artifact(self, message: messages.Result) -> None:
        self._begin_image(message.body)

    def _begin_image(self, body: Mapping[str, Any]) -> None:
        length: int = body["length"]
        if not 0 <= length <= self.max_image_bytes:
            self._violation(f"an image of {length:,} bytes is more than the {self.max_image_bytes:,} this client takes")
            return
        self.filling = Filling(body, bytearray(length))
        self.phase = Phase.BYTES
        if length == 0:
            self._end_image(self.filling)

    def _on_data(self, message: messages.Data) -> None:
        filling = cast("Filling", self.filling)
        size, rest = len(message.tail), filling.rest
        if size > len(rest):
            self._violation(f"{size - len(rest)} bytes came beyond the announced {len(filling.buffer)}")
            return
        if not message.placed:
            rest[:size] = message.tail
        filling.filled += size
        if filling.filled == len(filling.buffer):
            self._end_image(filling)

    def _end_image(self, filling: Filling) -> None:
        self.images.append(_image(filling, self.status))
        self.filling = None
        expected = len(self.status.artifacts) if self.deliver and self.status is not None else 1
        if len(self.images) < expected:
            self.phase = Phase.ARTIFACT
        else:
            self._succeed()

    def _on_error(self, message: messages.Error) -> None:
        error = request_failed(
            message.code,
            message.name or error_name(message.code),
            message.message,
            retry=message.retry if message.retry in RETRY else "no",
            processed=message.processed if message.processed in PROCESSED else "maybe",
            retry_after_ms=message.retry_after_ms,
            details=dict(message.details or {}),
        )
        self.fail(error)

    def _on_reset(self, message: messages.Reset) -> None:
        name = error_name(message.code)
        self.fail(request_failed(message.code, name, f"the server gave up on {self.operation}", processed="maybe"))


HANDLERS: Mapping[tuple[Phase, type], Callable[[Call[Any], Any], Event | None]] = {
    (Phase.ANSWER, messages.Result): Call._on_answer,
    (Phase.EVENTS, messages.Event): Call._on_event,
    (Phase.EVENTS, messages.Preview): Call._on_preview,
    (Phase.ARTIFACT, messages.Result): Call._on_artifact,
    (Phase.BYTES, messages.Data): Call._on_data,
    **{(phase, messages.Error): Call._on_error for phase in Phase},
    **{(phase, messages.Reset): Call._on_reset for phase in Phase},
}


def _image(filling: Filling, status: JobStatus | None) -> Image:
    info = ArtifactInfo.from_map(filling.info)
    more: dict[str, Any] = {"etag": info.etag}
    if status is not None:
        more |= {"steps": status.steps, "timings": status.timings, "engine": status.engine}
    return Image(
        memoryview(filling.buffer).toreadonly(),
        info.media_type,
        info.width,
        info.height,
        info.seed,
        filling.info.get("job", ""),
        info.artifact,
        MappingProxyType(more),
    )
