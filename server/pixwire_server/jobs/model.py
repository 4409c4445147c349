"""A job as plain frozen data, and every way it may change. Pure: no clock, no I/O; a changed job is a new object."""

import json
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from types import MappingProxyType
from typing import Any

from pixwire_protocol import params
from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import GenerateParams
from pixwire_protocol.record import record
from pixwire_protocol.registry import ERRORS, ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobError, JobState, JobStatus, JobSummary
from pixwire_server.store import ARTIFACTS, FileRef, JobRow

from . import json_text
from .errors import incident
from .request import NO_TERMS, NO_TRACE, Terms, Trace
from .state import Cause, next_state

RECOVERY_GAP = 1_000_000
"""What a restart adds to `seq`: more events than a job can have had since its last journalled one, so none is ever
repeated.
"""

MAX_MESSAGE = 1000
"""Characters kept of an error message: it is told to people, and travels in every status."""

_NOTHING: Mapping[str, float] = MappingProxyType({})

_to_json = json_text.encoder()


@record
class Job:
    """One accepted job. `seq` is the number of its latest event; the first is 1."""

    position: int
    """Its place in the order of arrival, over all jobs ever."""
    principal: str
    id: str
    kind: str
    fingerprint: str
    params: GenerateParams
    """The request with every choice made, also the seed: running it again makes the same image."""
    submitted_ms: int
    state: JobState = JobState.QUEUED
    seq: int = 1
    attempt: int = 1
    """Which run this is, or will be; the first is 1."""
    started: bool = False
    """Whether there was a run already, counted as an attempt or not."""
    step: int = 0
    steps: int = 0
    finished_ms: int | None = None
    cancel_reason: str | None = None
    """Set when a cancel was asked for while the job was running."""
    attachments: tuple[Attachment, ...] = ()
    trace: Trace = NO_TRACE
    artifacts: tuple[ArtifactInfo, ...] = ()
    error: JobError | None = None
    timings: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    engine: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    terms: Terms = NO_TERMS

    @property
    def key(self) -> tuple[str, str]:
        return self.principal, self.id


def change(job: Job, cause: Cause, **fields: Any) -> Job:
    """The job after `cause`, with one more event. Raises IllegalTransition when it cannot happen to it now."""
    return replace(job, state=next_state(job.state, cause), seq=job.seq + 1, **fields)


def progressed(job: Job, step: int, steps: int) -> Job:
    """The job after one more step: an event that is not journalled."""
    return replace(job, seq=job.seq + 1, step=step, steps=steps)


def lost(job: Job, max_attempts: int) -> tuple[Cause, dict[str, Any]]:
    """What happens to a running job whose engine died: the arguments for `change`.

    It waits for another attempt; it is cancelled if that was asked for; and it fails after `max_attempts`, so that a
    job which kills its engine cannot do so for ever.
    """
    if job.cancel_reason is not None:
        return Cause.CANCELLED, {"error": cancelled(job.cancel_reason)}
    if job.attempt >= max_attempts:
        message = f"the engine died in each of the {job.attempt} attempts to run this job; another request may work"
        return Cause.FAILED, {"error": error(ErrorCode.WORKER_LOST, message)}
    return Cause.REQUEUED, {"attempt": job.attempt + 1, "step": 0}


def error(code: ErrorCode, message: str) -> JobError:
    """The error of a job that ended badly."""
    return JobError(code=int(code), name=code.name, message=message[:MAX_MESSAGE], retry=ERRORS[code].retry)


def broken(defect: Exception) -> JobError:
    """The error of a job that met a defect of this program, which is logged."""
    return error(ErrorCode.INTERNAL, incident(defect))


def cancelled(reason: str) -> JobError:
    return error(ErrorCode.CANCELLED, reason or "cancelled on request")


@record
class Outlook:
    """What is expected of a job that has not ended."""

    queue_position: int | None
    """About 1 for the next to start; None for one that does not wait."""
    eta_ms: int
    """From now to its end, about."""
    deadline_ms: int | None = None
    """What is left of the time it was given."""


def status(
    job: Job, outlook: Outlook | None = None, *, retain_ms: int | None = None, with_params: bool = False
) -> JobStatus:
    """The job as the wire shows it. `with_params`: also what was asked for, attachments included."""
    return JobStatus(
        job=job.id,
        kind=job.kind,
        state=job.state,
        seq=job.seq,
        attempt=job.attempt,
        step=job.step,
        steps=job.steps,
        seed=job.params.seed,
        queue_position=None if outlook is None else outlook.queue_position,
        artifacts=job.artifacts,
        error=job.error,
        timings=job.timings or None,
        engine=job.engine or None,
        params=job.params.to_map() if with_params else None,
        traceparent=job.trace.traceparent,
        retain_ms=retain_ms,
        attachments=job.attachments if with_params else (),
        priority=job.terms.priority,
        tags=job.terms.tags,
        eta_ms=None if outlook is None else outlook.eta_ms,
        deadline_ms=None if outlook is None else outlook.deadline_ms,
    )


def artifact_files(job: Job) -> tuple[FileRef, ...]:
    """The files of its images."""
    return tuple(FileRef(ARTIFACTS, artifact.etag, artifact.size) for artifact in job.artifacts)


def summary(job: Job, now_ms: int) -> JobSummary:
    """The job as a list shows it."""
    return JobSummary(
        job=job.id,
        kind=job.kind,
        state=job.state,
        seq=job.seq,
        step=job.step,
        steps=job.steps,
        artifacts=len(job.artifacts),
        age_ms=max(0, now_ms - job.submitted_ms),
        priority=job.terms.priority,
        tags=job.terms.tags,
        model=job.params.model,
    )


def params_text(params: GenerateParams) -> str:
    """Parameters as the journal keeps them."""
    return _to_json(params.to_map())


def to_row(job: Job, text: str | None = None) -> JobRow:
    """The job as the journal keeps it. `text`: its parameters, if they are at hand as `params_text` gives them."""
    return JobRow(
        position=job.position,
        principal=job.principal,
        job=job.id,
        kind=job.kind,
        fingerprint=job.fingerprint,
        params=params_text(job.params) if text is None else text,
        submitted_ms=job.submitted_ms,
        state=job.state.value,
        seq=job.seq,
        attempt=job.attempt,
        finished_ms=job.finished_ms,
        cancel_reason=job.cancel_reason,
        detail=_detail(job),
        attachments=_to_json([one.to_map() for one in job.attachments]) if job.attachments else "[]",
        traceparent=job.trace.traceparent,
        tracestate=job.trace.tracestate,
        terms=_terms_to_json(job.terms),
    )


def _detail(job: Job) -> str:
    more: dict[str, Any] = {}
    if job.started:
        more["started"] = True
    if job.artifacts:
        more["artifacts"] = [artifact.to_map() for artifact in job.artifacts]
    if job.error is not None:
        more["error"] = job.error.to_map()
    if job.timings:
        more["timings"] = job.timings
    if job.engine:
        more["engine"] = job.engine
    if not more:  # what every job begins with is written by the hundred at a time
        return f'{{"step":{job.step},"steps":{job.steps}}}'
    return _to_json({"step": job.step, "steps": job.steps} | more)


def from_row(row: JobRow) -> Job:
    """The job that the journal kept; not for tombstones."""
    detail = json.loads(row.detail)
    return Job(
        position=row.position,
        principal=row.principal,
        id=row.job,
        kind=row.kind,
        fingerprint=row.fingerprint,
        params=params.from_map(json.loads(row.params)),
        submitted_ms=row.submitted_ms,
        state=JobState(row.state),
        seq=row.seq,
        attempt=row.attempt,
        started=detail.get("started", False),
        step=detail["step"],
        steps=detail["steps"],
        finished_ms=row.finished_ms,
        cancel_reason=row.cancel_reason,
        attachments=tuple(Attachment(**one) for one in json.loads(row.attachments)),
        trace=Trace(row.traceparent, row.tracestate),
        artifacts=tuple(ArtifactInfo.from_map(artifact) for artifact in detail.get("artifacts", ())),
        error=JobError.from_map(detail["error"]) if detail.get("error") else None,
        timings=detail.get("timings", _NOTHING),
        engine=detail.get("engine", _NOTHING),
        terms=_terms_from_json(row.terms),
    )


def _terms_to_json(terms: Terms) -> str:
    """Only what is not as usual."""
    if terms is NO_TERMS or terms == NO_TERMS:
        return "{}"
    usual = asdict(NO_TERMS)
    return _to_json({name: value for name, value in asdict(terms).items() if value != usual[name]})


def _terms_from_json(text: str) -> Terms:
    if text == "{}":
        return NO_TERMS
    values = json.loads(text)
    return Terms(**values | {"tags": tuple(values.get("tags", ()))})


def recovered(job: Job, max_attempts: int, now_ms: int) -> Job:
    """An unfinished job after a restart of the server: queued again, or at its end if it may not run again."""
    job = replace(job, seq=job.seq + RECOVERY_GAP)
    if job.state is JobState.QUEUED:
        return job
    cause, fields = lost(job, max_attempts)
    job = change(job, cause, **fields)
    return replace(job, finished_ms=now_ms) if job.state.terminal else job
