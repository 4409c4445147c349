"""What users pass to `generate` and `submit`: the types of it, and what is wrong with it before anything is sent.

SPEC 8.8.
"""

import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack

from pixwire_protocol import job_ids, messages
from pixwire_protocol.fields import show
from pixwire_protocol.params import PARAMS, Adapter, ParamError, pack
from pixwire_protocol.record import record

from .errors import invalid
from .events import DownloadProgress, Heard, Preview, Progress, StateChange, UploadProgress

if TYPE_CHECKING:
    from .sources import ImageSource


Priority = Literal["low", "normal", "high"]
AdapterChoice = str | tuple[str, float] | Mapping[str, Any] | Adapter
"""A LoRA that the server has: its name, name and weight (-4 to 4; 1 when left out), or both in a mapping."""

MOST_SECONDS = 0x7FFFFFFF / 1000
"""The longest deadline: the wire counts milliseconds in 31 bits."""


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
    ip_scale: float | None
    adapters: Iterable[AdapterChoice] | None


class SubmitArguments(GenerateOptions, total=False):
    """The parameters of a picture, the images that go with it, and how the job is to be treated."""

    image: "ImageSource | None"
    mask: "ImageSource | None"
    control: "ImageSource | None"
    style: "ImageSource | None"
    priority: Priority | None
    deadline: float | None
    queue_ttl: float | None
    run_timeout: float | None
    tags: Iterable[str]
    job_id: str | None
    traceparent: str | None
    tracestate: str | None


class GenerateArguments(SubmitArguments, total=False):
    """Everything `generate` takes beside `prompt` and `count`."""

    on_progress: Callable[[Progress], object] | None
    on_preview: Callable[[Preview], object] | None
    on_state: Callable[[StateChange], object] | None
    on_upload: Callable[[int, int], object] | None
    timeout: float | None


F = TypeVar("F", bound=Callable[..., Any])


def spelled_out(arguments: Any) -> Callable[[F], F]:
    """Makes `help`, editors and notebooks show the keys of a TypedDict in place of `**arguments: Unpack[...]`."""

    def spell(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {p.name for p in own}
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in arguments.__annotations__.items()
            if name not in names
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return spell


@record
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


@record
class Terms:
    """How a job is to be treated, which changes nothing in its images. Times are seconds, None: no bound. SPEC 8.3.

    priority: which jobs go first: low, normal or high.
    deadline: from acceptance to the end; then the job is expired. queue_ttl: till it starts. run_timeout: for each run.
    tags: up to eight labels of 1 to 64 bytes, to list the job by.
    """

    priority: str | None = None
    deadline: float | None = None
    queue_ttl: float | None = None
    run_timeout: float | None = None
    tags: Iterable[str] = ()

    def head(self) -> dict[str, Any]:
        """The fields of SUBMIT that say so. Raises InvalidArgument naming the argument that is wrong."""
        fields: dict[str, Any] = {}
        if self.priority is not None:
            check_field("SUBMIT", "priority", self.priority, "priority")
            fields["priority"] = self.priority
        if not (self.deadline is self.queue_ttl is self.run_timeout is None):
            for argument, name in _TIMES.items():
                seconds = getattr(self, argument)
                if seconds is not None:
                    fields[name] = _milliseconds(argument, seconds)
        if self.tags == ():
            return fields
        if isinstance(self.tags, str):
            raise invalid("tags", self.tags[:64], "a list of strings", f"tags must be a list: [{self.tags[:64]!r}]")
        tags = list(self.tags)
        if tags:
            check_field("SUBMIT", "tags", tags, "tags")
            fields["tags"] = tuple(tags)
        return fields


_TIMES = {"deadline": "timeout_ms", "queue_ttl": "queue_ttl_ms", "run_timeout": "run_timeout_ms"}


def _milliseconds(argument: str, seconds: Any) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MOST_SECONDS:
        allowed = f"seconds above 0 and up to {MOST_SECONDS:,.0f}, counted from now"
        raise invalid(argument, show(seconds), allowed, f"{argument} must be {allowed}, not {show(seconds)}")
    return max(1, round(seconds * 1000))


class EventCallbacks:
    """Hands each event to the callback for its kind; `want` says which kinds to ask the server for."""

    def __init__(
        self,
        on_progress: Callable[[Progress], object] | None = None,
        on_preview: Callable[[Preview], object] | None = None,
        on_state: Callable[[StateChange], object] | None = None,
        on_upload: Callable[[int, int], object] | None = None,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> None:
        self._by_kind: dict[type, Callable[[Any], object] | None] = {
            Progress: on_progress,
            Preview: on_preview,
            StateChange: on_state,
            UploadProgress: None if on_upload is None else lambda event: on_upload(event.sent, event.total),
            DownloadProgress: None if on_bytes is None else lambda event: on_bytes(event.received, event.total),
        }
        wanted = {"progress": on_progress, "preview": on_preview}
        self.want = tuple(kind for kind, callback in wanted.items() if callback is not None)

    def __call__(self, event: Heard) -> bool:
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
            "mask", None, "with an image only", "a mask says where to paint anew in an image: give the image, too"
        )
    return "inpaint" if mask else "img2img" if image else "txt2img"


def pack_params(
    kind: str, attachments: tuple[str, ...], prompt: str, count: int | None, **options: Unpack[GenerateOptions]
) -> bytes:
    """The parameters as they go over the wire, checked for a job of this kind with attachments of these names.

    Raises InvalidArgument naming field, value and what is allowed.
    """
    given: dict[str, Any] = {"prompt": prompt, "count": count, **options}
    if not given.keys() <= PARAMS.keys():
        raise TypeError(f"unexpected keyword argument {next(iter(given.keys() - PARAMS.keys()))!r}")
    try:
        if given.get("adapters") is not None:
            given["adapters"] = [adapter.to_map() for adapter in _adapters(given["adapters"])] or None
        return pack({name: given[name] for name in PARAMS if name in given}, kind, attachments)
    except ParamError as error:
        raise invalid(error.field, show(error.value), error.allowed, error.message) from None


def _adapters(given: Iterable[AdapterChoice] | None) -> tuple[Adapter, ...]:
    """The adapters as the protocol has them; what is wrong with a name or a weight `pack` says."""
    if isinstance(given, str | Mapping):
        allowed = "a list of names or of (name, weight)"
        raise invalid("adapters", str(given)[:64], allowed, f"adapters must be {allowed}, not one alone: [{given!r}]")
    return tuple(_adapter(one) for one in given or ())


def _adapter(one: Any) -> Adapter:
    if isinstance(one, str | Adapter):
        return Adapter(one) if isinstance(one, str) else one
    try:
        return Adapter(**one) if isinstance(one, Mapping) else Adapter(*one)
    except TypeError:
        allowed = "a name, (name, weight) or {'name': ..., 'weight': ...}"
        raise invalid("adapters", show(one), allowed, f"each of adapters must be {allowed}, not {show(one)}") from None
