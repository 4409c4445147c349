"""Files and images between HTTP and Jobs: attachments go in, artifacts come out."""

import contextlib
import time
from asyncio import sleep, to_thread
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixwire_protocol.status import JobStatus
from pixwire_server.doors.http import links, openai_answers
from pixwire_server.doors.http.bodies import CHUNK, File
from pixwire_server.doors.http.desk import Call
from pixwire_server.doors.http.follow import ask
from pixwire_server.doors.http.openai_answers import Picture
from pixwire_server.doors.http.ranges import Span
from pixwire_server.doors.ports import JobsPort
from pixwire_server.jobs import OpenArtifact, Submitted, Terms, Trace

INLINE = 64 << 10
"""Images up to this many bytes are turned into base64 at once; larger ones in a thread, so that nobody waits for it."""


async def submit(
    call: Call, job: str, kind: str, tail: bytes, terms: Terms, trace: Trace | None, files: Sequence[File] = ()
) -> Submitted:
    """Submit a job with these files. Raises RequestError; nothing is left of an upload that fails."""
    jobs, principal = call.desk.jobs, call.principal
    if not files:
        return await ask(jobs.submit(principal, job, kind, tail, trace=trace, terms=terms))
    attachments = tuple([await file.announce() for file in files])
    begun = await ask(jobs.begin_upload(principal, job, kind, tail, attachments, trace=trace, terms=terms))
    if isinstance(begun, Submitted):
        return begun
    try:
        for file in files:
            async for chunk in file.chunks():
                await ask(begun.write(chunk))
        return await ask(begun.finish())
    except BaseException:
        begun.abort()
        raise


@contextlib.asynccontextmanager
async def opened(jobs: JobsPort, principal: str, status: JobStatus) -> AsyncIterator[list[OpenArtifact]]:
    """All images of a job that has succeeded, open. Raises RequestError."""
    found: list[OpenArtifact] = []
    try:
        for info in status.artifacts:
            found += [await ask(jobs.artifact(principal, status.job, info.artifact, info.etag))]
        yield found
    finally:
        for artifact in found:
            artifact.close()


async def images_body(call: Call, status: JobStatus) -> bytes:
    """The answer with all images in it. Raises RequestError."""
    created = int(time.time())
    async with opened(call.desk.jobs, call.principal, status) as found:
        if sum(one.info.size for one in found) <= INLINE:
            return _images(status, found, created)
        return await to_thread(_images, status, found, created)


def _images(status: JobStatus, found: Sequence[OpenArtifact], created: int) -> bytes:
    return openai_answers.images(status, [Picture(one.info, one.read()) for one in found], created)


def links_body(call: Call, status: JobStatus) -> bytes:
    """The answer with a link for each image."""
    pictures = [Picture(info, url=link(call, status.job, info.artifact)) for info in status.artifacts]
    return openai_answers.images(status, pictures, int(time.time()))


def link(call: Call, job: str, index: int) -> str:
    """An address under which the image can be had for a while, without a token."""
    url = f"{str(call.request.base_url).rstrip('/')}/v1/jobs/{job}/artifacts/{index}"
    if call.desk.porter.asks_nobody:
        return url
    settings = call.desk.settings
    return (
        f"{url}?key={links.sign(settings.link_secret, call.principal, job, index, int(time.time() + settings.link_s))}"
    )


class ArtifactResponse(Response):
    """Bytes of an open image, which is closed at the end. Sent from its file, in pieces (`cork.py`); others run in
    between.
    """

    def __init__(self, artifact: OpenArtifact, span: Span, headers: dict[str, str]) -> None:
        self._artifact, self._span = artifact, span
        about = {"content-length": str(span.length)} | headers
        if span.partial:
            about["content-range"] = span.content_range
        super().__init__(None, 206 if span.partial else 200, about, artifact.info.media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await self._send_all(send)
        finally:
            self._artifact.close()

    async def _send_all(self, send: Send) -> None:
        first, last = self._span.start, self._span.stop
        for start in range(first, last, CHUNK):
            if start > first:
                await sleep(0)
            stop = min(start + CHUNK, last)
            body: Any = self._artifact.part(start, stop)
            await send({"type": "http.response.body", "body": body, "more_body": stop < last})
