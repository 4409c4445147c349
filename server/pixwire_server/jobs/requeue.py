"""Runs a job that ended badly once more, as a new job: states that are terminal never change.

The new one has the same owner, parameters (the seed included), attachments and terms; its times count from now. Its id
follows from the old one, so that asking twice makes one job.
"""

import asyncio
import hashlib
import hmac
import uuid
from collections.abc import Callable

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import JobState
from pixwire_server.store import AttachmentStore, Retained

from .errors import RequestError, invalid
from .events import Submitted
from .intake import Intake
from .model import Job
from .request import Request, make_request

AGAIN = (JobState.FAILED, JobState.EXPIRED, JobState.CANCELLED)
"""How a job must have ended to be run again."""


class Requeue:
    """Lives in the event loop. `check` raises RequestError for what the models of now cannot do."""

    def __init__(
        self,
        intake: Intake,
        attachments: AttachmentStore,
        keeper: Retained,
        check: Callable[[Job], None],
        secret: bytes,
    ) -> None:
        self._intake = intake
        self._attachments = attachments
        self._keeper = keeper
        self._check = check
        self._secret = secret

    async def again(self, principal: str, job_id: str) -> str:
        """The id of the new job, which is on disk; the same one when this job was requeued before, unless that one
        ended badly, too: then of its successor.

        Raises RequestError: JOB_NOT_FOUND, JOB_EXPIRED (its request is kept no more), INVALID_ARGUMENT (it has not
        ended, or has succeeded; or no model can do it now), and whatever a submit may be refused with, except PAUSED:
        who asks is the operator.
        """
        job = (await self._intake.find(principal, job_id)).job
        if job.state not in AGAIN:
            allowed = " or ".join(AGAIN)
            message = f"job {job_id!r} is {job.state}; only one that is {allowed} can be run again"
            raise invalid("job", str(job.state), allowed, message)
        new_id = self._successor(principal, job_id)
        while (state := await self._state(principal, new_id)) is not None:
            if state not in AGAIN:
                return new_id
            new_id = self._successor(principal, new_id)
        self._check(job)
        request = _request(job, new_id)
        if not request.files:
            return (await self._create(request, job)).status.job
        return await self._with_attachments(request, job)

    async def _with_attachments(self, request: Request, job: Job) -> str:
        if await self._attachments.adopt(request.files, lambda index, path: None) is None:
            raise RequestError(ErrorCode.JOB_EXPIRED, f"the images sent with job {job.id!r} are not kept any more")
        try:
            return (await self._create(request, job)).status.job
        finally:
            self._attachments.release(request.files)
            await self._keeper.collect(request.files)

    async def _state(self, principal: str, job_id: str) -> JobState | None:
        """How the job with this id is, if there is one; one that is as good as forgotten counts as expired."""
        try:
            return (await self._intake.find(principal, job_id)).job.state
        except RequestError as error:
            if error.code is ErrorCode.JOB_NOT_FOUND:
                return None
            if error.code is ErrorCode.JOB_EXPIRED:
                return JobState.EXPIRED
            raise

    def _create(self, request: Request, job: Job) -> asyncio.Future[Submitted]:
        # Somebody may have asked for the same just now. `begun`: a pause is not for operators.
        known = self._intake.attach(request) or self._intake.refuse(request, begun=True)
        return self._intake.create(request, job.params) if known is None else known

    def _successor(self, principal: str, job_id: str) -> str:
        """The id of the job that runs this one again; without the secret of the server nobody can foretell it."""
        digest = hmac.digest(self._secret, f"again\0{principal}\0{job_id}".encode(), hashlib.sha256)
        return str(uuid.UUID(bytes=digest[:16]))


def _request(job: Job, new_id: str) -> Request:
    tail = job.params.pack(job.kind, [one.name for one in job.attachments])
    return make_request(job.principal, new_id, job.kind, tail, job.attachments, job.trace, job.terms)
