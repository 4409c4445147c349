"""The calls a client can make, as values: what is asked, how the answer is read, what of the arguments is wrong.

Everything a shell offers is one of these handed to its session, so the asyncio client and a synchronous twin cannot
differ in what they send. SPEC 8, 9.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, cast

from pixwire_protocol import messages
from pixwire_protocol.forms import show
from pixwire_protocol.record import record
from pixwire_protocol.status import JobState, JobStatus, JobSummary, ModelInfo

from ..arguments import NO_TRACE, Trace, check_field
from ..errors import invalid
from ..image import Image
from .calls import Call, ServerName
from .uploads import Upload


@record
class JobOrder:
    """A job to be submitted: its id, its kind, its parameters as they go over the wire, and what belongs to it."""

    job: str
    kind: str
    params: bytes
    upload: Upload | None = None
    trace: Trace = NO_TRACE
    terms: Mapping[str, Any] = field(default_factory=dict)
    """Fields of SUBMIT that say how the job is to be treated."""


@record
class JobPage:
    """A piece of the list of jobs; `next` is where the next one begins, None after the last."""

    jobs: tuple[JobSummary, ...]
    next: str | None


def submit(order: JobOrder) -> Call[JobStatus]:
    """Asks for a job; done when the server has it on disk."""
    return Call("submit", _submit(order), order.job, _status, upload=order.upload)


def generate(order: JobOrder, want: tuple[str, ...]) -> Call[list[Image]]:
    """Asks for a job, hears of it and takes its images, all in one round trip."""
    request = _submit(order, watch=True, want=want, deliver=True)
    return Call("generate", request, order.job, _images, watch=True, deliver=True, want=want, upload=order.upload)


def status(job: str, known_at: ServerName | None = None) -> Call[JobStatus]:
    """Asks how a job is. `known_at`: the server that is known to have it, here and in the others."""
    return Call("status", messages.Status(job=job), job, _status, known_at=known_at)


def cancel(job: str, reason: str | None, known_at: ServerName | None = None) -> Call[JobStatus]:
    """Asks for the end of a job. Raises InvalidArgument for a reason that is too long."""
    reason = reason or ""
    check_field("CANCEL", "reason", reason, "reason")
    return Call("cancel", messages.Cancel(job, reason), job, _status, known_at=known_at)


def watch(job: str, want: tuple[str, ...], known_at: ServerName | None = None) -> Call[JobStatus]:
    """Hears of a job until it ends."""
    request = messages.Watch(job=job, want=want)
    return Call("watch", request, job, _status, watch=True, want=want, known_at=known_at)


def events(job: str, *, previews: bool, timesteps: bool, known_at: ServerName | None = None) -> Call[JobStatus]:
    """`watch` with everything that happens to the job."""
    more = {"preview": previews, "timesteps": timesteps}
    return watch(job, ("progress", *(name for name, wanted in more.items() if wanted)), known_at)


def deliver(job: str, known_at: ServerName | None = None) -> Call[list[Image]]:
    """Waits for the end of a job and takes all its images."""
    request = messages.Watch(job=job, deliver=True)
    return Call("images", request, job, _images, watch=True, deliver=True, known_at=known_at)


def fetch(job: str, index: int, known_at: ServerName | None = None, *, tells_bytes: bool = False) -> Call[Image]:
    """Takes one image of a job that has succeeded. Raises InvalidArgument for an index no image can have."""
    check_field("FETCH", "artifact", index, "index")
    request = messages.Fetch(job=job, artifact=index)
    return Call("image", request, job, _first_image, known_at=known_at, tells_bytes=tells_bytes)


def models() -> Call[tuple[ModelInfo, ...]]:
    """Asks which models the server has."""
    return Call("models", messages.List("models"), None, _models)


def jobs(
    limit: int, after: str | None, states: tuple[str, ...], tag: str | None = None, home: str | None = None
) -> Call[JobPage]:
    """Asks for a page of the caller's jobs, at the server `home` when there are several.

    Raises InvalidArgument for a limit, state or tag that cannot be.
    """
    check_field("LIST", "limit", limit, "limit")
    if tag is not None:
        check_field("LIST", "tag", tag, "tag")
    for state in states:
        if state not in tuple(JobState):
            allowed = ", ".join(JobState)
            raise invalid("states", str(state)[:64], allowed, f"states must be of {allowed}, not {str(state)[:64]!r}")
    return Call("jobs", messages.List("jobs", limit, after, states, tag), None, _jobs, home=home)


def admin(action: str, fields: Mapping[str, Any], servers: int = 1) -> Call[dict[str, Any]]:
    """Asks the server to show or change what it does. Raises InvalidArgument for a field that cannot be sent, and for
    more than one server: which of them is meant?
    """
    if servers > 1:
        text = f"admin is about one server, and this client has {servers}: connect to the URL of the one that is meant"
        raise invalid("url", servers, "the URL of one server", text)
    given = {name: value for name, value in {"action": action, **fields}.items() if value is not None}
    known = messages.CODECS["ADMIN"].fields
    for name, value in given.items():
        if name not in known:
            allowed = ", ".join(other for other in known if other != "action")
            raise invalid(name, show(value), allowed, f"admin has no field {name[:64]!r}; it has {allowed}")
        check_field("ADMIN", name, value, name)
    return Call(f"admin {action}", messages.Admin(**given), given.get("job"), _body)


def ping() -> Call[float]:
    """Measures the round trip, in seconds."""
    return Call("ping", None, None, lambda call: call.outcome)


def _submit(order: JobOrder, **more: Any) -> messages.Submit:
    attachments = () if order.upload is None else order.upload.attachments
    trace = order.trace
    return messages.Submit(
        order.job,
        order.kind,
        order.params,
        attachments=attachments,
        traceparent=trace.traceparent,
        tracestate=trace.tracestate,
        **order.terms,
        **more,
    )


def _status(call: Call[JobStatus]) -> JobStatus:
    return call.status  # type: ignore[return-value]  # a call is finished by the message that holds it


def _images(call: Call[list[Image]]) -> list[Image]:
    return call.images


def _body(call: Call[dict[str, Any]]) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", call.body))


def _first_image(call: Call[Image]) -> Image:
    return call.images[0]


def _models(call: Call[tuple[ModelInfo, ...]]) -> tuple[ModelInfo, ...]:
    return tuple(ModelInfo.from_map(model) for model in _listed(call, "models"))


def _jobs(call: Call[JobPage]) -> JobPage:
    following = cast("Mapping[str, Any]", call.body).get("next")
    if not isinstance(following, str | None):
        raise TypeError(f"next is {following!r}")  # a call reports it as what it is: a server's mistake
    return JobPage(tuple(JobSummary.from_map(job) for job in _listed(call, "jobs")), following)


def _listed(call: Call[Any], name: str) -> list[Any]:
    found = cast("Mapping[str, Any]", call.body)[name]
    if not isinstance(found, list):
        raise TypeError(f"{name} is {found!r}")
    return found
