"""A small server that keeps jobs as a real one does, so that clients may come and go: a scripted one with a memory."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from scripted_server import Request, ScriptedServer

from pixwire_protocol.messages import Cancel, Fetch, List, Status, Submit, Watch
from pixwire_protocol.params import fingerprint
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

SETTINGS = Settings(agent="steady/1", server_id="steady", epoch="e1", max_upload=1 << 24)


@dataclass(slots=True)
class Job:
    """A job that is done as soon as it is accepted: its images depend on its id alone."""

    fingerprint: str
    images: list[bytes]
    uploaded: list[bytes] = field(default_factory=list)


def images_of(job: str, count: int, size: int) -> list[bytes]:
    """What a job of that id makes."""
    return [hashlib.shake_256(f"{job}/{index}".encode()).digest(size) for index in range(count)]


class SteadyServer(ScriptedServer):
    """Answers by itself. `jobs` are kept over connections; `submits` counts those that came whole."""

    def __init__(self, *, count: int = 2, size: int = 100, settings: Settings = SETTINGS) -> None:
        super().__init__(settings)
        self.count = count
        self.size = size
        self.jobs: dict[str, Job] = {}
        self.submits = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()
        await super().__aexit__(kind, error, trace)

    async def _serve(self) -> None:
        while True:
            self._answer(await self.requests.get())

    def _answer(self, request: Request) -> None:
        match request.message:
            case Submit() as submit:
                if submit.attachments and not request.uploaded and request.job not in self.jobs:
                    request.when_uploaded = self._answer
                    return
                self._submit(request, submit)
            case Status() | Watch() | Fetch() | Cancel() if request.job not in self.jobs:
                request.error(ErrorCode.JOB_NOT_FOUND, "no such job")
            case List("jobs"):
                request.listed({"what": "jobs", "jobs": []})
            case List():
                request.listed({"what": "models", "models": []})
            case Status() | Cancel():
                images = self.jobs[request.job].images
                request.seq = 3
                request.result("succeeded", artifacts=[request.info(index, data) for index, data in enumerate(images)])
            case Watch():
                self._show(request, 4)
            case Fetch() as fetch:
                self._fetch(request, fetch)
            case _:
                raise AssertionError(request.message)

    def _submit(self, request: Request, submit: Submit) -> None:
        self.submits += 1
        mark = fingerprint(submit.kind, submit.tail, submit.attachments)
        job = self.jobs.get(request.job)
        if job is not None:
            assert job.fingerprint == mark, "the same job has other bytes"
            self._show(request, 4, duplicate=True)
            return
        for attachment, data in zip(submit.attachments, request.split(), strict=True):
            assert hashlib.sha256(data).hexdigest() == attachment.sha256
        self.jobs[request.job] = Job(mark, images_of(request.job, self.count, self.size), request.split())
        if not submit.watch:
            request.result("queued", queue_position=1)
            return
        request.accept("queued", queue_position=1)
        request.change("running")
        request.progress(2)
        request.succeed(self.jobs[request.job].images)

    def _show(self, request: Request, seq: int, **more: Any) -> None:
        """The job is over: its last state, and its images."""
        images = self.jobs[request.job].images
        request.seq = seq - 1
        infos = [request.info(index, data) for index, data in enumerate(images)]
        request.result("succeeded", end=not request.message.deliver, artifacts=infos, **more)
        if request.message.deliver:
            request.succeed(images, announce=False)

    def _fetch(self, request: Request, fetch: Fetch) -> None:
        data = self.jobs[request.job].images[fetch.artifact]
        assert fetch.etag == hashlib.sha256(data).hexdigest() or fetch.offset == 0
        request.announce_image(fetch.artifact, data, fetch.offset)
        request.data(data[fetch.offset :], end=True)
