"""Defects of a server in what it makes of requests."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgpack
import playing_jobs
from mutation import mutant
from patching import around
from playing_jobs import PlayingJobs, failed

from pixwire_protocol import receiving
from pixwire_protocol.messages import Pong
from pixwire_protocol.outbox import Outbox
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState
from pixwire_server.doors.feed import Feed
from pixwire_server.doors.images import ImageSender
from pixwire_server.doors.replies import Replies
from pixwire_server.doors.session import Session
from pixwire_server.jobs import RequestError

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


@mutant("PXW-REQ-045")
def timesteps_for_everybody() -> None:
    def give(old: Any, self: Feed, body: dict[str, Any]) -> dict[str, Any]:
        return old(self, body) | {"timesteps": [1.0] * body["step"]}

    around(Feed, "_more", give)


@mutant("PXW-REQ-046")
def a_timestep_too_few() -> None:
    def lose(old: Any, self: Feed, body: dict[str, Any]) -> dict[str, Any]:
        body = old(self, body)
        return body | ({"timesteps": body["timesteps"][1:]} if "timesteps" in body else {})

    around(Feed, "_more", lose)


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
    def page(old: Any, self: PlayingJobs, principal: str, limit: int, after: Any, *chosen: Any) -> Any:
        found = old(self, principal, limit + 1, after, *chosen).result()
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
    around(PlayingJobs, "submit", lambda old, self, *arguments, trace=None, terms=None: old(self, *arguments))


@mutant("PXW-JOB-011")
def cancelled_without_error() -> None:
    around(PlayingJobs, "change", lambda old, self, *arguments, error=None, **named: old(self, *arguments, **named))
