"""Requests with attachments: their bytes come in, are checked and put onto the disk, and only then there is a job.

    begin --known, or all attachments are there--> answered early
      |
      '--> Upload: write ... write, finish --> verified, on disk, job in the journal, answered
                |-- abort, or a failure --> nothing remains

A crash at any point leaves files that no job refers to; the next start removes them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import IMAGE
from pixwire_server.store import Arrival, AttachmentStore, FileRef, JobStore, MismatchError, Retained

from . import pictures, resolve
from .catalogue import Catalogue
from .errors import RequestError, invalid, translate
from .events import Submitted
from .futures import fail, give, then, unheard
from .intake import Intake
from .pictures import Picture
from .request import Request

T = TypeVar("T")
Data = bytes | bytearray | memoryview

QUOTA_RETRY_MS = 5_000
"""When there may be room for another upload: those under way take seconds."""


class Upload:
    """The bytes of one request's attachments on their way in; made by `Jobs.begin_upload`.

    When one of its futures has failed, the upload is over and nothing of it remains.
    """

    def __init__(
        self,
        arrival: Arrival[Picture],
        size: int,
        accept: Callable[[list[Picture]], asyncio.Future[Submitted]],
        ended: "Callable[[Upload, asyncio.Future[None]], None]",
        run: "Callable[[Coroutine[Any, Any, Submitted]], asyncio.Future[Submitted]]",
    ) -> None:
        self.size = size
        """Bytes that were announced, all attachments together."""
        self._arrival = arrival
        self._missing = size
        self._accept = accept
        self._ended = ended
        self._run = run
        self._finishing = False
        self._given_up = False
        self._over = False

    def write(self, data: Data) -> asyncio.Future[None]:
        """The next bytes, in the order of the calls, wherever the border between two attachments lies.

        Done when they are on their way to the disk and the buffer may be used again. Fails with RequestError:
        INVALID_ARGUMENT naming `attachments[i].sha256` or `.media_type`, QUEUE_FULL (no room on the disk), INTERNAL.
        Raises ValueError for more bytes than were announced, and RuntimeError after the end.
        """
        if self._over or self._finishing:
            raise RuntimeError("the upload is over")
        size = memoryview(data).nbytes
        if size > self._missing:
            raise ValueError(f"{size - self._missing} bytes more than were announced")
        self._missing -= size
        written = unheard(then(self._arrival.write(data), lambda nothing: nothing, _refusal))
        written.add_done_callback(self._written)
        return written

    def finish(self) -> asyncio.Future[Submitted]:
        """All bytes were written: make the job. Resolves when it and its attachments are on disk.

        May be called before the futures of the writes are done. Fails as `write` and as `Jobs.submit`. Raises
        ValueError when bytes are missing. Cancelling the future gives up the answer only.
        """
        if self._over or self._finishing:
            raise RuntimeError("the upload is over")
        if self._missing:
            raise ValueError(f"{self._missing} bytes are missing")
        self._finishing = True
        return self._run(self._finish())

    def abort(self) -> None:
        """Give it up: what was stored is removed. Harmless after the end; while `finish` is under way it may come too
        late.
        """
        self._given_up = True
        if not self._finishing:
            self._end()

    async def _finish(self) -> Submitted:
        try:
            try:
                found = await self._arrival.seal()
            except Exception as error:
                raise _refusal(error) from error
            if self._given_up:
                raise RequestError(ErrorCode.CANCELLED, "the upload was given up")
            return await self._accept(found)
        finally:
            self._end()  # not earlier: until the job is in the journal, only this upload keeps its files

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._ended(self, self._arrival.discard())

    def _written(self, written: asyncio.Future[None]) -> None:
        if not written.cancelled() and written.exception() is not None and not self._finishing:
            self.abort()


class Uploads:
    """Begins uploads and keeps account of those under way. Lives in the event loop."""

    def __init__(
        self,
        intake: Intake,
        journal: JobStore,
        attachments: AttachmentStore,
        keeper: Retained,
        *,
        models: Catalogue,
        draw_seed: Callable[[], int],
        max_upload_bytes: int,
        upload_bytes: int,
    ) -> None:
        self._intake = intake
        self._journal = journal
        self._attachments = attachments
        self._keeper = keeper
        self._models = models
        self._draw_seed = draw_seed
        self._max_upload_bytes = max_upload_bytes
        self._upload_bytes = upload_bytes
        self._reserved = 0
        self.on_idle: Callable[[], None] = lambda: None
        """Called whenever nothing is under way any more."""
        self._open: set[Upload] = set()
        self._work: set[asyncio.Future[Any]] = set()

    @property
    def reserved(self) -> int:
        """Bytes announced by the uploads that are not finished."""
        return self._reserved

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._open or self._work)

    def begin(self, request: Request) -> asyncio.Future[Submitted | Upload]:
        """See `Jobs.begin_upload`."""
        known = self._intake.attach(request)
        if known is not None:
            return then(known, lambda submitted: submitted)
        asked = resolve.parse(request.kind, request.tail, request.attachments, self._models)
        resolve.check_attachments(request.attachments, self._max_upload_bytes)
        refused = self._intake.refuse(request)
        if refused is not None:
            return then(refused, lambda submitted: submitted)
        return self._run(self._begin(request, asked))

    async def close(self) -> None:
        """Give up what is under way and wait until its files are gone."""
        while self._open or self._work:
            for upload in tuple(self._open):
                upload.abort()
            await asyncio.wait(self._work)

    async def _begin(self, request: Request, asked: GenerateParams) -> "Submitted | Upload":
        known = await self._intake.lookup(request)
        if known is not None:
            return known
        # Only what this principal has sent itself: that a file is here must not be told to anybody else.
        if await self._journal.owns(request.principal, request.files):
            try:
                found = await self._attachments.adopt(request.files, _inspector(request))
            except Exception as error:
                raise _refusal(error) from error
            if found is not None:
                return await self._adopted(request, asked, found)
        return self._receive(request, asked)

    async def _adopted(self, request: Request, asked: GenerateParams, found: list[Picture]) -> Submitted:
        try:
            return await self._accept(request, asked, found)
        finally:
            self._attachments.release(request.files)
            self._later(self._keeper.collect(request.files))

    def _receive(self, request: Request, asked: GenerateParams) -> Upload:
        size = sum(one.size for one in request.attachments)
        if self._reserved + size > self._upload_bytes:
            message = f"the uploads under way leave no room for {size} bytes more; send the request again later"
            allowed = f"{self._upload_bytes} bytes in all uploads at a time"
            details = {"field": "attachments", "value": size, "allowed": allowed}
            raise RequestError(ErrorCode.QUOTA_EXCEEDED, message, details, QUOTA_RETRY_MS)
        self._reserved += size
        arrival = self._attachments.receive(request.files, _inspector(request))
        accept = partial(self._accept, request, asked, begun=True)
        upload = Upload(arrival, size, accept, partial(self._ended, request.files), self._run)
        self._open.add(upload)
        return upload

    def _accept(
        self, request: Request, asked: GenerateParams, found: list[Picture], *, begun: bool = False
    ) -> asyncio.Future[Submitted]:
        """The files are in place and held: make the job, unless there is one by now."""
        image = dict(zip(request.names, found, strict=True)).get(IMAGE)
        params = resolve.resolve(asked, self._models.card(asked.model), self._draw_seed, request.kind, image)
        known = self._intake.attach(request) or self._intake.refuse(request, begun=begun)
        return self._intake.create(request, params) if known is None else known

    def _ended(self, files: tuple[FileRef, ...], upload: Upload, discarded: asyncio.Future[None]) -> None:
        """Its files are in nobody's hands now: those that no job refers to are removed."""

        def gone(done: asyncio.Future[None]) -> None:
            self._reserved -= upload.size
            self._open.discard(upload)
            self._later(self._keeper.collect(files))

        self._later(discarded)
        discarded.add_done_callback(gone)

    def _run(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Carry out `work` to its end, whoever gives up waiting for it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def done(task: asyncio.Task[T]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                fail(answer, translate(error))
            elif answer.cancelled():
                if isinstance(upload := task.result(), Upload):
                    upload.abort()  # nobody has it
            else:
                give(answer, task.result())

        task = loop.create_task(work)
        task.add_done_callback(done)
        self._later(task)
        return unheard(answer)

    def _later(self, work: asyncio.Future[Any]) -> None:
        """Remember what is still to be done before the store may be closed."""
        self._work.add(unheard(work))
        work.add_done_callback(self._finished)

    def _finished(self, work: asyncio.Future[Any]) -> None:
        self._work.discard(work)
        if not self.busy:
            self.on_idle()


def _inspector(request: Request) -> Callable[[int, Path], Picture]:
    def inspect(index: int, path: Path) -> Picture:
        return pictures.inspect(path, request.attachments[index].media_type, f"attachments[{index}].media_type")

    return inspect


def _refusal(error: BaseException) -> BaseException:
    """What the client is told of a failure of the store."""
    if isinstance(error, MismatchError):
        field = f"attachments[{error.index}].sha256"
        message = (
            f"{field}: the bytes that came have the sha256 {error.actual}; announce that one, or send what was meant"
        )
        return invalid(field, error.expected, error.actual, message)
    return translate(error)
