"""What one connection means: each request becomes one call on Jobs, each answer goes back on the request's stream."""

import logging
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pixwire_protocol.connection import Received
from pixwire_protocol.messages import (
    Admin,
    Cancel,
    Data,
    Error,
    Fetch,
    List,
    Message,
    Reset,
    Result,
    Status,
    Submit,
    Watch,
)
from pixwire_protocol.profile import pack_checked
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import NORMAL, JobStatus
from pixwire_server.doors.auth import Identity
from pixwire_server.doors.feed import LOSSY, Feed, Follow
from pixwire_server.doors.images import ImageSender, Part
from pixwire_server.doors.ports import JobsPort
from pixwire_server.doors.replies import Replies
from pixwire_server.doors.tally import RESET
from pixwire_server.doors.uploads import Uploads
from pixwire_server.jobs import AdminCommand, JobPage, RequestError, Submitted, Terms, Trace

log = logging.getLogger(__name__)

PARAMS_TYPE = "application/msgpack"


class Session:
    """Handles the messages of one ready connection. Knows no socket; touches no job when the connection goes.

    `may_open` is asked for each request, with the time: None, or the milliseconds after which it may come again.
    """

    _principal: str
    """Whose jobs are meant. No request comes before it is known: the connection sees to that, and if it did not, the
    request would fail for the lack of this attribute.
    """

    def __init__(
        self, replies: Replies, jobs: JobsPort, may_open: Callable[[float], int | None], upload_stall_s: float
    ) -> None:
        self._replies = replies
        self._jobs = jobs
        self._may_open = may_open
        self._uploads = Uploads(replies, upload_stall_s)
        self._told_off = False
        self._is_admin = False

    def know(self, identity: Identity) -> None:
        """Whose jobs are meant from now on, and what else it may do."""
        self._principal, self._is_admin = identity.principal, identity.is_admin

    def handle(self, received: Received, now: float) -> None:
        """Take one message on a stream. Never raises: a refusal or a defect ends its stream, not the connection."""
        stream, message, end = received
        kind = type(message)
        handler = _HANDLERS.get(kind)
        if handler is None:
            if isinstance(message, Reset | Error):
                self._replies.drop(stream, RESET)
            elif isinstance(message, Data):
                self._uploads.receive(stream, message.tail, end)
            return
        self._replies.begin(stream, kind)
        wait_ms = self._may_open(now)
        if wait_ms is not None:
            slower = "too many requests in a short time; WELCOME says how many may come (stream_rate)"
            self._replies.fail(stream, RequestError(ErrorCode.RATE_LIMITED, slower, retry_after_ms=wait_ms))
            return
        try:
            handler(self, stream, message)
        except Exception as error:
            self._replies.give_up(stream, error)

    def _submit(self, stream: int, request: Submit) -> None:
        if request.ct != PARAMS_TYPE:
            raise RequestError(
                ErrorCode.UNSUPPORTED,
                f"parameters of type {request.ct!r} are not understood",
                {"field": "ct", "value": request.ct, "allowed": PARAMS_TYPE},
            )
        job = (self._principal, request.job, request.kind, bytes(request.tail))
        trace = None if request.traceparent is None else Trace(request.traceparent, request.tracestate)
        terms = _terms(request)
        answer = partial(self._submitted, stream, request)
        if request.attachments:
            begun = self._jobs.begin_upload(*job, tuple(request.attachments), trace=trace, terms=terms)
            self._uploads.begin(stream, begun, answer)
        else:
            self._replies.when_done(stream, self._jobs.submit(*job, trace=trace, terms=terms), answer)

    def _submitted(self, stream: int, request: Submit, submitted: Submitted) -> None:
        self._replies.took_effect(stream)
        if request.watch or request.deliver:
            follow = Follow(request.watch, self._lossy(request.want) if request.watch else frozenset(), request.deliver)
            self._feed(stream, request.job, follow).start(duplicate=submitted.duplicate)
        else:
            body = submitted.status.to_map()
            body["duplicate"] = submitted.duplicate
            self._replies.answer(stream, pack_checked(body))

    def _watch(self, stream: int, request: Watch) -> None:
        self._feed(stream, request.job, Follow(True, self._lossy(request.want), request.deliver)).start()

    def _feed(self, stream: int, job_id: str, follow: Follow) -> Feed:
        return Feed(self._replies, self._jobs, self._principal, stream, job_id, follow)

    def _status(self, stream: int, request: Status) -> None:
        body = self._jobs.status_body(self._principal, request.job)
        if isinstance(body, bytes):
            self._replies.answer(stream, body)
        else:
            self._replies.when_done(stream, body, partial(self._replies.answer, stream))

    def _cancel(self, stream: int, request: Cancel) -> None:
        self._answer(stream, self._jobs.cancel(self._principal, request.job, request.reason or ""))

    def _answer(self, stream: int, future: "Future[JobStatus]") -> None:
        def send(status: JobStatus) -> None:
            self._replies.send(stream, Result(status.to_map()), end=True)

        self._replies.when_done(stream, future, send)

    def _fetch(self, stream: int, request: Fetch) -> None:
        part = Part(request.artifact, request.offset, request.length, request.etag)
        ImageSender(self._replies, self._jobs, self._principal, stream, request.job, [part]).start()

    def _list(self, stream: int, request: List) -> None:
        if request.what == "models":
            models = [model.to_map() for model in self._jobs.models()]
            self._replies.send(stream, Result({"what": "models", "models": models}), end=True)
            return

        def send(page: JobPage) -> None:
            body: dict[str, Any] = {"what": "jobs", "jobs": [job.to_map() for job in page.jobs]}
            if page.next is not None:
                body["next"] = page.next
            self._replies.send(stream, Result(body), end=True)

        states = tuple(request.states)
        future = self._jobs.list_jobs(self._principal, request.limit, request.after, states, request.tag)
        self._replies.when_done(stream, future, send)

    def _admin(self, stream: int, request: Admin) -> None:
        if not self._is_admin:
            if not self._told_off:  # once: a client must not fill the log
                self._told_off = True
                log.info("%r asked for %s and does not have the role admin", self._principal, request.action)
            message = (
                f"{request.action!r} needs the role admin, which {self._principal!r} does not have here; a token has it"
                ' by roles = ["admin"] in the list of tokens, a name by the setting admins'
            )
            raise RequestError(ErrorCode.FORBIDDEN, message, {"field": "action", "value": request.action})
        command = AdminCommand(
            action=request.action,
            job=request.job,
            principal=request.principal,
            model=request.model,
            path=request.path,
            reason=request.reason,
            limit=request.limit,
        )

        def send(body: Mapping[str, Any]) -> None:
            self._replies.send(stream, Result(dict(body)), end=True)

        self._replies.when_done(stream, self._jobs.admin.perform(command, self._principal), send)

    def _lossy(self, want: Sequence[str]) -> frozenset[str]:
        """The lossy events asked for that this connection knows (SPEC 6); other names are no error, they never come."""
        peer = self._replies.connection.peer
        known = LOSSY if peer is not None and "preview" in peer.features else LOSSY - {"preview"}
        return known.intersection(want)


def _terms(request: Submit) -> Terms | None:
    """None: as usual."""
    times = request.timeout_ms, request.queue_ttl_ms, request.run_timeout_ms
    if times == _NO_TIMES and request.priority == NORMAL and not request.tags:
        return None
    return Terms(request.priority, *times, tuple(request.tags))


_NO_TIMES = None, None, None

_HANDLERS: dict[type[Message], Callable[[Session, int, Any], None]] = {
    Submit: Session._submit,
    Status: Session._status,
    Watch: Session._watch,
    Cancel: Session._cancel,
    Fetch: Session._fetch,
    List: Session._list,
    Admin: Session._admin,
}
