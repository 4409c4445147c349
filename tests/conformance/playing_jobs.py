"""The door tests' jobs in memory, playing themselves: each job runs in a few turns of the loop and makes its images."""

import asyncio
import hashlib
import io
import random
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memory_jobs import MODEL, MemoryJob, MemoryJobs
from PIL import Image
from playing_admin import PlayingAdmin

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.header import Buffer
from pixwire_protocol.params import KINDS, RAW_RGB, ParamError, fingerprint, parse
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobError, JobState, JobStatus, JobSummary, ModelInfo
from pixwire_server.jobs import JobPage, Progressed, RequestError, StateChanged, Submitted, Terms, Trace

IMAGE_BYTES = 3000
__all__ = ["PlayingJobs", "StateChanged"]

LONG = 50
"""A job of so many steps runs until it is cancelled, or its time is over; there is room for one such job at a time."""
SHORTEST_MS = 100
"""A long job takes at least so long: less time is refused at once."""
CANCELLED = JobError(int(ErrorCode.CANCELLED), "CANCELLED", "cancelled by its client")
KNOWN_KINDS = ("txt2img", "img2img", "inpaint")
OUR_MODEL = replace(
    MODEL,
    kinds=KNOWN_KINDS,
    attachments=("image", "mask"),
    adapters=("sketch",),
    media_types=(*MODEL.media_types, RAW_RGB),
)


@dataclass
class Request:
    """A SUBMIT as it is kept."""

    principal: str
    job: str
    kind: str
    tail: bytes
    attachments: tuple[Attachment, ...]
    trace: Trace | None
    terms: Terms

    def renamed(self, job: str) -> "Request":
        """The same under another id."""
        return replace(self, job=job)


class Incoming:
    """An upload: bytes collected in memory, verified at the end."""

    def __init__(self, jobs: "PlayingJobs", request: Request) -> None:
        self._jobs = jobs
        self._request = request
        self._data = bytearray()

    def write(self, data: Buffer) -> "Future[None]":
        self._data += data
        return done(None)

    def finish(self) -> "Future[Submitted]":
        try:
            self._jobs.verify(self._request.attachments, bytes(self._data))
            return self._jobs.accept(self._request)
        except RequestError as error:
            return failed(error)

    def abort(self) -> None:
        self._data.clear()


class PlayingJobs(MemoryJobs):
    """What is left of `MemoryJobs`: finding, watching, opening images."""

    max_upload = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: dict[tuple[str, str], Request] = {}
        self.long: list[Request] = []
        """Long jobs in the order of their arrival; the first of them runs."""
        self.admin: Any = PlayingAdmin(self)
        self.stored: dict[str, bytes] = {}
        """Attachments by digest: what a job of anybody has sent, so that nothing is sent twice."""

    # ------------------------------------------------------------------ the port

    def submit(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> "Future[Submitted]":
        request = Request(principal, job_id, kind, params_tail, (), trace, terms or Terms())
        return self._known(request) or self.accept(self._checked(request))

    def begin_upload(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        attachments: tuple[Attachment, ...],
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> "Future[Any]":
        request = Request(principal, job_id, kind, params_tail, attachments, trace, terms or Terms())
        known = self._known(request)
        if known is not None:
            return known
        self._checked(request)
        for index, attachment in enumerate(attachments):
            if attachment.size > self.max_upload:
                wrong = {"field": f"attachments[{index}].size", "value": attachment.size, "allowed": self.max_upload}
                raise RequestError(ErrorCode.INVALID_ARGUMENT, "larger than max_upload", wrong)
        if all(attachment.sha256 in self.stored for attachment in attachments):
            return self.accept(request)
        return done(Incoming(self, request))

    def list_jobs(
        self, principal: str, limit: int, after: str | None, states: Sequence[str], tag: str | None = None
    ) -> "Future[JobPage]":
        mine = [job.status for (whose, _), job in reversed(self.jobs.items()) if whose == principal]
        if after is not None:
            ids = [status.job for status in mine]
            if after not in ids:
                wrong = {"field": "after", "value": after}
                return failed(RequestError(ErrorCode.INVALID_ARGUMENT, "no such cursor", wrong))
            mine = mine[ids.index(after) + 1 :]
        chosen = [status for status in mine if not states or status.state.value in states]
        chosen = [status for status in chosen if tag is None or tag in status.tags]
        page = chosen[:limit]
        return done(JobPage(tuple(map(summary, page)), page[-1].job if len(chosen) > limit else None))

    def models(self) -> tuple[ModelInfo, ...]:
        return (OUR_MODEL,)

    def cancel(self, principal: str, job_id: str, reason: str) -> "Future[JobStatus]":
        try:
            job = self._find(principal, job_id)
        except RequestError as error:
            return failed(error)
        if not job.status.state.terminal:
            self.end(principal, job_id, JobState.CANCELLED, CANCELLED)
        return done(job.status)

    # ------------------------------------------------------------------ checks

    def _known(self, request: Request) -> "Future[Submitted] | None":
        """The answer for an id that is taken."""
        known = self.requests.get((request.principal, request.job))
        if known is None:
            return None
        if marks(known) != marks(request):
            return failed(RequestError(ErrorCode.JOB_CONFLICT, "another request has this id"))
        return done(Submitted(self._find(request.principal, request.job).status, duplicate=True))

    def _checked(self, request: Request) -> Request:
        """Kind and parameters are right, or RequestError."""
        if request.kind not in KINDS:
            wrong = {"field": "kind", "value": request.kind, "allowed": list(KNOWN_KINDS)}
            raise RequestError(ErrorCode.UNSUPPORTED, f"kind {request.kind!r}", wrong)
        try:
            params = parse(request.tail, request.kind, request.attachments)
        except ParamError as error:
            raise RequestError(ErrorCode.INVALID_ARGUMENT, error.message, error.details) from error
        if params.model not in (None, OUR_MODEL.name):
            wrong = {"field": "model", "value": params.model, "allowed": [OUR_MODEL.name]}
            raise RequestError(ErrorCode.INVALID_ARGUMENT, "no such model", wrong)
        for index, adapter in enumerate(params.adapters):
            if adapter.name not in OUR_MODEL.adapters:
                wrong = {"field": f"adapters[{index}].name", "value": adapter.name, "allowed": list(OUR_MODEL.adapters)}
                raise RequestError(ErrorCode.INVALID_ARGUMENT, "no such adapter", wrong)
        self._check_terms(request.terms, params.steps or 0)
        return request

    def _check_terms(self, terms: Terms, steps: int) -> None:
        """New jobs are taken now, and this one can be in time."""
        if self.admin.paused is not None:
            raise RequestError(ErrorCode.PAUSED, f"no new jobs for now: {self.admin.paused}", retry_after_ms=50)
        if steps >= LONG and terms.timeout_ms is not None and terms.timeout_ms < SHORTEST_MS:
            wrong = {"eta_ms": SHORTEST_MS, "timeout_ms": terms.timeout_ms}
            raise RequestError(ErrorCode.DEADLINE_EXCEEDED, "such a job takes longer", wrong)

    def verify(self, attachments: tuple[Attachment, ...], data: bytes) -> None:
        """The bytes are those that were announced, and images."""
        position = 0
        for index, attachment in enumerate(attachments):
            content = data[position : position + attachment.size]
            position += attachment.size
            if hashlib.sha256(content).hexdigest() != attachment.sha256:
                wrong = {"field": f"attachments[{index}].sha256", "value": attachment.sha256}
                raise RequestError(ErrorCode.INVALID_ARGUMENT, "other bytes than announced", wrong)
            if media_type(content) != attachment.media_type:
                wrong = {"field": f"attachments[{index}].media_type", "value": attachment.media_type}
                raise RequestError(ErrorCode.INVALID_ARGUMENT, "no image of this type", wrong)
            self.stored[attachment.sha256] = content

    # ------------------------------------------------------------------ playing

    def accept(self, request: Request) -> "Future[Submitted]":
        """A new job, which begins to play."""
        params = parse(request.tail, request.kind, request.attachments)
        status = JobStatus(
            job=request.job,
            kind=request.kind,
            state=JobState.QUEUED,
            seq=1,
            attempt=1,
            step=0,
            steps=params.steps or 2,
            seed=params.seed or 0,
            traceparent=request.trace.traceparent if request.trace else None,
            priority=request.terms.priority,
            tags=request.terms.tags,
            deadline_ms=request.terms.timeout_ms,
            queue_position=1,
        )
        self.requests[request.principal, request.job] = request
        shown = {name: value for name, value in params.to_map().items() if value is not None}
        self.jobs[request.principal, request.job] = MemoryJob(status, shown, request.tail)
        size = 3 * 8 * 8 if params.media_type == RAW_RGB else IMAGE_BYTES
        images = tuple(
            random.Random((params.seed or 0) + index).randbytes(size + (index if size == IMAGE_BYTES else 0))
            for index in range(params.count or 1)
        )
        if status.steps >= LONG:
            self.long.append(request)
            self._later(request, "timeout_ms")
            self._later(request, "queue_ttl_ms")
        self._turn(lambda: self._run(request, status.steps, images))
        return done(Submitted(status, duplicate=False))

    def _later(self, request: Request, name: str) -> None:
        """End it when this time is over."""
        milliseconds: int | None = getattr(request.terms, name)
        if milliseconds is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(milliseconds / 1000, self._expire, request, name, loop.time())

    def _expire(self, request: Request, name: str, since: float) -> None:
        job = self._find(request.principal, request.job)
        state = job.status.state
        if state.terminal or (name == "queue_ttl_ms" and state is JobState.RUNNING):
            return
        waited = round((asyncio.get_running_loop().time() - since) * 1000)
        text = f"{name} was over after {waited} ms, while it was {state}"
        self.end(request.principal, request.job, JobState.EXPIRED, expired(text))

    def end(self, principal: str, job_id: str, state: JobState, error: JobError) -> None:
        """It ends badly; a long job that waited for it begins."""
        job = self._find(principal, job_id)
        job.status = replace(job.status, queue_position=None, deadline_ms=None)
        self.change(job_id, state, error=error, principal=principal)
        request = self.requests[principal, job_id]
        if request in self.long:
            self.long.remove(request)
            if self.long:
                self._run(self.long[0], LONG, ())

    def _run(self, request: Request, steps: int, images: tuple[bytes, ...]) -> None:
        job = self._find(request.principal, request.job)
        if job.status.state is not JobState.QUEUED or (steps >= LONG and self.long[0] is not request):
            return
        job.status = replace(job.status, queue_position=None)
        self.change(request.job, JobState.RUNNING, principal=request.principal)
        if steps >= LONG:
            self._later(request, "run_timeout_ms")
        job.status = replace(job.status, seq=job.status.seq + 1, step=1)
        self._tell(job, Progressed(request.job, job.status.seq, 1, steps, 1), "progress")
        if steps < LONG:
            self._turn(lambda: self._end(request, images))

    def _end(self, request: Request, images: tuple[bytes, ...]) -> None:
        job = self._find(request.principal, request.job)
        if job.status.state is JobState.RUNNING:
            job.status = replace(job.status, deadline_ms=None)
            self.change(request.job, JobState.SUCCEEDED, *images, principal=request.principal)

    def _tell(self, job: MemoryJob, event: Any, want: str | None) -> None:
        """Images are of the type that was asked for."""
        wanted = job.params.get("media_type")
        if type(event) is StateChanged and wanted is not None:
            made = tuple(replace(artifact, media_type=wanted) for artifact in job.status.artifacts)
            job.status = replace(job.status, artifacts=made)
            event = StateChanged(job.status)
        super()._tell(job, event, want)

    @staticmethod
    def _turn(action: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(action)


def marks(request: Request) -> str:
    """What makes two requests the same."""
    return fingerprint(request.kind, request.tail, request.attachments)


def summary(status: JobStatus) -> JobSummary:
    """A job in a list."""
    return JobSummary(
        job=status.job,
        kind=status.kind,
        state=status.state,
        seq=status.seq,
        step=status.step,
        steps=status.steps,
        artifacts=len(status.artifacts),
        age_ms=0,
        priority=status.priority,
        tags=status.tags,
        model=OUR_MODEL.name,
    )


def expired(text: str) -> JobError:
    return JobError(int(ErrorCode.DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED", text)


def media_type(data: bytes) -> str | None:
    """What kind of image these bytes are."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return Image.MIME.get(image.format or "")
    except OSError:
        return None


def done(value: Any) -> "Future[Any]":
    """A future that is done."""
    future: Future[Any] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def failed(error: RequestError) -> "Future[Any]":
    """A future that has failed."""
    future: Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
