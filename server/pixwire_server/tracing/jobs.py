"""Jobs with spans around what the doors ask of it: submits, until they are on disk, and images, while they are open."""

import contextlib
import time
from asyncio import Future
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context, get_current

from pixwire_protocol.attachments import Attachment
from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import OpenArtifact, Submitted, Terms, Trace, Upload
from pixwire_server.jobs.futures import then
from pixwire_server.tracing.plan import Value
from pixwire_server.tracing.spans import Key, Spans, refuse

A = TypeVar("A")


def traced(jobs: JobsPort, spans: Spans) -> JobsPort:
    """The same jobs, for a door."""
    return cast("JobsPort", _TracedJobs(jobs, spans))


class _TracedJobs:
    """What is not here is that of the jobs themselves."""

    def __init__(self, jobs: JobsPort, spans: Spans) -> None:
        self._jobs = jobs
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

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
        submission = _Submission(self._spans, (principal, job_id), kind, trace)
        with submission.refusals():
            future = self._jobs.submit(principal, job_id, kind, params_tail, trace=trace, terms=terms)
        future.add_done_callback(submission.answered)
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
    ) -> "Future[Submitted | Upload]":
        about = {"pixwire.upload_bytes": sum(one.size for one in attachments)}
        submission = _Submission(self._spans, (principal, job_id), kind, trace, about)
        with submission.refusals():
            begun = self._jobs.begin_upload(principal, job_id, kind, params_tail, attachments, trace=trace, terms=terms)
        begun.add_done_callback(submission.answered)

        def traced_upload(answer: Submitted | Upload) -> Submitted | Upload:
            return answer if isinstance(answer, Submitted) else cast("Upload", _Upload(answer, submission))

        return _mapped(begun, traced_upload)

    def artifact(self, principal: str, job_id: str, index: int, etag: str | None = None) -> "Future[OpenArtifact]":
        began, inside = time.time_ns(), _present()
        key = principal, job_id

        def opened(image: OpenArtifact) -> OpenArtifact:
            about: dict[str, Value] = {
                "pixwire.job": job_id,
                "pixwire.artifact": index,
                "pixwire.image_bytes": image.info.size,
                "pixwire.media_type": image.info.media_type,
            }
            return cast("OpenArtifact", _Delivery(image, partial(self._delivered, key, began, inside, about)))

        return _mapped(self._jobs.artifact(principal, job_id, index, etag), opened)

    def _delivered(self, key: Key, began: int, inside: Context | None, about: Mapping[str, Value]) -> None:
        # Only now: the job's own span is made a moment after its images were opened for those who waited for them.
        parent = inside or self._spans.of_job(key)
        self._spans.tracer.start_span("deliver", parent, attributes=about, start_time=began).end()


class _Submission:
    """A submit, from its coming until the job is on disk."""

    def __init__(
        self, spans: Spans, key: Key, kind: str, given: Trace | None, about: Mapping[str, Value] | None = None
    ) -> None:
        attributes = {"pixwire.job": key[1], "pixwire.kind": kind, **(about or {})}
        self._span = spans.request("SUBMIT", given, attributes)
        self._spans, self._key = spans, key

    @contextlib.contextmanager
    def refusals(self) -> Iterator[None]:
        """Around what Jobs may refuse at once."""
        try:
            yield
        except BaseException as error:
            refuse(self._span, error)
            self._span.end()
            raise

    def answered(self, future: "Future[Any]") -> None:
        """Jobs has answered with something that is not an upload, or refused."""
        if future.cancelled():
            self.given_up()
            return
        error = future.exception()
        if error is not None:
            refuse(self._span, error)
        elif isinstance(submitted := future.result(), Submitted):
            self._span.set_attribute("pixwire.duplicate", submitted.duplicate)
            if not submitted.duplicate:
                self._spans.remember(self._key, self._span)
        else:
            return  # its bytes come now
        self._span.end()

    def given_up(self) -> None:
        """Nobody waits for the answer any more, or the bytes do not come."""
        self._span.set_attribute("error.type", "given up")
        self._span.end()


class _Upload:
    """An upload whose end is the end of its submission."""

    def __init__(self, upload: Upload, submission: _Submission) -> None:
        self._upload = upload
        self._submission = submission

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upload, name)

    def finish(self) -> "Future[Submitted]":
        future = self._upload.finish()
        future.add_done_callback(self._submission.answered)
        return future

    def abort(self) -> None:
        self._upload.abort()
        self._submission.given_up()


class _Delivery:
    """An image on its way out, until it is closed."""

    def __init__(self, image: OpenArtifact, closed: Callable[[], None]) -> None:
        self._image = image
        self._closed: Callable[[], None] | None = closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image, name)

    def close(self) -> None:
        self._image.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


def _present() -> Context | None:
    """The span that the caller is in, if it is in one."""
    return get_current() if trace.get_current_span().get_span_context().is_valid else None


def _mapped(source: "Future[A]", convert: Callable[[A], A]) -> "Future[A]":
    """What `convert` makes of the result. Who gives up the returned future gives up `source`."""
    target = then(source, convert)
    target.add_done_callback(lambda done: done.cancelled() and source.cancel())
    return target
