"""Everything that can go wrong in a client, as classes with fields.

    PixwireError
    |- InvalidURL (ValueError)             the URL cannot be understood
    |- ConnectError (ConnectionError)      no usable connection came about
    |- EmbeddedError                       a server of one's own did not start
    |- ConnectionLost (ConnectionError)    it broke while a call was under way, and no other one came about in time
    |- RequestTimeout (TimeoutError)       the caller's own limit passed
    |- ProtocolViolation                   the server does not keep to PXW/1
    |- RequestFailed                       the server said no (or this library, before asking)
    |  |- InvalidArgument                  field, value, allowed
    |  |- JobNotFound, JobConflict, JobGone, ArtifactNotFound, ArtifactChanged
    |  |  |- JobLost (below JobNotFound)   the server knew the job once, and lost it in a restart
    |  |- AccessDenied                     every error of authentication and authorisation
    |  |  |- AuthRequired, AuthFailed, AuthExpired, Forbidden
    |  |- DeadlineExceeded                 it cannot be done in the time that was given (nothing was begun)
    |  |- CapacityError                    later it may work: see `retry_after_ms`
    |     |- QueueFull, RateLimited, QuotaExceeded, Draining, TooManyStreams, Paused
    |- JobEnded                            the job ended without an image: see `status`
       |- JobFailed, JobCancelled, JobExpired

`PixwireError` is all that a public method of this package raises, apart from cancellation, mistakes in the call itself
(`TypeError`) and what a callback of the caller raised. All of them can be pickled. SPEC 10.
"""

# ruff: noqa: N818 - the names say what happened; "QueueFullError" says no more than "QueueFull"

from typing import Any

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState, JobStatus


class PixwireError(Exception):
    """The base of all errors of this package. The text says what is wrong and, where it can, what to do next."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[PixwireError], args: tuple[Any, ...], state: dict[str, Any]) -> PixwireError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidURL(PixwireError, ValueError):
    """A server URL that cannot be used.

    Attributes: `url` as given, `reason`.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url!r} is not a usable server URL: {reason}")
        self.url = url
        self.reason = reason


class ConnectError(PixwireError, ConnectionError):
    """No connection came about: nobody listens, the name is unknown, the handshake failed or took too long.

    Nothing was asked of a server yet, so trying again is safe. Attributes: `url`, `reason`, `reached` (whether somebody
    answered there).
    """

    def __init__(self, url: str, reason: str, *, reached: bool = False) -> None:
        super().__init__(f"cannot connect to {url}: {reason}")
        self.url = url
        self.reason = reason
        self.reached = reached


class EmbeddedError(PixwireError):
    """The server of `pixwire.embedded` is not installed, or did not start; the text holds the end of its log."""


class ConnectionLost(PixwireError, ConnectionError):
    """The connection ended while this call waited, or before it began.

    Attributes:
        reason: what is known about the end.
        processed: "no" when the request surely never reached the server, "yes" when the server had answered it already,
            else "maybe".
        job: the id of the job that the call was about, or None. An accepted job goes on without a connection: connect
            again and go on with `client.job(error.job)`; to submit once more under the same id is safe too.
        status: the last status the server reported for it on this call, or None.
    """

    def __init__(self, reason: str, *, processed: str, job: str | None = None, status: JobStatus | None = None) -> None:
        known = {"no": "the request was not processed", "maybe": "the request may have been processed"}
        text = f"connection lost: {reason}"
        if status is not None:
            ended = "" if status.state.terminal else " and goes on"
            text += f"; job {status.job} was {status.state.value}{ended}: connect again and ask for it by its id"
        elif processed in known:
            text += f"; {known[processed]}" + (f" (job {job})" if job and processed == "maybe" else "")
        super().__init__(text)
        self.reason = reason
        self.processed = processed
        self.job = job
        self.status = status


class RequestTimeout(PixwireError, TimeoutError):
    """The `timeout` of the call passed. The job, if there is one, goes on: cancel it or come back for it by its id.

    Attributes: `operation`, `timeout` in seconds, `job` (id or None), `status` (the last one reported on this call,
    or None).
    """

    def __init__(
        self, operation: str, timeout: float, *, job: str | None = None, status: JobStatus | None = None
    ) -> None:
        text = f"{operation} did not finish within {timeout:g} s"
        if status is not None:
            text += f"; job {status.job} was {status.state.value} and goes on"
        elif job is not None:
            text += f"; job {job} may be going on"
        super().__init__(text)
        self.operation = operation
        self.timeout = timeout
        self.job = job
        self.status = status


class ProtocolViolation(PixwireError):
    """The server sent something that PXW/1 does not allow here. Attributes: `reason`, `job` (id or None)."""

    def __init__(self, reason: str, *, job: str | None = None) -> None:
        super().__init__(f"the server does not keep to PXW/1: {reason}")
        self.reason = reason
        self.job = job


class RequestFailed(PixwireError):
    """The request was refused.

    Attributes:
        code: the number on the wire, `name` its name, e.g. "QUEUE_FULL".
        message: for people; never parse it.
        retry: "no" (the same request fails again), "same_id" (send it again under the same job id) or "after" (the
            same, but wait `retry_after_ms`).
        processed: "no", "maybe" or "yes": what of the request has taken effect.
        retry_after_ms: milliseconds to wait, or None.
        details: more fields, by code.
    """

    def __init__(
        self,
        code: int,
        name: str,
        message: str,
        *,
        retry: str = "no",
        processed: str = "no",
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        after = f"; try again in {retry_after_ms / 1000:g} s" if retry_after_ms is not None else ""
        super().__init__(f"{message}{after} [{name}]")
        self.code = code
        self.name = name
        self.message = message
        self.retry = retry
        self.processed = processed
        self.retry_after_ms = retry_after_ms
        self.details = details or {}


class InvalidArgument(RequestFailed):
    """An argument is not allowed. Found before sending where possible, so mostly no round trip was spent."""

    @property
    def field(self) -> str | None:
        """The name of the argument."""
        return self.details.get("field")

    @property
    def value(self) -> Any:
        """What was given (shortened when long)."""
        return self.details.get("value")

    @property
    def allowed(self) -> Any:
        """What would have been allowed, in words."""
        return self.details.get("allowed")


def invalid(field: str, value: Any, allowed: Any, message: str) -> InvalidArgument:
    """The error for an argument that was found wrong before anything was sent."""
    details = {"field": field, "value": value, "allowed": allowed}
    code = ErrorCode.INVALID_ARGUMENT
    return InvalidArgument(code, code.name, message, details=details)


class JobNotFound(RequestFailed):
    """The server knows no such job (or it belongs to somebody else, which looks the same)."""


class JobLost(JobNotFound):
    """The server had accepted the job, was started anew (or replaced) and does not know it any more.

    The client does not submit it again by itself: whether that is wanted, the caller knows. Attributes beside those of
    RequestFailed: `job` (id), `status` (the last one that was reported, or None).
    """

    job: str
    status: JobStatus | None


class JobConflict(RequestFailed):
    """The job id is taken by a job with other parameters. Choose another id, or none."""


class JobGone(RequestFailed):
    """JOB_EXPIRED: the job ended so long ago that what it made is no longer kept (see `JobStatus.retain_ms`)."""


class ArtifactNotFound(RequestFailed):
    """The job has no image of that index (yet)."""


class ArtifactChanged(RequestFailed):
    """The image is not the one that the given etag names."""


class AccessDenied(RequestFailed):
    """The server wants to know who asks, or does not allow it."""


class AuthRequired(AccessDenied):
    """The server wants a token, and none was given: `pixwire.connect(url, token=...)`."""


class AuthFailed(AccessDenied):
    """The token (or certificate) is wrong. The client does not come back with the same one."""


class AuthExpired(AccessDenied):
    """The token was right once. Connect with a new one, or give `connect` a callable that returns the present one."""


class Forbidden(AccessDenied):
    """The server knows who asks and does not allow this."""


class CapacityError(RequestFailed):
    """The server does not take this now. Nothing was done; try again after `retry_after_ms`."""


class QueueFull(CapacityError):
    """As many jobs are waiting as the server lets wait."""


class RateLimited(CapacityError):
    """Too many requests in too short a time."""


class QuotaExceeded(CapacityError):
    """More than this principal may have at once."""


class Draining(CapacityError):
    """The server is about to stop and takes no new requests. Accepted jobs are kept."""


class TooManyStreams(CapacityError):
    """More requests at once than one connection carries."""


class Paused(CapacityError):
    """An administrator holds new jobs back; the message says why. Jobs that were accepted go on."""


class DeadlineExceeded(RequestFailed):
    """Even an idle server could not finish the job within its `deadline`, so it was not accepted.

    A job that was accepted and then missed its deadline ends as JobExpired.
    """

    @property
    def eta(self) -> float | None:
        """The seconds that the server thinks it would take, or None when it does not say."""
        found = self.details.get("eta_ms")
        return None if found is None else found / 1000


class JobEnded(PixwireError):
    """The job ended without an image. Attributes: `status`, `job` (id)."""

    def __init__(self, status: JobStatus) -> None:
        text = f"job {status.job} {self.how}"
        if status.error is not None:
            text += f": {status.error.message} [{status.error.name}]"
        super().__init__(text)
        self.status = status
        self.job = status.job

    how = "ended"


class JobFailed(JobEnded):
    """The job failed; `status.error` says why and whether to try again."""

    how = "failed"


class JobCancelled(JobEnded):
    """Somebody cancelled the job."""

    how = "was cancelled"


class JobExpired(JobEnded):
    """The job was not finished within its deadline, queue_ttl or run_timeout; `status.error` says within which."""

    how = "expired"


_BY_NAME: dict[str, type[RequestFailed]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "JOB_NOT_FOUND": JobNotFound,
    "JOB_CONFLICT": JobConflict,
    "JOB_EXPIRED": JobGone,
    "AUTH_REQUIRED": AuthRequired,
    "AUTH_FAILED": AuthFailed,
    "AUTH_EXPIRED": AuthExpired,
    "FORBIDDEN": Forbidden,
    "ARTIFACT_NOT_FOUND": ArtifactNotFound,
    "ARTIFACT_CHANGED": ArtifactChanged,
    "QUEUE_FULL": QueueFull,
    "RATE_LIMITED": RateLimited,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "DRAINING": Draining,
    "TOO_MANY_STREAMS": TooManyStreams,
    "PAUSED": Paused,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
_BY_CLASS: dict[int, type[RequestFailed]] = {0x02: AccessDenied, 0x04: CapacityError}
_BY_STATE: dict[JobState, type[JobEnded]] = {
    JobState.FAILED: JobFailed,
    JobState.CANCELLED: JobCancelled,
    JobState.EXPIRED: JobExpired,
}
_BY_CODE = {int(ErrorCode[name]): kind for name, kind in _BY_NAME.items()}


def request_failed(code: int, name: str, message: str, **fields: Any) -> RequestFailed:
    """The error of the class that belongs to a code; an unknown code is judged by its class (the high byte)."""
    kind = _BY_CODE.get(code) or _BY_CLASS.get(code >> 8) or RequestFailed
    return kind(code, name, message, **fields)


def job_lost(job: str, reason: str, status: JobStatus | None) -> JobLost:
    """The error for a job that a server accepted and does not know any more."""
    text = f"job {job} is lost: {reason}; submit it again if it is still wanted"
    error = JobLost(ErrorCode.JOB_NOT_FOUND, ErrorCode.JOB_NOT_FOUND.name, text)
    error.job, error.status = job, status
    return error


def job_not_found(text: str) -> JobNotFound:
    """The error for a job that nobody knows."""
    return JobNotFound(ErrorCode.JOB_NOT_FOUND, ErrorCode.JOB_NOT_FOUND.name, text)


def job_ended(status: JobStatus) -> JobEnded:
    """The error for a job that ended in `status` without an image."""
    return _BY_STATE[status.state](status)
