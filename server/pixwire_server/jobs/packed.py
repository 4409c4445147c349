"""Waiting jobs in few bytes: a hundred thousand of them shall fit into a hundred megabytes.

What nearly every job has is one msgpack array; the few things that most do not have stay as they are. Pure.
"""

from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships none

from pixwire_protocol.params import GenerateParams
from pixwire_protocol.status import JobState

from .model import Job

_PARAMS = tuple(field.name for field in fields(GenerateParams) if field.name != "adapters")
_PACKED = ("principal", "id", "position", "kind", "fingerprint", "params", "submitted_ms", "steps")
_NOBODY = Job(0, "", "", "", "", GenerateParams(""), 0)
_USUAL: dict[str, Any] = {
    field.name: getattr(_NOBODY, field.name) for field in fields(Job) if field.name not in _PACKED
}
_all_params = attrgetter(*_PARAMS)
_all_else, _USUAL_VALUES = attrgetter(*_USUAL), tuple(_USUAL.values())
_packer = msgpack.Packer(buf_size=1024)
"""One for all: jobs are packed in the event loop only. The default buffer is larger than a thousand jobs."""

Packed = bytes | tuple[bytes, dict[str, Any]]
"""A job that waits, without its key; with what is not as with most jobs, where there is such."""


def pack(job: Job) -> Packed | None:
    """The job in few bytes; None for one that does not wait."""
    if job.state is not JobState.QUEUED:
        return None
    marked = _digits(job.fingerprint)
    data: bytes = _packer.pack([job.position, job.kind, marked, job.submitted_ms, job.steps, *_all_params(job.params)])
    rest: dict[str, Any] = {}
    if (values := _all_else(job)) != _USUAL_VALUES:
        rest = {name: value for (name, usual), value in zip(_USUAL.items(), values, strict=True) if value != usual}
    if job.params.adapters:
        rest["adapters"] = job.params.adapters
    return (data, rest) if rest else data


def unpack(packed: Packed, principal: str, job_id: str) -> Job:
    """The job that was packed."""
    data, more = (packed, {}) if isinstance(packed, bytes) else packed
    position, kind, mark, submitted_ms, steps, *values = msgpack.unpackb(data)
    rest = dict(more)
    params = GenerateParams(**dict(zip(_PARAMS, values, strict=True)), adapters=rest.pop("adapters", ()))
    fingerprint = mark if isinstance(mark, str) else mark.hex()
    return Job(position, principal, job_id, kind, fingerprint, params, submitted_ms, steps=steps, **rest)


def _digits(fingerprint: str) -> str | bytes:
    """Half as long, if these are the digits that they should be."""
    try:
        data = bytes.fromhex(fingerprint)
    except ValueError:
        return fingerprint
    return data if data.hex() == fingerprint else fingerprint
