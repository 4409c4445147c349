"""What users pass to `generate` and `submit`: the types of it, and what is wrong with it before anything is sent.

SPEC 8.8.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pixwire_protocol import job_ids, messages
from pixwire_protocol.fields import show
from pixwire_protocol.params import GenerateParams, ParamError

from .errors import invalid
from .events import Event, Preview, Progress, StateChange, UploadProgress

if TYPE_CHECKING:
    from .sources import ImageSource


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
    strength: float | None
    control_scale: float | None


class GenerateArguments(GenerateOptions, total=False):
    """Everything `generate` takes beside `prompt` and `count`."""

    image: "ImageSource | None"
    mask: "ImageSource | None"
    control: "ImageSource | None"
    job_id: str | None
    traceparent: str | None
    tracestate: str | None
    on_progress: Callable[[Progress], object] | None
    on_preview: Callable[[Preview], object] | None
    on_state: Callable[[StateChange], object] | None
    on_upload: Callable[[int, int], object] | None
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Which trace a job belongs to: the headers of the W3C recommendation "Trace Context", or None. SPEC 8.8.

    Nothing is taken from the surroundings by itself. With OpenTelemetry the present span is handed on like this:

        carrier = {}
        opentelemetry.propagate.inject(carrier)             # {"traceparent": ..., perhaps "tracestate": ...}
        image = await client.generate("a red circle", **carrier)
    """

    traceparent: str | None = None
    tracestate: str | None = None

    def check(self) -> "Trace":
        """Returns it. Raises InvalidArgument when it cannot be sent."""
        for name in ("traceparent", "tracestate"):
            value = getattr(self, name)
            if value is not None:
                check_field("SUBMIT", name, value, name)
        return self


NO_TRACE = Trace()


class EventCallbacks:
    """Hands each event to the callback for its kind; `want` says which kinds to ask the server for."""

    def __init__(
        self,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        on_upload: Callable[[int, int], object] | None = None,
    ) -> None:
        self._by_kind: dict[type, Callable[[Any], object] | None] = {
            Progress: on_progress,
            Preview: on_preview,
            StateChange: on_state,
            UploadProgress: None if on_upload is None else lambda event: on_upload(event.sent, event.total),
        }
        wanted = {"progress": on_progress, "preview": on_preview}
        self.want = tuple(kind for kind, callback in wanted.items() if callback is not None)

    def __call__(self, event: Event | UploadProgress) -> bool:
        callback = self._by_kind[type(event)]
        if callback is not None:
            callback(event)
        return True


def new_job_id() -> str:
    """A job id nobody else has: a UUID version 7, so ids sort by the time they were made."""
    return job_ids.new_job_id(time.time_ns() // 1_000_000, os.urandom(job_ids.RANDOM_BYTES))


def check_field(message: str, field: str, value: Any, argument: str) -> None:
    """Raises InvalidArgument when `value`, given as `argument`, may not stand in that field of that message."""
    rule = messages.CODECS[message].fields[field]
    if type(value) is not rule.kind or not rule.check(value):
        raise invalid(argument, show(value), rule.allowed, f"{argument} must be {rule.allowed}, not {show(value)}")


def check_job_id(job: str) -> str:
    """Returns the job id. Raises InvalidArgument when it cannot be one."""
    check_field("STATUS", "job", job, "job id")
    return job


def kind_of(*, image: bool, mask: bool) -> str:
    """The kind of job that these images ask for. Raises InvalidArgument for a mask without an image."""
    if mask and not image:
        raise invalid(
            "mask", None, "with an image only", "a mask says where to paint anew in an image; give image= too"
        )
    return "inpaint" if mask else "img2img" if image else "txt2img"


def pack_params(
    kind: str, attachments: tuple[str, ...], prompt: str, count: int | None, **options: Unpack[GenerateOptions]
) -> bytes:
    """The parameters as they go over the wire, checked for a job of this kind with attachments of these names.

    Raises InvalidArgument naming field, value and what is allowed.
    """
    try:
        return GenerateParams(prompt, count=count, **options).pack(kind, attachments)
    except ParamError as error:
        raise invalid(error.field, show(error.value), error.allowed, error.message) from None
