"""Opens the images of jobs that have succeeded."""

import asyncio
from functools import partial
from typing import NoReturn

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ArtifactInfo
from pixwire_server.store import ArtifactStore, Blob

from .errors import RequestError, translate
from .events import OpenArtifact
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
        """See `Jobs.artifact`."""

        def found(record: Record) -> asyncio.Future[OpenArtifact]:
            info = _artifact(record.job, index, etag)
            opened = then(self._artifacts.open(info.etag), partial(_opened, info), translate)
            return chain(opened, lambda image: missing(info) if image is None else resolved(image))

        def missing(info: ArtifactInfo) -> asyncio.Future[OpenArtifact]:
            # The job's time may have run out since it was found.
            return then(self._intake.find(principal, job_id), lambda record: _refuse_damaged(job_id, info))

        return chain(self._intake.find(principal, job_id), found)


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


def _opened(info: ArtifactInfo, blob: Blob | None) -> OpenArtifact | None:
    """None for a file that is not what it should be."""
    if blob is not None and len(blob.data) == info.size:
        return OpenArtifact(info, blob)
    if blob is not None:
        blob.close()
    return None


def _refuse_damaged(job_id: str, info: ArtifactInfo) -> NoReturn:
    raise RequestError(
        ErrorCode.ARTIFACT_NOT_FOUND,
        f"the file of artifact {info.artifact} of job {job_id!r} is missing or damaged on the server's disk",
        {"field": "artifact", "value": info.artifact},
    )
