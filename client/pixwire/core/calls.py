"""One request under way: which frames may come next on its stream, and what they mean for the one who waits.

A `Call` is what a user waits for: made by a function of `requests`, sent and fed by a `channel.Channel`, awaited by a
shell. It knows no socket, no clock and no other call. It may need several streams, on several connections one after
the other: `resume` says how it goes on.

The life of a call on a stream is the table `HANDLERS`; a frame that is not in it breaks the protocol:

    ANSWER --RESULT--> (EVENTS | ARTIFACT | BYTES | done)        the reply to the request
    EVENTS --EVENT, PREVIEW--> EVENTS | ARTIFACT | done          until the terminal state
    ARTIFACT --RESULT--> BYTES                                   the announcement of one image
    BYTES --DATA--> BYTES | ARTIFACT | ANOTHER | done            straight into its final buffer
    any --ERROR, RESET--> done | ANOTHER                         ANOTHER: `request` wants a stream of its own
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, auto
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from pixwire_protocol import messages
from pixwire_protocol.errors import RemoteProtocolError, error_name
from pixwire_protocol.maps import numbers
from pixwire_protocol.record import record
from pixwire_protocol.registry import LIMITS, ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobState, JobStatus

from ..errors import PixwireError, ProtocolViolation, RequestFailed, job_ended, job_lost, request_failed
from ..events import DownloadProgress, Event, Preview, Progress, StateChange
from ..image import Image
from .uploads import Upload

T = TypeVar("T")

MAX_IMAGE_BYTES = LIMITS["artifact_bytes"].default
MOST_RESTARTS = 3
"""How often an image is begun anew because the server says that it is not the one it was."""
RETRY = ("no", "same_id", "after")
PROCESSED = ("no", "maybe", "yes")


class Phase(IntEnum):
    """What comes next on the stream."""

    ANSWER = auto()
    EVENTS = auto()
    ARTIFACT = auto()
    BYTES = auto()
    ANOTHER = auto()
    DONE = auto()


# Used for every message: reading a member off its enum costs 60 ns in Python 3.11, a global 10.
ANOTHER, DONE = Phase.ANOTHER, Phase.DONE


@record
class ServerName:
    """Which server, and which run of it. SPEC 6.3."""

    server_id: str
    epoch: str


@dataclass(slots=True)
class Filling:
    """An image whose bytes are on their way into `buffer`; `filled` of them are there."""

    info: ArtifactInfo
    job: str
    buffer: bytearray
    filled: int = 0
    has_sink: bool = False

    @property
    def progress(self) -> DownloadProgress:
        """How far it is."""
        return DownloadProgress(self.job, self.info.artifact, self.filled, self.info.size)

    @property
    def rest(self) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self.buffer)[self.filled :]


@dataclass(slots=True, eq=False)
class Call(Generic[T]):
    """What is asked and everything known about it; `request` None is a PING, which has no stream.

    The first group says what is asked and is fixed, but for `request`: that is what goes out next. The second belongs
    to the session and its channel. The third is what the answers said so far; when `phase` is DONE, `error` or `value`
    is the outcome.
    """

    operation: str
    request: messages.Request | None
    job: str | None
    finish: Callable[["Call[T]"], T]
    watch: bool = False
    deliver: bool = False
    want: tuple[str, ...] = ()
    upload: Upload | None = None
    tells_bytes: bool = False
    """Whether somebody wants to hear how many bytes of an image came."""
    known_at: ServerName | None = None
    """The server that is known to have accepted the job."""
    max_image_bytes: int = MAX_IMAGE_BYTES
    home: str | None = None
    """The server that must be asked, when there are several."""
    roams: bool = False
    """Whether another server could do it as well, as long as it did not leave for this one."""

    stream: int | None = None
    server: ServerName | None = None
    timeout: float = 0.0
    refusals: int = 0
    tries: int = 0
    suspected: int = 0
    doubtful: bool = False
    """Whether it was sent on a connection that ended before the answer, so that the server may have taken it."""

    phase: Phase = Phase.ANSWER
    status: JobStatus | None = None
    body: Mapping[str, Any] | None = None
    duplicate: bool = False
    seq: int = 0
    reported: int = 0
    """What is not above this was reported on an earlier connection."""
    filling: Filling | None = None
    images: list[Image] = field(default_factory=list)
    restarts: int = 0
    value: T | None = None
    error: PixwireError | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.phase is DONE

    @property
    def outcome(self) -> T:
        """The value of a call that is done. Raises its error."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)

    @property
    def image_index(self) -> int:
        """Which image comes next."""
        if self.deliver or not isinstance(self.request, messages.Fetch):
            return len(self.images)
        return self.request.artifact

    def anew(self) -> "Call[T]":
        """The same question, for another server. Only for a call that was never sent itself."""
        if self.upload is not None:
            self.upload.restart()
        asked = self.operation, self.request, self.job, self.finish, self.watch, self.deliver, self.want
        return Call(*asked, self.upload, self.tells_bytes, self.known_at, home=self.home)

    def fail(self, error: PixwireError) -> None:
        """Ends the call with an error, unless it has ended."""
        if not self.done:
            self.phase, self.error, self.filling = Phase.DONE, error, None

    def receive(self, message: messages.Message, end: bool) -> Event | None:
        """Takes the next message of the stream, the last one with `end`. Returns what a watcher wants to hear of it."""
        if self.phase is DONE:
            return None
        handler = HANDLERS.get((self.phase, type(message)))
        if handler is None:
            self._violation(f"{type(message).__name__} came where {self.operation} waits for {self.phase.name}")
            return None
        self.tries = self.refusals = 0
        try:
            event = handler(self, message)
        except (RemoteProtocolError, ValueError, TypeError, KeyError) as error:
            self._violation(f"{type(message).__name__} is malformed: {error!r}")
            return None
        if end and self.phase is not DONE and self.phase is not ANOTHER:
            self._violation(f"the answer to {self.operation} ended early, waiting for {self.phase.name}")
        if event is None or event.seq <= self.reported:
            return None
        self.seq = max(self.seq, event.seq)
        return event

    def _violation(self, reason: str) -> None:
        self.fail(ProtocolViolation(reason, job=self.job))

    def _succeed(self) -> None:
        self.value = self.finish(self)
        self.phase = DONE

    # --- the handlers of the table

    def _on_answer(self, message: messages.Result) -> Event | None:
        body = self.body = message.body
        asked = type(self.request)
        if asked is messages.Fetch:
            self._begin_image(body)
        elif asked is messages.List or asked is messages.Admin:
            self._succeed()
        else:
            self.known_at = self.server
            self.duplicate = body.get("duplicate") is True
            return self._on_state(body)
        return None

    def _on_state(self, body: Mapping[str, Any]) -> Event | None:
        status = self.status = JobStatus.from_map(body)
        if not self.watch:
            self._succeed()
            return None  # who asked once is told by the outcome
        if not status.state.terminal:
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
                seq, step, steps, attempt = _ints({"attempt": 1, **body}, "seq", "step", "steps", "attempt")
                timesteps = numbers(body.get("timesteps", []), "progress", "timesteps")
                return Progress(str(body["job"]), seq, step, steps, attempt, timesteps)
        return None  # kinds of a later version: an event of no known meaning changes nothing

    def _on_preview(self, message: messages.Preview) -> Event | None:
        image = Image(
            memoryview(bytes(message.tail)), message.media_type, message.width, message.height, job=message.job
        )
        return Preview(message.job, message.seq, message.step, message.steps, image)

    def _on_artifact(self, message: messages.Result) -> None:
        self._begin_image(message.body)

    def _begin_image(self, body: Mapping[str, Any]) -> None:
        """The announcement of an image, or of the rest of one that was cut off."""
        info, (offset, length) = ArtifactInfo.from_map(body), _ints(body, "offset", "length")
        filling = self.filling
        if info.artifact != self.image_index:
            self._violation(f"image {info.artifact} came instead of image {self.image_index}")
        elif info.size > self.max_image_bytes:
            most = f"the {self.max_image_bytes:,} this client takes"
            self._violation(f"an image of {info.size:,} bytes is more than {most}")
        elif filling is not None and info.etag != filling.info.etag:
            self._begin_again()
        elif offset != (0 if filling is None else filling.filled) or length != info.size - offset:
            self._violation(f"{length} bytes from {offset} of {info.size} were announced, and not the rest")
        else:
            self._fill(info, str(body["job"]))

    def _fill(self, info: ArtifactInfo, job: str) -> None:
        """Makes room for its bytes, unless there is, and waits for them."""
        try:
            filling = self.filling = self.filling or Filling(info, job, bytearray(info.size))
        except MemoryError:  # it is this call's trouble, and not that of the others on the connection
            self.fail(PixwireError(f"there is no memory for an image of {info.size:,} bytes (see max_image_bytes)"))
            return
        self.phase = Phase.BYTES
        if filling.filled == info.size:
            self._end_image(filling)

    def _begin_again(self) -> None:
        """The image is another one now: what came of the old one must not be joined with it. SPEC 9.4."""
        if self.restarts == MOST_RESTARTS:
            self._violation(f"image {self.image_index} changed {self.restarts} times while it was fetched")
            return
        self.restarts += 1
        self.filling = None
        self._ask(messages.Fetch(cast("str", self.job), self.image_index))

    def _ask(self, request: messages.Request) -> None:
        self.request, self.phase = request, Phase.ANOTHER

    def _on_data(self, message: messages.Data) -> None:
        filling = cast("Filling", self.filling)
        expected = len(filling.buffer)
        filled = filling.filled + len(message.tail)
        if filled > expected:
            self._violation(f"{filled - expected} bytes came beyond the announced {expected}")
            return
        if not message.placed:
            filling.buffer[filling.filled : filled] = message.tail
        filling.filled = filled
        if filled == expected:
            self._end_image(filling)

    def _end_image(self, filling: Filling) -> None:
        self.images.append(_image(filling, self.status))
        self.filling, self.restarts = None, 0
        expected = len(self.status.artifacts) if self.deliver and self.status is not None else 1
        if len(self.images) == expected:
            self._succeed()
        elif isinstance(self.request, messages.Fetch):
            self._ask(fetch_next(self))
        else:
            self.phase = Phase.ARTIFACT

    def _on_error(self, message: messages.Error) -> None:
        asked = self.request
        if message.code == ErrorCode.ARTIFACT_CHANGED and isinstance(asked, messages.Fetch) and asked.etag is not None:
            self._begin_again()
        elif message.code == ErrorCode.JOB_NOT_FOUND and self.known_at not in (None, self.server):
            self.fail(job_lost(cast("str", self.job), self._what_changed(), self.status))
        else:
            self.fail(error_of(message))

    def _what_changed(self) -> str:
        before, now = cast("ServerName", self.known_at), cast("ServerName", self.server)
        if before.server_id != now.server_id:
            return f"server {before.server_id!r} had accepted it, now {now.server_id!r} answers and does not know it"
        return "the server had accepted it, was started anew and does not know it"

    def _on_reset(self, message: messages.Reset) -> None:
        name = error_name(message.code)
        self.fail(request_failed(message.code, name, f"the server gave up on {self.operation}", processed="maybe"))


AnyCall = Call[Any]


HANDLERS: Mapping[tuple[Phase, type], Callable[[Call[Any], Any], Event | None]] = {
    (Phase.ANSWER, messages.Result): Call._on_answer,
    (Phase.EVENTS, messages.Event): Call._on_event,
    (Phase.EVENTS, messages.Preview): Call._on_preview,
    (Phase.ARTIFACT, messages.Result): Call._on_artifact,
    (Phase.BYTES, messages.Data): Call._on_data,
    **{(phase, messages.Error): Call._on_error for phase in Phase},
    **{(phase, messages.Reset): Call._on_reset for phase in Phase},
}


def _ints(body: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    """These fields. Raises KeyError or TypeError: 5.0 and True are no integers on the wire (SPEC 5)."""
    wrong = [name for name in names if type(body[name]) is not int]
    if wrong:
        raise TypeError(f"{wrong[0]} is {body[wrong[0]]!r}")
    return tuple(body[name] for name in names)


def error_of(message: messages.Error) -> RequestFailed:
    """The error for an ERROR frame; what it says beyond the known words counts as the cautious one. SPEC 10.1."""
    return request_failed(
        message.code,
        message.name or error_name(message.code),
        message.message,
        retry=message.retry if message.retry in RETRY else "no",
        processed=message.processed if message.processed in PROCESSED else "maybe",
        retry_after_ms=message.retry_after_ms,
        details=dict(message.details or {}),
    )


def fetch_next(call: Call[Any]) -> messages.Fetch:
    """The request for the image, or the rest of it, that a call with a succeeded job lacks."""
    job, index, filling = cast("str", call.job), call.image_index, call.filling
    if filling is not None:
        return messages.Fetch(job, index, filling.filled, etag=filling.info.etag)
    etag = call.status.artifacts[index].etag if call.status is not None and call.deliver else None
    return messages.Fetch(job, index, etag=etag)


def _image(filling: Filling, status: JobStatus | None) -> Image:
    info = filling.info
    more: dict[str, Any] = {"etag": info.etag}
    if status is not None:
        more |= {"steps": status.steps, "timings": status.timings, "engine": status.engine}
    return Image(
        memoryview(filling.buffer).toreadonly(),
        info.media_type,
        info.width,
        info.height,
        info.seed,
        filling.job,
        info.artifact,
        MappingProxyType(more),
    )
