"""Server-sent events (the HTML standard): how they are written. Pure."""

import base64
from typing import Any, Final

from pixwire_server.doors.http.problems import to_json
from pixwire_server.jobs import JobEvent, PreviewShown, Progressed, StateChanged

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
BEAT: Final = b":\n\n"
"""A comment: shows both sides that the other one is there."""
RECONNECT_MS: Final = 1000
HELLO: Final = b"retry: %d\n\n" % RECONNECT_MS


def event(name: str, data: Any, number: int | None = None) -> bytes:
    """One event; `data` is sent as JSON, which has no line breaks."""
    mark = b"" if number is None else b"id: %d\n" % number
    return b"".join((mark, b"event: ", name.encode(), b"\ndata: ", to_json(data), b"\n\n"))


def last_seen(field: str | None) -> int:
    """The number in a `Last-Event-ID` field; -1 when there is none that could be ours."""
    if field is None or not field.isascii() or not field.isdecimal() or len(field) > 19:
        return -1
    return int(field)


def number_of(told: JobEvent) -> int:
    """Its place among the events of its job."""
    return told.status.seq if isinstance(told, StateChanged) else told.seq


def job_event(told: JobEvent) -> bytes:
    """What Jobs told, as one event: `state` (a status map), `progress` or `preview` (its picture in base64)."""
    if isinstance(told, StateChanged):
        return event("state", told.status.to_map(), told.status.seq)
    if isinstance(told, Progressed):
        values = {"job": told.job, "seq": told.seq, "step": told.step, "steps": told.steps, "attempt": told.attempt}
        return event("progress", values, told.seq)
    return event("preview", _preview(told), told.seq)


def _preview(told: PreviewShown) -> dict[str, Any]:
    return {
        "job": told.job,
        "seq": told.seq,
        "step": told.step,
        "steps": told.steps,
        "media_type": told.media_type,
        "width": told.width,
        "height": told.height,
        "data": base64.b64encode(told.image).decode(),
    }
