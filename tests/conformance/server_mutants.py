"""Defects of a server, one small patch each, and the requirement whose case has to notice it.

A mutant is a function that changes the imported code for the rest of the process. `MUTANTS` says which cases are run
against it (by requirement) and under which settings of the door.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import msgpack
import playing_jobs
from patching import around
from playing_jobs import PlayingJobs, failed

from pixwire_protocol import judging, profile, receiving, sending
from pixwire_protocol.codec import Codec
from pixwire_protocol.errors import RemoteProtocolError
from pixwire_protocol.flow import SendWindow
from pixwire_protocol.greeting import make_welcome
from pixwire_protocol.machine import Machine
from pixwire_protocol.messages import Pong, Result, encode_within
from pixwire_protocol.outbox import Outbox
from pixwire_protocol.parser import SKIP, FrameParser
from pixwire_protocol.rates import Rates
from pixwire_protocol.registry import ErrorCode, Flag
from pixwire_protocol.states import State
from pixwire_protocol.status import JobState
from pixwire_protocol.streams import Stream
from pixwire_server.doors.auth import Guard, Identity
from pixwire_server.doors.feed import Feed
from pixwire_server.doors.images import ImageSender
from pixwire_server.doors.replies import Replies
from pixwire_server.doors.session import Session
from pixwire_server.doors.tcp import PxwProtocol
from pixwire_server.jobs import RequestError

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """`ids`: the requirements that the defect breaks; each one's cases are run, and one of them must fail."""

    patch: Patch
    ids: tuple[str, ...]
    token: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


MUTANTS: dict[str, Mutant] = {}


def mutant(*ids: str, token: bool = False, **settings: Any) -> Callable[[Patch], Patch]:
    """Decorator: enters the patch under its name."""

    def enter(patch: Patch) -> Patch:
        MUTANTS[patch.__name__] = Mutant(patch, ids, token, settings)
        return patch

    return enter


def apply(name: str) -> None:
    """Change this process."""
    MUTANTS[name].patch()


# ---------------------------------------------------------------------- preface, framing


@mutant("PXW-CON-004")
def skips_the_magic() -> None:
    def any_preface(old: Any, self: Any, data: bytes, position: int) -> int:
        held = self._held
        if not held and position == 0 and len(data) >= 4:
            data = b"\x89PXW" + data[4:]
        return old(self, data, position)

    around(FrameParser, "_take_preface", any_preface)


@mutant("PXW-CON-010")
def wrong_goaway_code() -> None:
    around(Machine, "fail", lambda old, self, error, *words: old(self, relabel(error), *words))


def relabel(error: RemoteProtocolError) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.INTERNAL, error.message)


@mutant("PXW-FRM-005")
def length_checked_with_the_whole_header() -> None:
    def late(old: Any, self: Any, word: int) -> None:
        if 4 <= len(self._held) < 12:
            return
        old(self, word)

    around(FrameParser, "_check_word", late)


@mutant("PXW-FRM-018")
def ignores_flags() -> None:
    around(judging.Judging, "on_header", lambda old, self, kind, flags, *rest: old(self, kind, flags & 1, *rest))


@mutant("PXW-FRM-003")
def ignores_the_clients_max_frame() -> None:
    sending.encode_within = lambda message, stream, flags, limit: encode_within(message, stream, flags, 1 << 24)


@mutant("PXW-FRM-008")
def ignores_the_top_bit() -> None:
    def masked(old: Any, self: Any, kind: int, flags: int, head: int, stream: int, length: int) -> Any:
        return old(self, kind, flags, head, stream & 0x7FFFFFFF, length)

    around(judging.Judging, "on_header", masked)


# ---------------------------------------------------------------------- heads


@mutant("PXW-MSG-019")
def refuses_unknown_keys() -> None:
    def strict(old: Any, self: Codec, head: bytes, tail: Any, stream: int) -> Any:
        if self.has_head and set(profile.unpack_map(head)) - set(self.fields) - {"crit"}:
            raise RemoteProtocolError(ErrorCode.BAD_HEAD, "unknown keys")
        return old(self, head, tail, stream)

    around(Codec, "decode", strict)


@mutant("PXW-MSG-010")
def takes_floats_for_ints() -> None:
    def lenient(old: Any, self: Codec, head: bytes, tail: Any, stream: int) -> Any:
        with contextlib.suppress(ValueError):
            values = msgpack.unpackb(head)
            head = msgpack.packb({k: int(v) if type(v) is float else v for k, v in values.items()})
        return old(self, head, tail, stream)

    around(Codec, "decode", lenient)


@mutant("PXW-MSG-012")
def nests_one_deeper() -> None:
    profile.DEPTH += 1  # type: ignore[misc]


@mutant("PXW-EXT-001", "PXW-EXT-003")
def ignores_crit() -> None:
    Codec._check_critical = lambda self, names, stream: None  # type: ignore[method-assign]


# ---------------------------------------------------------------------- handshake


@mutant("PXW-HSK-007")
def second_hello_accepted() -> None:
    def deaf(old: Any, self: Any, kind: int, *rest: Any) -> Any:
        if kind == 0x01 and self._machine.state is State.READY:
            return SKIP
        return old(self, kind, *rest)

    around(judging.Judging, "on_header", deaf)


@mutant("PXW-HSK-009")
def names_features_uninvited() -> None:
    receiving.make_welcome = lambda settings, features: make_welcome(settings, ("preview", *features))


@mutant("PXW-AUT-007", token=True)
def any_token_will_do() -> None:
    def nod(self: Guard, request: Any, wall: float) -> Identity:
        self.identity = Identity("alice")
        return self.identity

    Guard.check = nod  # type: ignore[method-assign]


@mutant("PXW-AUT-001", token=True)
def serves_before_auth() -> None:
    around(Machine, "need_auth", lambda old, self: None)
    around(Session, "handle", lambda old, self, received: (setattr(self, "principal", "alice"), old(self, received)))


# ---------------------------------------------------------------------- streams


@mutant("PXW-STR-003")
def takes_even_ids() -> None:
    def any_id(old: Any, self: Any, stream: int) -> Any:
        if stream & 1:
            return old(self, stream)
        self._machine.last_stream = max(self._machine.last_stream, stream)
        return None

    around(judging.Judging, "_on_request_header", any_id)


@mutant("PXW-STR-009")
def forgets_end() -> None:
    def endless(message: Any, stream: int, flags: int, limit: int) -> Any:
        return encode_within(message, stream, flags & ~Flag.END if type(message) is Result else flags, limit)

    sending.encode_within = endless


@mutant("PXW-STR-009")
def answers_twice() -> None:
    def twice(old: Any, self: Outbox, stream: Stream, frames: Any) -> None:
        old(self, stream, frames)
        old(self, stream, frames)

    around(Outbox, "reply", twice)


@mutant("PXW-STR-018")
def reset_cancels_the_job() -> None:
    cancels_on(Session, "handle", lambda received: type(received.message).__name__ == "Reset")


@mutant("PXW-CON-014")
def end_of_connection_cancels_jobs() -> None:
    def cancelling(old: Any, self: PxwProtocol, *arguments: Any) -> Any:
        cancel_all(self._session._jobs)
        return old(self, *arguments)

    around(PxwProtocol, "eof_received", cancelling)


def cancels_on(owner: Any, name: str, when: Callable[[Any], bool]) -> None:
    def cancelling(old: Any, self: Any, argument: Any) -> Any:
        if when(argument):
            cancel_all(self._jobs)
        return old(self, argument)

    around(owner, name, cancelling)


def cancel_all(jobs: Any) -> None:
    for principal, job in list(jobs.jobs):
        jobs.cancel(principal, job, "")


@mutant("PXW-STR-020")
def no_bound_on_streams() -> None:
    def roomy(old: Any, self: Any, stream: int) -> Any:
        streams, self._machine.streams = self._machine.streams, {}
        try:
            return old(self, stream)
        finally:
            self._machine.streams = streams

    around(judging.Judging, "_on_request_header", roomy)


@mutant("PXW-STR-017")
def late_frames_are_faults() -> None:
    def strict(old: Any, self: Any, rule: Any, stream: int, length: int) -> Any:
        raise RemoteProtocolError(ErrorCode.STREAM_ID, "the stream has ended")

    around(judging.Judging, "_on_late_header", strict)


# ---------------------------------------------------------------------- credit


@mutant("PXW-FLW-001")
def data_beyond_the_streams_credit() -> None:
    around(Stream, "__init__", lambda old, self, stream, kind, send, receive: old(self, stream, kind, 1 << 30, receive))


@mutant("PXW-FLW-002")
def data_beyond_the_connections_credit() -> None:
    def generous(old: Any, self: Any, peer: Any) -> None:
        old(self, peer)
        self._machine.outbox.window.available = 1 << 30

    around(receiving.Receiving, "_meet", generous)


@mutant("PXW-FLW-005")
def credit_of_nothing() -> None:
    around(SendWindow, "grant", lambda old, self, n: old(self, n) if n > 0 else None)


@mutant("PXW-FLW-006")
def windows_without_end() -> None:
    def grow(old: Any, self: SendWindow, n: int) -> None:
        if 0 < n < 1 << 31:
            self.available += n
        else:
            old(self, n)

    around(SendWindow, "grant", grow)


@mutant("PXW-FLW-003", max_upload=1 << 20)
def takes_data_beyond_credit() -> None:
    from pixwire_protocol.flow import ReceiveWindow

    def patient(old: Any, self: ReceiveWindow, n: int, where: str) -> None:
        self.available = max(self.available, n)
        old(self, n, where)

    around(ReceiveWindow, "receive", patient)


# ---------------------------------------------------------------------- uploads


@mutant("PXW-UPL-008")
def late_data_kills_the_connection() -> None:
    def kill(old: Any, self: Any, rule: Any, stream: int, length: int) -> Any:
        if rule.is_data:
            raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that has ended")
        return old(self, rule, stream, length)

    around(judging.Judging, "_on_late_header", kill)


@mutant("PXW-UPL-008")
def no_early_answer() -> None:
    def begin(old: Any, self: PlayingJobs, principal: str, job: str, *rest: Any, **named: Any) -> Any:
        known = self.requests.pop((principal, job), None)
        self.stored.clear()
        answer = old(self, principal, job, *rest, **named)
        if known is not None:
            self.requests[principal, job] = known
        return answer

    around(PlayingJobs, "begin_upload", begin)


@mutant("PXW-UPL-003")
def takes_an_early_end() -> None:
    around(Stream, "upload_problem", lambda old, self, size, end: None if end else old(self, size, end))


@mutant("PXW-UPL-014")
def does_not_verify_attachments() -> None:
    PlayingJobs.verify = lambda self, attachments, data: None  # type: ignore[method-assign]


@mutant("PXW-UPL-017")
def attachments_not_in_the_fingerprint() -> None:
    playing_jobs.marks = lambda request: f"{request.kind}{request.tail!r}"


@mutant("PXW-LIM-003")
def any_number_of_tiny_data() -> None:
    judging.Judging._count_small = lambda self: None  # type: ignore[method-assign]


# ---------------------------------------------------------------------- requests


@mutant("PXW-KAL-001")
def pong_with_other_bytes() -> None:
    receiving.Pong = lambda payload: Pong(payload[::-1])  # type: ignore[misc, assignment]


@mutant("PXW-KAL-002")
def pong_behind_data() -> None:
    def hold(old: Any, self: Outbox, max_bytes: int) -> Any:
        control, self._control = self._control, type(self._control)()
        out = old(self, max_bytes)
        self._control = control
        return out or old(self, max_bytes)

    around(Outbox, "take", hold)


@mutant("PXW-REQ-001")
def answers_before_the_commit() -> None:
    asked: set[str] = set()

    def unseen(old: Any, self: PlayingJobs, principal: str, job: str, *rest: Any) -> Any:
        if job not in asked:
            asked.add(job)
            return failed(RequestError(ErrorCode.JOB_NOT_FOUND, "not yet"))
        return old(self, principal, job, *rest)

    around(PlayingJobs, "status", unseen)


@mutant("PXW-REQ-003")
def duplicate_is_never_said() -> None:
    def forgetful(old: Any, self: PlayingJobs, request: Any) -> Any:
        future = old(self, request)
        if future is not None and future.exception() is None:
            return playing_jobs.done(replace(future.result(), duplicate=False))
        return future

    around(PlayingJobs, "_known", forgetful)


@mutant("PXW-REQ-004")
def no_conflict() -> None:
    playing_jobs.marks = lambda request: request.kind


@mutant("PXW-REQ-010")
def leaves_out_a_state() -> None:
    def quiet(old: Any, self: Feed, event: Any) -> None:
        if event.status.state is not JobState.RUNNING:
            old(self, event)

    from pixwire_server.doors import feed

    around(Feed, "_on_state", quiet)
    feed._FORWARD[playing_jobs.StateChanged] = Feed._on_state


@mutant("PXW-REQ-011")
def progress_for_everybody() -> None:
    Session._lossy = lambda self, want: frozenset({"progress"})  # type: ignore[method-assign]


@mutant("PXW-REQ-015")
def errors_without_details() -> None:
    def bare(old: Any, self: Replies, stream: int, error: RequestError, *rest: Any) -> None:
        old(self, stream, RequestError(error.code, error.message, None, error.retry_after_ms), *rest)

    around(Replies, "fail", bare)


@mutant("PXW-REQ-016")
def drops_unknown_parameters() -> None:
    known = {"prompt", "width", "height", "steps", "seed", "count", "guidance_scale", "media_type", "model", "strength"}

    def parse(old: Any, tail: bytes, *rest: Any) -> Any:
        with contextlib.suppress(ValueError):
            tail = msgpack.packb({k: v for k, v in msgpack.unpackb(tail).items() if k in known})
        return old(tail, *rest)

    around(playing_jobs, "parse", parse)


@mutant("PXW-REQ-018")
def another_code_for_unknown_jobs() -> None:
    def unknown(old: Any, self: PlayingJobs, principal: str, job: str) -> Any:
        try:
            return old(self, principal, job)
        except RequestError as error:
            raise RequestError(ErrorCode.JOB_EXPIRED, error.message) from None

    around(PlayingJobs, "_find", unknown)


@mutant("PXW-REQ-019")
def cancel_changes_what_is_over() -> None:
    def eager(old: Any, self: PlayingJobs, principal: str, job: str, reason: str) -> Any:
        self.change(job, JobState.CANCELLED, error=playing_jobs.CANCELLED, principal=principal)
        return old(self, principal, job, reason)

    around(PlayingJobs, "cancel", eager)


@mutant("PXW-REQ-021")
def ignores_the_offset() -> None:
    around(ImageSender, "_opened", lambda old, self, part, image: old(self, replace(part, offset=0), image))


@mutant("PXW-REQ-021")
def bytes_from_one_further_on() -> None:
    def shifted(old: Any, self: ImageSender, part: Any, image: Any) -> None:
        data = memoryview(bytes(image.data)[1:] + b"\0") if part.offset else image.data
        old(self, part, SimpleNamespace(info=image.info, data=data, close=image.close))

    around(ImageSender, "_opened", shifted)


@mutant("PXW-REQ-023")
def ignores_the_etag() -> None:
    def any_etag(old: Any, self: PlayingJobs, principal: str, job: str, index: int, etag: Any = None) -> Any:
        return old(self, principal, job, index)

    around(PlayingJobs, "artifact", any_etag)


@mutant("PXW-REQ-034")
def pages_overlap() -> None:
    def page(old: Any, self: PlayingJobs, principal: str, limit: int, after: Any, states: Any) -> Any:
        found = old(self, principal, limit + 1, after, states).result()
        return playing_jobs.done(replace(found, jobs=found.jobs[:limit], next=found.next))

    around(PlayingJobs, "list_jobs", page)


@mutant("PXW-REQ-033")
def oldest_first() -> None:
    def page(old: Any, self: PlayingJobs, *arguments: Any) -> Any:
        found = old(self, *arguments).result()
        return playing_jobs.done(replace(found, jobs=found.jobs[::-1]))

    around(PlayingJobs, "list_jobs", page)


@mutant("PXW-REQ-031")
def forgets_the_trace() -> None:
    around(PlayingJobs, "submit", lambda old, self, *arguments, trace=None: old(self, *arguments))


@mutant("PXW-JOB-011")
def cancelled_without_error() -> None:
    around(PlayingJobs, "change", lambda old, self, *arguments, error=None, **named: old(self, *arguments, **named))


# ---------------------------------------------------------------------- extension, floods


@mutant("PXW-EXT-004")
def answers_ignorable_frames() -> None:
    judging.EXTENSIONS = range(0)  # type: ignore[misc]


@mutant("PXW-EXT-005")
def unknown_frames_kill() -> None:
    def kill(old: Any, self: Any, stream: int, problem: str) -> None:
        raise RemoteProtocolError(ErrorCode.PROTOCOL_ERROR, problem)

    around(judging.Judging, "_refuse_unknown", kill)


@mutant("PXW-LIM-008", "PXW-LIM-009", "PXW-LIM-010")
def no_bound_on_floods() -> None:
    Rates.check = lambda self, counts, now: None  # type: ignore[method-assign]


@mutant("PXW-LIM-006", stream_rate=50)
def no_rate_of_streams() -> None:
    Rates.open = lambda self, now: None  # type: ignore[method-assign]
