"""Reads along what a server sends and raises Violation for the first frame that it must not send (SPEC 4, 5, 7, 8, 9).

One `ServerJudge` per connection. It is told what the tester sent (`sent`) and sees every received frame (`received`).
Everything here holds for every frame of every case, so a server that, say, forgets END fails wherever it does so.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from pixwire_protocol.heads import FieldSpec, MessageSpec
from pixwire_protocol.registry import HEAD_KEY, LIMITS, ErrorCode
from pixwire_protocol.status import JOB_TRANSITIONS, JobState

from .frames import ACK_TYPES, EXTENSIONS, Frame
from .verdicts import Violation

JUDGED: Final = (
    *("PXW-CON-010", "PXW-DRN-004", "PXW-ERR-008", "PXW-EXT-008", "PXW-FLW-001", "PXW-FLW-002", "PXW-FLW-012"),
    *("PXW-FRM-001", "PXW-FRM-003", "PXW-FRM-009", "PXW-FRM-012", "PXW-FRM-013", "PXW-FRM-014", "PXW-FRM-016"),
    *("PXW-FRM-017", "PXW-FRM-019", "PXW-HSK-009", "PXW-HSK-012", "PXW-JOB-001", "PXW-JOB-004", "PXW-JOB-006"),
    *(
        "PXW-JOB-010",
        "PXW-JOB-011",
        "PXW-JOB-014",
        "PXW-JOB-022",
        "PXW-JOB-028",
        "PXW-MSG-001",
        "PXW-MSG-004",
        "PXW-MSG-005",
        "PXW-MSG-017",
    ),
    *("PXW-REQ-011", "PXW-REQ-025", "PXW-REQ-045", "PXW-REQ-046", "PXW-STR-004", "PXW-STR-009", "PXW-STR-010"),
    *("PXW-STR-011", "PXW-STR-012", "PXW-STR-014"),
)
"""Requirements that are looked at in every frame of every case."""
_KEY: Final = re.compile(HEAD_KEY)
_TYPES: Final[Mapping[str, type]] = {"str": str, "int": int, "bool": bool, "map": dict, "limits": dict}
_STATUS: Final = {"job": str, "kind": str, "state": str, "seq": int, "attempt": int, "step": int, "steps": int}
_ARTIFACT: Final = {
    "artifact": int,
    "etag": str,
    "size": int,
    "media_type": str,
    "width": int,
    "height": int,
    "seed": int,
}
_ANNOUNCEMENT: Final = {"job": str, "offset": int, "length": int, **_ARTIFACT}
_PROGRESS: Final = {"job": str, "seq": int, "event": str, "attempt": int, "step": int, "steps": int}
_ERROR: Final = {"code": int, "name": str, "message": str, "retry": str}


def check_head(data: bytes) -> dict[str, Any]:
    """The map of a head that keeps to the profile as a sender has to (SPEC 5)."""

    def pairs(items: list[tuple[Any, Any]]) -> dict[Any, Any]:
        keys = [key for key, _ in items]
        if any(not isinstance(key, str) for key in keys):
            raise Violation("PXW-MSG-003", f"a map has a key that is no string: {keys}")
        if len(set(keys)) < len(keys):
            raise Violation("PXW-MSG-017", f"a map has the same key twice: {keys}")
        return dict(items)

    def no_ext(code: int, content: bytes) -> Any:
        raise Violation("PXW-MSG-005", f"a head holds ext type {code}")

    try:
        head = msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=pairs, ext_hook=no_ext)
    except (ValueError, msgpack.UnpackException) as error:
        raise Violation("PXW-MSG-001", f"a head is not one msgpack map: {error!r}") from None
    if not isinstance(head, dict):
        raise Violation("PXW-MSG-001", f"a head is a {type(head).__name__}")
    for key in head:
        if not _KEY.fullmatch(key):
            raise Violation("PXW-MSG-004", f"a head has the key {key!r}")
    return head


def check_fields(frame: Frame, head: Mapping[str, Any], fields: tuple[FieldSpec, ...]) -> None:
    """Required fields are there, and what is there has its type and range."""
    for spec in fields:
        value = head.get(spec.name)
        if value is None:
            if spec.required:
                raise Violation("PXW-MSG-021", f"{frame} without {spec.name}")
            continue
        kind = _TYPES.get(spec.type, list)
        size = value if kind is int else len(value.encode()) if isinstance(value, str) else None
        fits = size is None or ((spec.minimum or 0) <= size and (spec.maximum is None or size <= spec.maximum))
        if type(value) is not kind or not fits:
            requirement = "PXW-ERR-008" if (frame.name, spec.name) == ("ERROR", "message") else "PXW-MSG-021"
            raise Violation(requirement, f"{frame} with {spec.name} = {str(value)[:60]!r}")


def check_parts(frame: Frame, spec: MessageSpec) -> dict[str, Any]:
    """The head of a frame whose flags, stream, head and tail are as SPEC.md 4 and 8 have them for its type.

    Raises Violation when they are not.
    """
    if frame.flags & ~1 or (frame.bit and spec.end == "never" and frame.type not in ACK_TYPES):
        raise Violation("PXW-FRM-017", f"{frame} with flags 0x{frame.flags:02X}")
    if (spec.stream == "zero") is not (frame.stream == 0) and spec.stream != "any":
        raise Violation("PXW-FRM-012", f"{frame} does not belong on stream {frame.stream}")
    if (spec.head == "map") is not bool(frame.head_bytes):
        raise Violation("PXW-FRM-013", f"{frame} with a head of {len(frame.head_bytes)} bytes")
    if (spec.tail == "none" and frame.tail) or (spec.tail == "eight" and len(frame.tail) != 8):
        raise Violation("PXW-FRM-014", f"{frame} with a tail of {len(frame.tail)} bytes")
    head = check_head(frame.head_bytes) if frame.head_bytes else {}
    check_fields(frame, head, spec.fields)
    return head


def check_body(what: str, body: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    """The keys that SPEC 8 calls always present are there, with their types."""
    for name, kind in fields.items():
        if type(body.get(name)) is not kind:
            raise Violation("", f"{what} has {name} = {body.get(name)!r}, not a {kind.__name__} (SPEC 8)")


@dataclass(slots=True)
class StreamView:
    """One stream as the tester sees it. request: the frame that opened it; kind: plain, watched, awaited or fetched
    (SPEC 7.2)."""

    request: str
    kind: str
    window: int
    job: Any = None
    deliver: bool = False
    want: tuple[str, ...] = ()
    phase: str = "answer"
    state: JobState | None = None
    seq: int = 0
    left: int = 0
    artifacts: int = 0
    result_seq: int = 0


def view_of(frame: Frame, window: int) -> StreamView | None:
    """What may be expected on the stream that this request opens; None when that cannot be said."""
    try:
        head = frame.head
    except ValueError:
        return None
    kind = {"WATCH": "watched", "FETCH": "fetched"}.get(frame.name, "plain")
    deliver = frame.name in ("SUBMIT", "WATCH") and head.get("deliver") is True
    if frame.name == "SUBMIT":
        kind = "watched" if head.get("watch") is True else "awaited" if deliver else "plain"
    want = head.get("want")
    names = tuple(name for name in want if isinstance(name, str)) if isinstance(want, list) else ()
    return StreamView(frame.name, kind, window, head.get("job"), deliver, names if kind == "watched" else ())


def check_timesteps(view: StreamView, frame: Frame, head: Mapping[str, Any]) -> None:
    """They were asked for, and there is a number for each step."""
    told = head.get("timesteps")
    if told is None:
        return
    if "timesteps" not in view.want:
        raise Violation("PXW-REQ-045", f"{frame}: timesteps were not named in want {list(view.want)}")
    if type(told) is not list or len(told) != head["step"] or {type(one) for one in told} - {int, float}:
        raise Violation("PXW-REQ-046", f"{frame}: timesteps {told} are not a number for each of {head['step']} steps")


class ServerJudge:
    """One connection's judge. `limits` are those that the tester's HELLO declares."""

    def __init__(self) -> None:
        self.max_frame = LIMITS["handshake_max_frame"].default
        self.stream_window = LIMITS["stream_window"].default
        self.window = LIMITS["connection_window"].default
        self.offered: tuple[str, ...] = ()
        self.opened: set[int] = set()
        self.streams: dict[int, StreamView | None] = {}
        self.ended: set[int] = set()
        self.goaway: int | None = None

    # ------------------------------------------------------------------ what the tester sends

    def sent(self, frame: Frame) -> None:
        """Note a frame of the tester: what it opens, grants or ends."""
        if frame.name == "HELLO":
            self._declare(frame)
        elif frame.stream == 0:
            if frame.name == "CREDIT":
                self.window += _granted(frame)
        elif frame.name == "CREDIT":
            view = self.streams.get(frame.stream)
            if view is not None:
                view.window += _granted(frame)
        elif frame.stream not in self.opened:
            self.opened.add(frame.stream)
            spec = frame.spec
            opens = spec is not None and spec.stream == "new"
            self.streams[frame.stream] = view_of(frame, self.stream_window) if opens else None

    def _declare(self, frame: Frame) -> None:
        try:
            head = frame.head
        except ValueError:
            return
        limits = head.get("limits")
        limits = limits if isinstance(limits, dict) else {}

        def declared(name: str) -> int:
            value = limits.get(name)
            return value if type(value) is int else LIMITS[name].default

        self.max_frame = declared("max_frame")
        self.stream_window, self.window = declared("stream_window"), declared("connection_window")
        features = head.get("features")
        self.offered = tuple(features) if isinstance(features, list) else ()

    # ------------------------------------------------------------------ what the server sends

    def received(self, frame: Frame) -> None:
        """Judge a frame. Raises Violation."""
        spec = frame.spec
        if spec is None:
            if frame.type not in EXTENSIONS:
                raise Violation("PXW-EXT-008", f"{frame}: nobody asked for frames of this type")
            return
        if spec.sender == "client":
            raise Violation("PXW-FRM-016", f"{frame}: only a client sends this")
        if len(frame.head_bytes) + len(frame.tail) > self.max_frame:
            raise Violation("PXW-FRM-003", f"{frame} is longer than the declared max_frame {self.max_frame}")
        head = check_parts(frame, spec)
        if frame.stream == 0:
            self._on_zero(frame, head)
        else:
            self._on_stream(frame, head)

    def _on_zero(self, frame: Frame, head: Mapping[str, Any]) -> None:
        if frame.name == "ERROR" and frame.end:
            raise Violation("PXW-FRM-019", f"{frame} carries END on stream 0")
        if frame.name == "WELCOME" and not set(head.get("features") or ()) <= set(self.offered):
            raise Violation("PXW-HSK-009", f"WELCOME names features {head['features']}, offered were {self.offered}")
        if frame.name == "GOAWAY":
            if self.goaway is not None and head["last_stream"] > self.goaway:
                raise Violation("PXW-DRN-004", f"last_stream rose from {self.goaway} to {head['last_stream']}")
            self.goaway = head["last_stream"]

    def _on_stream(self, frame: Frame, head: Mapping[str, Any]) -> None:
        stream = frame.stream
        if stream not in self.opened:
            raise Violation("PXW-STR-004", f"{frame}: the client never used this stream")
        if frame.name == "CREDIT":
            return
        if stream in self.ended:
            raise Violation("PXW-STR-011", f"{frame}: the stream has ended")
        if frame.name in ("ERROR", "RESET"):
            if frame.name == "ERROR" and not frame.end:
                raise Violation("PXW-STR-014", f"{frame} without END")
            if frame.name == "ERROR" and 0x0500 <= head["code"] < 0x0600:
                self._check_too_late(frame, head)
            self.ended.add(stream)
            return
        view = self.streams.get(stream)
        if view is None:
            raise Violation("PXW-STR-012", f"{frame} where only ERROR can be the answer")
        handler = _GRAMMAR.get((view.phase, frame.name))
        if handler is None:
            raise Violation("PXW-STR-012", f"{frame}: not allowed on a {view.kind} stream in the phase {view.phase!r}")
        over = handler(self, view, frame, head)
        if over and not frame.end:
            raise Violation("PXW-STR-009", f"{frame} is the last of its stream and carries no END")
        if frame.end and not over:
            raise Violation("PXW-STR-010", f"{frame} carries END, and the stream is not complete")
        if over:
            self.ended.add(stream)

    def _check_too_late(self, frame: Frame, head: Mapping[str, Any]) -> None:
        """The one code of the execution class that ERROR may have: the answer to a SUBMIT that cannot be in time."""
        view = self.streams.get(frame.stream)
        first = view is not None and view.request == "SUBMIT" and view.phase == "answer"
        if not first or head["code"] != ErrorCode.DEADLINE_EXCEEDED:
            raise Violation("", f"{frame}: a code of the execution class in ERROR (SPEC 10.2)")
        details = head.get("details") or {}
        if head.get("processed") != "no" or not all(type(details.get(key)) is int for key in ("eta_ms", "timeout_ms")):
            said = f"processed {head.get('processed')!r}, details {details}"
            raise Violation("PXW-REQ-044", f"{frame} says {said}; it needs no, eta_ms and timeout_ms")

    # ------------------------------------------------------------------ the grammar; True: this was the last frame

    def _on_answer(self, view: StreamView, frame: Frame, head: Mapping[str, Any]) -> bool:
        if view.kind == "fetched":
            return self._on_announcement(view, frame, head)
        if view.request in ("LIST", "ADMIN"):
            return True
        check_status(head, view.job)
        check_timesteps(view, frame, head)
        view.state, view.seq, view.result_seq = JobState(head["state"]), head["seq"], head["seq"]
        return view.kind == "plain" or self._after_state(view, head)

    def _after_state(self, view: StreamView, head: Mapping[str, Any]) -> bool:
        assert view.state is not None  # noqa: S101 - set by the callers
        if not view.state.terminal:
            view.phase = "events"
            return False
        view.artifacts = len(head.get("artifacts") or ()) if view.state is JobState.SUCCEEDED and view.deliver else 0
        view.phase = "artifacts"
        return not view.artifacts

    def _on_event(self, view: StreamView, frame: Frame, head: Mapping[str, Any]) -> bool:
        event = head.get("event")
        if event == "progress":
            check_body("EVENT progress", head, _PROGRESS)
            self._lossy(view, frame, "progress")
            check_timesteps(view, frame, head)
        elif event != "state":
            raise Violation("", f"{frame} with event = {event!r} (SPEC 8.15)")
        self._order(view, frame, head["seq"] if type(head.get("seq")) is int else -1)
        if event != "state":
            return False
        check_status(head, view.job)
        check_timesteps(view, frame, head)
        state, before = JobState(head["state"]), view.state
        if view.kind == "awaited" and not state.terminal:
            raise Violation("PXW-STR-012", f"{frame}: with deliver and without watch only the terminal state follows")
        if view.kind == "watched" and before is not None and state not in JOB_TRANSITIONS[before]:
            raise Violation("PXW-JOB-001", f"{frame}: the state went from {before} to {state}")
        view.state = state
        return self._after_state(view, head)

    def _on_preview(self, view: StreamView, frame: Frame, head: Mapping[str, Any]) -> bool:
        self._lossy(view, frame, "preview")
        if "preview" not in self.offered:
            raise Violation("PXW-HSK-012", f"{frame}: the feature preview is not active")
        self._order(view, frame, head["seq"])
        return False

    def _lossy(self, view: StreamView, frame: Frame, name: str) -> None:
        if name not in view.want:
            raise Violation("PXW-REQ-011", f"{frame}: {name} was not named in want {list(view.want)}")

    def _order(self, view: StreamView, frame: Frame, seq: int) -> None:
        if seq <= view.seq:
            raise Violation("PXW-JOB-006", f"{frame} has seq {seq}, the one before {view.seq}")
        view.seq = seq

    def _on_announcement(self, view: StreamView, frame: Frame, head: Mapping[str, Any]) -> bool:
        check_body("an announcement", head, _ANNOUNCEMENT)
        if head["job"] != view.job:
            raise Violation("", f"{frame} announces an artifact of {head['job']!r} (SPEC 8.14)")
        if not 0 <= head["offset"] <= head["offset"] + head["length"] <= head["size"]:
            raise Violation("PXW-REQ-021", f"{frame} announces offset, length beyond size: {dict(head)}")
        view.left = head["length"]
        return self._after_bytes(view)

    def _on_data(self, view: StreamView, frame: Frame, head: Mapping[str, Any]) -> bool:
        size = len(frame.tail)
        if not size and not frame.end:
            raise Violation("PXW-FLW-012", f"{frame} has neither bytes nor END")
        if size > view.window:
            raise Violation("PXW-FLW-001", f"{frame}, the stream's window has {view.window}")
        if size > self.window:
            raise Violation("PXW-FLW-002", f"{frame}, the connection's window has {self.window}")
        if size > view.left:
            raise Violation("PXW-REQ-025", f"{frame}, {view.left} bytes of the announced were left")
        view.window -= size
        self.window -= size
        view.left -= size
        return self._after_bytes(view)

    def _after_bytes(self, view: StreamView) -> bool:
        if view.left:
            view.phase = "bytes"
            return False
        view.phase = "artifacts"
        view.artifacts -= 1
        return view.artifacts <= 0


def check_status(head: Mapping[str, Any], job: Any) -> None:
    """A status map has what every status map has, and what its state asks for."""
    check_body("a status map", head, _STATUS)
    if head["job"] != job:
        raise Violation("", f"the status of {head['job']!r} came, asked was {job!r} (SPEC 8.14)")
    if head["state"] not in {state.value for state in JobState}:
        raise Violation("PXW-JOB-014", f"unknown state {head['state']!r}")
    if head["seq"] < 1 or head["attempt"] < 0:
        raise Violation("PXW-JOB-004", f"seq {head['seq']}, attempt {head['attempt']}")
    state = JobState(head["state"])
    if state is JobState.SUCCEEDED and not head.get("artifacts"):
        raise Violation("PXW-JOB-010", "a succeeded job lists no artifacts")
    if state in (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED) and not isinstance(head.get("error"), dict):
        raise Violation("PXW-JOB-011", f"a {state} job gives no error")
    forecasts = [name for name in ("queue_position", "eta_ms", "deadline_ms") if head.get(name) is not None]
    if state.terminal and forecasts:
        raise Violation("PXW-JOB-022", f"a {state} job has {', '.join(forecasts)}")
    if state is JobState.EXPIRED and head["error"].get("code") != ErrorCode.DEADLINE_EXCEEDED:
        raise Violation("PXW-JOB-028", f"an expired job has the error {head['error']}")
    for artifact in head.get("artifacts") or ():
        check_body("an artifact", artifact, _ARTIFACT)
    if head.get("error") is not None:
        check_body("the error of a job", head["error"], _ERROR)


_Handler = Callable[[ServerJudge, StreamView, Frame, Mapping[str, Any]], bool]
_GRAMMAR: Final[Mapping[tuple[str, str], _Handler]] = {
    ("answer", "RESULT"): ServerJudge._on_answer,
    ("events", "EVENT"): ServerJudge._on_event,
    ("events", "PREVIEW"): ServerJudge._on_preview,
    ("artifacts", "RESULT"): ServerJudge._on_announcement,
    ("bytes", "DATA"): ServerJudge._on_data,
}


def _granted(frame: Frame) -> int:
    try:
        n = frame.head.get("n")
    except ValueError:
        return 0
    return n if type(n) is int and 0 < n <= 0x7FFFFFFF else 0
