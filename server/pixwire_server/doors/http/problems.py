"""Refusals as HTTP says them: application/problem+json (RFC 9457) with the names, numbers and advice of PXW (SPEC 10).

Pure.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pixwire_protocol.registry import ERRORS, ErrorCode
from pixwire_protocol.status import JobError
from pixwire_server.jobs import RequestError

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.PROTOCOL_ERROR: 400,
    ErrorCode.FRAME_TOO_LARGE: 413,
    ErrorCode.HANDSHAKE_TIMEOUT: 408,
    ErrorCode.EXCESSIVE_LOAD: 503,
    ErrorCode.INTERNAL: 500,
    ErrorCode.AUTH_REQUIRED: 401,
    ErrorCode.AUTH_FAILED: 401,
    ErrorCode.AUTH_EXPIRED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.JOB_NOT_FOUND: 404,
    ErrorCode.JOB_CONFLICT: 409,
    ErrorCode.JOB_EXPIRED: 410,
    ErrorCode.ARTIFACT_NOT_FOUND: 404,
    ErrorCode.ARTIFACT_CHANGED: 412,
    ErrorCode.OFFSET_OUT_OF_RANGE: 416,
    ErrorCode.UNSUPPORTED: 422,
    ErrorCode.UPLOAD_STALLED: 408,
    ErrorCode.QUEUE_FULL: 503,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.DRAINING: 503,
    ErrorCode.PAUSED: 503,
    # How a job ended, where the answer to its request is its outcome.
    ErrorCode.CANCELLED: 409,
    ErrorCode.DEADLINE_EXCEEDED: 422,
    ErrorCode.WORKER_LOST: 500,
    ErrorCode.OUT_OF_MEMORY: 422,
    ErrorCode.CONTENT_REJECTED: 400,
    ErrorCode.PIPELINE_ERROR: 500,
}
_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_AUTH: Final = (ErrorCode.AUTH_REQUIRED, ErrorCode.AUTH_FAILED, ErrorCode.AUTH_EXPIRED)


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal, ready to be sent. `processed` says whether the request had an effect (SPEC 10.1)."""

    status: int
    code: ErrorCode
    message: str
    retry: str
    processed: str
    retry_after_ms: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    def to_map(self) -> dict[str, Any]:
        """The members of the document."""
        values: dict[str, Any] = {
            "type": f"urn:pxw:error:{self.code.name}",
            "title": self.code.name,
            "status": self.status,
            "detail": self.message,
            "code": int(self.code),
            "retry": self.retry,
            "processed": self.processed,
        }
        if self.retry_after_ms is not None:
            values["retry_after_ms"] = self.retry_after_ms
        if self.details:
            values["details"] = plain(self.details)
        return values

    def to_openai(self) -> dict[str, Any]:
        """The same, with the member `error` that clients of the OpenAI API look into."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        param = self.details.get("field")
        error = {"message": self.message, "type": kind, "param": param, "code": self.code.name}
        return self.to_map() | {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """Header fields that go with it. `x-should-retry` is what the OpenAI clients obey."""
        headers = {"cache-control": "no-store", "x-should-retry": "false" if self.retry == "no" else "true"}
        if self.retry_after_ms is not None:
            headers["retry-after"] = str(math.ceil(self.retry_after_ms / 1000))
        if self.code in _AUTH:
            wrong = "" if self.code is ErrorCode.AUTH_REQUIRED else ', error="invalid_token"'
            headers["www-authenticate"] = f'Bearer realm="pixwire"{wrong}'
        return {**headers, **self.extra_headers}

    def body(self, *, openai: bool = False) -> bytes:
        """The document."""
        return to_json(self.to_openai() if openai else self.to_map())


class HttpError(Exception):
    """A refusal that HTTP knows and PXW does not: another path, method or form of the body."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def http_error(
    status: int,
    code: ErrorCode,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpError:
    """Nothing was done, and the same request fails again."""
    retry = ERRORS[code].retry
    return HttpError(Problem(status, code, message, retry, "no", None, details or {}, headers or {}))


def refused(error: RequestError, processed: str | None = None) -> Problem:
    """A refusal of Jobs. `processed` is the code's own unless given."""
    spec, status = ERRORS[error.code], STATUS.get(error.code, 500)
    if error.code is ErrorCode.DEADLINE_EXCEEDED and processed is None:
        processed = "no"  # its own "yes" is that of a job which ended so; a request is refused before there is one
    said = spec.processed if processed is None else processed
    return Problem(status, error.code, error.message, spec.retry, said, error.retry_after_ms, error.details)


def ended(error: JobError, job: str) -> Problem:
    """A job that ended badly, where somebody waited for its images."""
    try:
        code = ErrorCode(error.code)
    except ValueError:
        code = ErrorCode.INTERNAL
    return Problem(STATUS.get(code, 500), code, error.message, error.retry, "yes", None, {"job": job})


def plain(value: Any) -> Any:
    """`value` as JSON can say it: details are there to be shown to people."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(bytes(value))} bytes"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def to_json(value: Any) -> bytes:
    """Compact JSON. Half a surrogate pair, which UTF-8 has no form for, is escaped like everything outside ASCII."""
    return _encode(value).encode()
