"""Opens the images of jobs that have succeeded."""

import asyncio
from typing import NoReturn

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ArtifactInfo
from pixwire_server.store import ArtifactStore, Blob

from .errors import RequestError, translate
from .events import OpenArtifact, damaged
from .futures import chain, resolved, then
from .intake import Intake
from .model import Job
from .record import Record


class Fetcher:
    """Finds the job, then the file. Lives in the event loop."""

    def __init__(self, intake: Intake, artifacts: ArtifactStore) -> None:
        self._intake = intake
        self._artifacts = artifacts

    def open(self, principal: str, job_id: str, index: int, etag: str | None) -> asyncio.Future[OpenArtifact]:
        """See `Jobs.artifact`. Done at once for a job in memory whose file is kept open."""
        record = self._intake.kept((principal, job_id))
        if record is None:
            return chain(self._intake.find(principal, job_id), lambda record: self._opened(record, index, etag))
        try:
            return self._opened(record, index, etag)
        except RequestError as error:
            refused: asyncio.Future[OpenArtifact] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    def _opened(self, record: Record, index: int, etag: str | None) -> asyncio.Future[OpenArtifact]:
        job = record.job
        info = _artifact(job, index, etag)
        blob = self._artifacts.kept(info.etag)
        if blob is not None and blob.size == info.size:
            return resolved(OpenArtifact(info, blob))

        def read(blob: Blob | None) -> asyncio.Future[OpenArtifact]:
            if blob is not None and blob.size == info.size:
                return resolved(OpenArtifact(info, blob))
            # It is not what it should be. Or the job's time has run out since it was found.
            return then(self._intake.find(job.principal, job.id), lambda record: _refuse_damaged(info))

        return chain(then(self._artifacts.open(info.etag), lambda blob: blob, translate), read)


def _artifact(job: Job, index: int, etag: str | None) -> ArtifactInfo:
    if not 0 <= index < len(job.artifacts):
        have = f"{len(job.artifacts)} artifacts, numbered from 0" if job.artifacts else "no artifacts"
        message = f"job {job.id!r} is {job.state} and has {have}: there is no artifact {index}"
        raise RequestError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            message,
            {"field": "artifact", "value": index, "allowed": f"below {len(job.artifacts)}"},
        )
    info = job.artifacts[index]
    if etag is not None and etag != info.etag:
        message = f"artifact {index} of job {job.id!r} has another etag now; fetch it from the beginning, without etag"
        raise RequestError(ErrorCode.ARTIFACT_CHANGED, message, {"field": "etag", "value": etag, "allowed": info.etag})
    return info


def _refuse_damaged(info: ArtifactInfo) -> NoReturn:
    raise damaged(info)
