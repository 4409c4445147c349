"""The calls a client can make, as values: what is asked, how the answer is read, what of the arguments is wrong.

Everything a shell offers is one of these handed to its session, so the asyncio client and a synchronous twin cannot
differ in what they send. SPEC 8, 9.
"""

import os
import time
from collections.abc import Callable
from typing import Any, TypedDict, Unpack, cast

from pixwire_protocol import job_ids, messages
from pixwire_protocol.fields import show
from pixwire_protocol.params import KIND, GenerateParams, ParamError
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobStatus

from .calls import Call
from .errors import InvalidArgument
from .events import Event, Preview, Progress, StateChange
from .image import Image


class GenerateOptions(TypedDict, total=False):
    """The parameters of a picture beside its prompt; what is left out or None is the server's choice."""

    negative_prompt: str | None
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    seed: int | None
    model: str | None
    media_type: str | None


class GenerateArguments(GenerateOptions, total=False):
    """Everything `generate` takes beside `prompt` and `count`."""

    job_id: str | None
    on_progress: Callable[[Progress], object] | None
    on_preview: Callable[[Preview], object] | None
    on_state: Callable[[StateChange], object] | None
    timeout: float | None


class EventCallbacks:
    """Hands each event to the callback for its kind; `want` says which kinds to ask the server for."""

    def __init__(
        self,
        on_progress: Callable[[Progress], object] | None,
        on_preview: Callable[[Preview], object] | None,
        on_state: Callable[[StateChange], object] | None,
    ) -> None:
        self._by_kind: dict[type, Callable[[Any], object] | None] = {
            Progress: on_progress,
            Preview: on_preview,
            StateChange: on_state,
        }
        wanted = {"progress": on_progress, "preview": on_preview}
        self.want = tuple(kind for kind, callback in wanted.items() if callback is not None)

    def __call__(self, event: Event) -> bool:
        callback = self._by_kind[type(event)]
        if callback is not None:
            callback(event)
        return True


def new_job_id() -> str:
    """A job id nobody else has: a UUID version 7, so ids sort by the time they were made."""
    return job_ids.new_job_id(time.time_ns() // 1_000_000, os.urandom(job_ids.RANDOM_BYTES))


def invalid(field: str, value: Any, allowed: Any, message: str) -> InvalidArgument:
    """The error for an argument that was found wrong before anything was sent."""
    details = {"field": field, "value": value, "allowed": allowed}
    code = ErrorCode.INVALID_ARGUMENT
    return InvalidArgument(code, code.name, message, details=details)


def check_field(message: str, field: str, value: Any, argument: str) -> None:
    """Raises InvalidArgument when `value`, given as `argument`, may not stand in that field of that message."""
    rule = messages.CODECS[message].fields[field]
    if type(value) is not rule.kind or not rule.check(value):
        raise invalid(argument, show(value), rule.allowed, f"{argument} must be {rule.allowed}, not {show(value)}")


def check_job_id(job: str) -> str:
    """Returns the job id. Raises InvalidArgument when it cannot be one."""
    check_field("STATUS", "job", job, "job id")
    return job


def pack_params(prompt: str, count: int | None, **options: Unpack[GenerateOptions]) -> bytes:
    """The parameters as they go over the wire. Raises InvalidArgument naming field, value and what is allowed."""
    try:
        return GenerateParams(prompt, count=count, **options).pack()
    except ParamError as error:
        raise invalid(error.field, show(error.value), error.allowed, error.message) from None


def submit(job: str, params: bytes) -> Call[JobStatus]:
    """Asks for a job; done when the server has it on disk."""
    request = messages.Submit(job, KIND, params)
    return Call("submit", request, job, _status)


def generate(job: str, params: bytes, want: tuple[str, ...]) -> Call[list[Image]]:
    """Asks for a job, hears of it and takes its images, all in one round trip."""
    request = messages.Submit(job, KIND, params, watch=True, want=want, deliver=True)
    return Call("generate", request, job, _images, watch=True, deliver=True)


def status(job: str) -> Call[JobStatus]:
    """Asks how a job is."""
    return Call("status", messages.Status(job=job), job, _status)


def cancel(job: str, reason: str | None) -> Call[JobStatus]:
    """Asks for the end of a job. Raises InvalidArgument for a reason that is too long."""
    reason = reason or ""
    check_field("CANCEL", "reason", reason, "reason")
    return Call("cancel", messages.Cancel(job, reason), job, _status)


def watch(job: str, want: tuple[str, ...]) -> Call[JobStatus]:
    """Hears of a job until it ends."""
    return Call("watch", messages.Watch(job=job, want=want), job, _status, watch=True)


def deliver(job: str) -> Call[list[Image]]:
    """Waits for the end of a job and takes all its images."""
    return Call("images", messages.Watch(job=job, deliver=True), job, _images, watch=True, deliver=True)


def fetch(job: str, index: int) -> Call[Image]:
    """Takes one image of a job that has succeeded. Raises InvalidArgument for an index no image can have."""
    check_field("FETCH", "artifact", index, "index")
    return Call("image", messages.Fetch(job=job, artifact=index), job, lambda call: call.images[0])


def ping() -> Call[float]:
    """Measures the round trip, in seconds."""
    return Call("ping", None, None, lambda call: call.outcome)


def _status(call: Call[JobStatus]) -> JobStatus:
    return cast("JobStatus", call.status)  # a call is finished by the message that holds it


def _images(call: Call[list[Image]]) -> list[Image]:
    return call.images
