"""A request for a job as it came in, before anything was made of it."""

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.params import fingerprint
from pixwire_protocol.record import record
from pixwire_server.store import ATTACHMENTS, FileRef


@record
class Trace:
    """The W3C trace context of whoever asked: kept with the job, and told in everything that is told of it."""

    traceparent: str | None = None
    tracestate: str | None = None


NO_TRACE = Trace()


@record
class Terms:
    """How a job is to be treated. No part of what the request is: a repeat on other terms attaches to the same job.

    timeout_ms     from the acceptance to the end
    queue_ttl_ms   from the acceptance to the first start
    run_timeout_ms of each attempt
    tags           what its owner finds it by
    """

    priority: str = "normal"
    timeout_ms: int | None = None
    queue_ttl_ms: int | None = None
    run_timeout_ms: int | None = None
    tags: tuple[str, ...] = ()


NO_TERMS = Terms()


@record
class Request:
    """Who wants which job; made by `make_request`."""

    key: tuple[str, str]
    """Principal and job id."""
    kind: str
    tail: bytes
    attachments: tuple[Attachment, ...]
    trace: Trace
    terms: Terms
    mark: str
    """Its fingerprint: the same request has the same one."""

    @property
    def principal(self) -> str:
        return self.key[0]

    @property
    def job(self) -> str:
        return self.key[1]

    @property
    def files(self) -> tuple[FileRef, ...]:
        """What was sent along, as the store knows it."""
        return tuple([FileRef(ATTACHMENTS, one.sha256, one.size) for one in self.attachments])

    @property
    def names(self) -> tuple[str, ...]:
        """What the attachments are for."""
        return tuple(one.name for one in self.attachments)


def make_request(
    principal: str,
    job: str,
    kind: str,
    tail: bytes,
    attachments: tuple[Attachment, ...] = (),
    trace: Trace | None = None,
    terms: Terms | None = None,
) -> Request:
    """A request as it came in."""
    return Request(
        (principal, job),
        kind,
        tail,
        attachments,
        trace or NO_TRACE,
        terms or NO_TERMS,
        fingerprint(kind, tail, attachments),
    )
