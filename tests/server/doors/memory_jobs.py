"""Jobs in memory that a test plays by hand: it commits, runs, and finishes them, and sees what the door holds open."""

import asyncio
import weakref
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships none
from memory_upload import MemoryUpload

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.profile import pack_map
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobError, JobState, JobStatus, JobSummary, ModelInfo
from pixwire_server.jobs import (
    AdminCommand,
    JobEvent,
    JobPage,
    OpenArtifact,
    PreviewShown,
    Progressed,
    RequestError,
    StateChanged,
    Submitted,
    Terms,
    Trace,
    Watch,
)
from pixwire_server.jobs.futures import then
from pixwire_server.store.stored_file import StoredFile

MODEL = ModelInfo(
    name="toy",
    default=True,
    pipeline="ToyPipeline",
    kinds=("txt2img", "img2img"),
    attachments=("image",),
    defaults={"steps": 4, "guidance_scale": 1.0, "width": 64, "height": 64},
    limits={"size_multiple": 8, "max_width": 128, "max_height": 128, "max_steps": 200, "max_count": 16},
    media_types=("image/png",),
)


@dataclass
class MemoryJob:
    status: JobStatus
    params: Mapping[str, Any]
    tail: bytes
    watches: list[Watch] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    attached: bytes = b""


class CountedArtifact(OpenArtifact):
    """Tells when it is closed."""

    __slots__ = ("_closed",)

    def __init__(self, info: ArtifactInfo, file: StoredFile, closed: Callable[[], None]) -> None:
        super().__init__(info, file)
        self._closed = closed

    def close(self) -> None:
        super().close()
        self._closed()


class MemoryAdmin:
    """Keeps the commands; answers with `body`, or refuses, as the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[AdminCommand, str]] = []
        self.body: Mapping[str, Any] = {"paused": True}
        self.refuse: RequestError | None = None

    def perform(self, command: AdminCommand, by: str) -> "Future[Mapping[str, Any]]":
        self.asked.append((command, by))
        if self.refuse is not None:
            raise self.refuse
        future: Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        future.set_result(self.body)
        return future


def timesteps_of(step: int) -> list[float]:
    """Of so many steps; whole numbers and others."""
    return [1000 - 100 * (number + 1) if number % 2 else 1000.5 - 100 * (number + 1) for number in range(step)]


class MemoryJobs:
    """Satisfies `JobsPort`. With `hold` set, submits wait for `commit`; everything else answers at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[tuple[str, str], MemoryJob] = {}
        self.hold = False
        self.held: list[Callable[[], None]] = []
        self.refuse: BaseException | None = None
        self.slow_disk = False
        self.uploads: list[MemoryUpload] = []
        self.unready: list[Callable[[], None]] = []
        self.hold_begin = False
        self.traces: list[Trace | None] = []
        self.terms: list[Terms | None] = []
        self.tags: list[str | None] = []
        self.admin = MemoryAdmin()
        self.gone: set[str] = set()
        self.submits = 0
        self.cancelled: list[tuple[str, str]] = []
        self.open_images = 0
        self._files: list[weakref.ref[StoredFile]] = []
        self.open_watches = 0
        self._waiters: list[tuple[Callable[[], bool], Future[None]]] = []

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
        self.submits += 1
        self.traces.append(trace)
        self.terms.append(terms)
        if self.refuse is not None:
            raise self.refuse
        if kind != "txt2img":
            raise RequestError(ErrorCode.UNSUPPORTED, f"kind {kind!r}", {"field": "kind", "value": kind})
        return self._accept(principal, job_id, kind, params_tail)

    def _accept(
        self, principal: str, job_id: str, kind: str, params_tail: bytes, attached: bytes = b""
    ) -> "Future[Submitted]":
        future: Future[Submitted] = asyncio.get_running_loop().create_future()
        known = self.jobs.get((principal, job_id))
        if known is not None and known.tail != params_tail:
            future.set_exception(RequestError(ErrorCode.JOB_CONFLICT, "another request has this id"))
            return future
        if known is None:
            status = JobStatus(job=job_id, kind=kind, state=JobState.QUEUED, seq=1, attempt=1, step=0, steps=0)
            try:
                known = MemoryJob(status, msgpack.unpackb(params_tail), params_tail)
            except (ValueError, msgpack.UnpackException) as error:
                raise RequestError(ErrorCode.INVALID_ARGUMENT, f"parameters: {error}") from error
            known.attached = attached
            self.jobs[principal, job_id] = known
            submitted = Submitted(status, duplicate=False)
        else:
            submitted = Submitted(known.status, duplicate=True)

        def commit() -> None:
            if not future.done():
                future.set_result(submitted)

        if self.hold:
            self.held.append(commit)
        else:
            commit()
        self.notify()
        return future

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
    ) -> "Future[Submitted | MemoryUpload]":
        self.traces.append(trace)
        self.terms.append(terms)
        if self.refuse is not None:
            raise self.refuse
        future: Future[Submitted | MemoryUpload] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            known = self.jobs.get((principal, job_id))
            if known is not None:
                future.set_result(Submitted(known.status, duplicate=True))
                return
            size = sum(attachment.size for attachment in attachments)
            upload = MemoryUpload(partial(self._accept, principal, job_id, kind, params_tail), size, self)
            self.uploads.append(upload)
            future.set_result(upload)

        if self.hold_begin:
            self.unready.append(begin)
        else:
            begin()
        self.notify()
        return future

    def list_jobs(
        self, principal: str, limit: int, after: str | None, states: Sequence[str], tag: str | None = None
    ) -> "Future[JobPage]":
        self.tags.append(tag)
        future: Future[JobPage] = asyncio.get_running_loop().create_future()
        if after is not None and not after.isdecimal():
            field_ = {"field": "after", "value": after}
            future.set_exception(RequestError(ErrorCode.INVALID_ARGUMENT, "no such cursor", field_))
            return future
        mine = [job.status for (whose, _), job in reversed(self.jobs.items()) if whose == principal]
        chosen = [status for status in mine if not states or status.state.value in states]
        first = int(after or 0)
        page = tuple(
            JobSummary(
                job=status.job,
                kind=status.kind,
                state=status.state,
                seq=status.seq,
                step=status.step,
                steps=status.steps,
                artifacts=len(status.artifacts),
                age_ms=0,
            )
            for status in chosen[first : first + limit]
        )
        future.set_result(JobPage(page, str(first + limit) if first + limit < len(chosen) else None))
        return future

    def models(self) -> tuple[ModelInfo, ...]:
        return (MODEL,)

    def status_body(self, principal: str, job_id: str) -> "bytes | Future[bytes]":
        return then(self.status(principal, job_id), lambda status: pack_map(status.to_map()))

    def status(self, principal: str, job_id: str, with_params: bool = True) -> "Future[JobStatus]":
        future: Future[JobStatus] = asyncio.get_running_loop().create_future()
        try:
            job = self._find(principal, job_id)
            future.set_result(replace(job.status, params=dict(job.params)) if with_params else job.status)
        except RequestError as error:
            future.set_exception(error)
        return future

    def watch(
        self, principal: str, job_id: str, listener: Callable[[JobEvent], None], want: frozenset[str]
    ) -> "Future[Watch]":
        future: Future[Watch] = asyncio.get_running_loop().create_future()
        try:
            job = self._find(principal, job_id)
        except RequestError as error:
            future.set_exception(error)
            return future

        def closing(watch: Watch) -> None:
            self.open_watches -= 1
            job.watches.remove(watch)
            self.notify()

        watch = Watch(job.status, listener, want, closing, lambda: timesteps_of(job.status.step))
        self.open_watches += 1
        job.watches.append(watch)
        watch.release()
        future.set_result(watch)
        self.notify()
        return future

    def cancel(self, principal: str, job_id: str, reason: str) -> "Future[JobStatus]":
        future: Future[JobStatus] = asyncio.get_running_loop().create_future()
        try:
            job = self._find(principal, job_id)
        except RequestError as error:
            future.set_exception(error)
            return future
        self.cancelled.append((job_id, reason))
        if not job.status.state.terminal:
            self.change(job_id, JobState.CANCELLED)
        future.set_result(job.status)
        return future

    def artifact(self, principal: str, job_id: str, index: int, etag: str | None = None) -> "Future[OpenArtifact]":
        future: Future[OpenArtifact] = asyncio.get_running_loop().create_future()
        try:
            job = self._find(principal, job_id)
            if index >= len(job.images):
                raise RequestError(ErrorCode.ARTIFACT_NOT_FOUND, f"no artifact {index}")
            info = job.status.artifacts[index]
            if etag is not None and etag != info.etag:
                raise RequestError(ErrorCode.ARTIFACT_CHANGED, "another etag", {"field": "etag", "value": etag})
        except RequestError as error:
            future.set_exception(error)
            return future
        self.open_images += 1
        self.notify()
        file = StoredFile(job.images[index])
        self._files.append(weakref.ref(file))
        future.set_result(CountedArtifact(info, file, self._image_closed))
        return future

    # ------------------------------------------------------------------ the test's hand

    def ready(self) -> None:
        """Let the uploads that wait begin."""
        unready, self.unready = self.unready, []
        for begin in unready:
            begin()

    def commit(self) -> None:
        """Let the submits that wait be on disk."""
        held, self.held = self.held, []
        for release in held:
            release()

    @property
    def read_from(self) -> int:
        """Images whose bytes somebody still refers to."""
        return sum(ref() is not None for ref in self._files)

    def change(
        self,
        job_id: str,
        state: JobState,
        *images: bytes,
        error: JobError | None = None,
        principal: str = "anonymous",
    ) -> None:
        """Move the job to `state` and tell its watches; `images` become its artifacts."""
        job = self._find(principal, job_id)
        artifacts = []
        for index, image in enumerate(images):
            path = self.folder / f"{job_id}-{index}"
            path.write_bytes(image)
            job.images.append(path)
            artifacts.append(
                ArtifactInfo(
                    artifact=index,
                    etag=f"{job_id}:{index}",
                    size=len(image),
                    media_type="image/png",
                    width=8,
                    height=8,
                    seed=index,
                )
            )
        job.status = replace(
            job.status,
            state=state,
            seq=job.status.seq + 1,
            artifacts=tuple(artifacts) or job.status.artifacts,
            error=error,
        )
        self._tell(job, StateChanged(job.status), None)

    def progress(self, job_id: str, step: int, steps: int = 10) -> None:
        job = self._find("anonymous", job_id)
        job.status = replace(job.status, seq=job.status.seq + 1, step=step, steps=steps)
        self._tell(job, Progressed(job_id, job.status.seq, step, steps, job.status.attempt), "progress")

    def preview(self, job_id: str, step: int, image: bytes) -> None:
        job = self._find("anonymous", job_id)
        job.status = replace(job.status, seq=job.status.seq + 1)
        self._tell(job, PreviewShown(job_id, job.status.seq, step, 10, "image/jpeg", 8, 8, image), "preview")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at after every change in here."""
        if condition():
            return
        reached: Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, reached))
        async with asyncio.timeout(10):
            await reached

    # ------------------------------------------------------------------ inside

    def _find(self, principal: str, job_id: str) -> MemoryJob:
        try:
            if job_id in self.gone:
                raise RequestError(ErrorCode.JOB_EXPIRED, f"the results of {job_id!r} are gone")
            return self.jobs[principal, job_id]
        except KeyError:
            raise RequestError(ErrorCode.JOB_NOT_FOUND, f"there is no job {job_id!r}") from None

    def _tell(self, job: MemoryJob, event: JobEvent, want: str | None) -> None:
        for watch in list(job.watches):
            if want is None or want in watch.want:
                watch.tell(event)

    def _image_closed(self) -> None:
        self.open_images -= 1
        self.notify()

    def notify(self) -> None:
        """Something has changed: look who waits for it."""
        for condition, reached in self._waiters:
            if not reached.done() and condition():
                reached.set_result(None)
