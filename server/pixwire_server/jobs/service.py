"""Jobs: what the doors call. Owns every job from its acceptance to its end (SPEC 9)."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.status import ArtifactInfo, JobState, JobStatus
from pixwire_server.engine.api import ModelCard
from pixwire_server.store import Blob, Store, StoreError

from . import model, resolve
from .clock import Clock
from .dispatcher import Dispatcher
from .errors import RequestError, StartupError, translate
from .events import PREVIEW, Listener, OpenArtifact, Submitted, Watch
from .futures import chain, resolved, then
from .intake import Intake
from .ledger import Ledger
from .outcomes import Outcomes
from .pace import Pace
from .record import Record
from .retry import StoreRetry
from .settings import JobsSettings
from .state import Cause
from .supervisor import Supervisor
from .table import JobTable

_log = logging.getLogger(__name__)

DRAINING_RETRY_MS = 2_000
"""When to look for the successor of a server that is shutting down."""


class Jobs:
    """The jobs of one server. Made by `open_jobs`; lives in one event loop and is called from there only.

    Every operation returns a future, without a task. It is done on return when the answer is in memory; otherwise it is
    resolved in a later turn of the loop, from the journal. Refusals are its exception, a RequestError, or are raised at
    once by `submit` for a request that is wrong in itself. Cancelling a future gives up the answer, not the operation.
    """

    def __init__(
        self,
        settings: JobsSettings,
        store: Store,
        supervisor: Supervisor,
        clock: Clock,
        draw_seed: Callable[[], int] = resolve.draw_seed,
    ) -> None:
        self.server_id = store.journal.server_id
        """The name of this data directory's server, the same after each restart."""
        self.fatal = supervisor.fatal
        """Fails with EngineLostError when there will be no engine any more: the server should end."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._card: ModelCard | None = None
        self._draining = False
        self._closed = False
        self._moved = asyncio.Event()
        self._pace = Pace()
        self._table = JobTable(settings.recent_limit)
        self._retry = StoreRetry(settings.store_retry_s, self._store_changed)
        self._ledger = Ledger(store.journal, self._table, self._retry, clock)
        self._ledger.on_settled = self._settled
        self._supervisor = supervisor
        self._dispatcher = Dispatcher(
            self._table,
            self._ledger,
            Outcomes(self._ledger, store.artifacts, self._retry, clock),
            supervisor.send,
            places=settings.engine.max_resident,
            max_attempts=settings.max_attempts,
            clock=clock,
            may_start=lambda: supervisor.ready and not self._draining and not self._retry.troubled,
        )
        self._intake = Intake(
            store.journal,
            self._table,
            self._ledger,
            clock,
            card=lambda: self.card,
            draw_seed=draw_seed,
            refusal=self._refusal,
            on_queued=self._dispatcher.plan,
            last_position=store.last_position,
        )
        supervisor.on_report = self._dispatcher.report
        supervisor.on_ready = self._dispatcher.plan
        supervisor.on_lost = self._engine_lost

    @property
    def card(self) -> ModelCard:
        """What the served model accepts."""
        if self._card is None:
            raise RuntimeError("the engine has not started yet")
        return self._card

    @property
    def queued(self) -> int:
        return len(self._table.queue)

    @property
    def running(self) -> int:
        return self._dispatcher.running

    # ------------------------------------------------------------------------------------------- operations

    def submit(self, principal: str, job_id: str, kind: str, params_tail: bytes) -> asyncio.Future[Submitted]:
        """Accept a job; the future resolves when it is on disk and will survive the death of the server.

        The same submit again (same principal, id, kind and parameters) attaches to the job, whatever its state:
        `duplicate` is then true. Raises RequestError at once for a wrong parameter (INVALID_ARGUMENT, UNSUPPORTED). The
        future fails with JOB_CONFLICT (the id belongs to another request), QUEUE_FULL (also: no room on the disk) and
        DRAINING, which say when to try again, or INTERNAL (the store failed); nothing was accepted then.
        """
        return self._intake.submit(principal, job_id, kind, params_tail)

    def status(self, principal: str, job_id: str, with_params: bool = True) -> asyncio.Future[JobStatus]:
        """The job now. Fails with JOB_NOT_FOUND, also for a job of another principal."""
        return then(
            self._intake.find(principal, job_id), lambda record: self._ledger.status(record, with_params=with_params)
        )

    def watch(
        self, principal: str, job_id: str, listener: Listener, want: frozenset[str] = frozenset()
    ) -> asyncio.Future[Watch]:
        """Follow a job: a snapshot, then every event after it is passed to `listener`, in the event loop.

        `want` may hold "progress" and "preview"; changes of state are always told. The listener must not block and is
        not called before the callbacks of the returned future. Of a job that has ended there is only the snapshot.
        Fails with JOB_NOT_FOUND.
        """
        future = then(self._intake.find(principal, job_id), lambda record: self._watch(record, listener, want))
        if future.done():
            _release(future)
        else:
            future.add_done_callback(lambda done: asyncio.get_running_loop().call_soon(_release, done))
        return future

    def cancel(self, principal: str, job_id: str, reason: str = "") -> asyncio.Future[JobStatus]:
        """Stop a job. Harmless for one that has ended; fails with JOB_NOT_FOUND.

        A queued job is answered "cancelled", on disk. For a running one the future resolves when the wish is on disk,
        with the state of that moment; how the job ended is in its terminal event, for it may finish first.
        """
        return chain(self._intake.find(principal, job_id), lambda record: self._cancel(record, reason))

    def artifact(
        self, principal: str, job_id: str, index: int, etag: str | None = None
    ) -> asyncio.Future[OpenArtifact]:
        """Open an image of a succeeded job; the caller closes it. `etag` refuses another image than the one meant.

        Fails with JOB_NOT_FOUND, ARTIFACT_NOT_FOUND or ARTIFACT_CHANGED.
        """

        def opening(record: Record) -> asyncio.Future[OpenArtifact]:
            info = _artifact(record.job, index, etag)
            return then(self._store.artifacts.open(info.etag), partial(_opened, job_id, info), translate)

        return chain(self._intake.find(principal, job_id), opening)

    # -------------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Take up the jobs the journal holds, start the engine, wait until it is ready. Raises StartupError."""
        jobs = [
            model.recovered(model.from_row(row), self._settings.max_attempts, self._clock.wall_ms())
            for row in self._store.unfinished
        ]
        try:
            await asyncio.gather(*(self._store.journal.update(model.to_row(job)) for job in jobs))
        except StoreError as error:
            raise StartupError(f"the jobs of the last run cannot be taken up: {error}") from error
        records = [self._intake.keep(job) for job in jobs]
        if records:
            _log.info("jobs: %d of the last run are taken up", len(records))
        self._card = await self._supervisor.start()
        for record in records:
            self._check_recovered(record)

    async def drain(self, grace_s: float) -> None:
        """Take no new jobs and start none; return when those that run have ended, at the latest after `grace_s`
        seconds: what still runs then goes back to the queue, without counting the attempt. All of it is on disk then.
        """
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._until(lambda: not self._dispatcher.running and not self._ledger.unsettled)
        self._dispatcher.recall()
        await self._until(lambda: not self._ledger.unsettled or self._retry.troubled)
        await self._ledger.flush()

    async def close(self) -> None:
        """End the engine and close the store. Jobs that still run go back to the queue. May be called again."""
        if self._closed:
            return
        self._closed = True
        await self.drain(0)
        self._retry.stop()
        await self._supervisor.stop()
        await self._store.close()

    # ------------------------------------------------------------------------------------------- details

    def _watch(self, record: Record, listener: Listener, want: frozenset[str]) -> Watch:
        watch = Watch(self._ledger.status(record), listener, want, partial(self._unwatch, record))
        if not record.job.state.terminal:
            before = record.watched_for_previews
            record.add(watch)
            if not before and PREVIEW in want:
                self._dispatcher.previews_wanted(record, True)
        return watch

    def _unwatch(self, record: Record, watch: Watch) -> None:
        record.remove(watch)
        if PREVIEW in watch.want and not record.watched_for_previews:
            self._dispatcher.previews_wanted(record, False)

    def _cancel(self, record: Record, reason: str) -> asyncio.Future[JobStatus]:
        if record.settling is not None:
            return then(record.settling, lambda status: status)
        if record.job.state.terminal:
            return resolved(self._ledger.status(record))
        if record.job.state is JobState.QUEUED:
            self._table.queue.take(record.job.position)
            ended = self._ledger.settle(record, Cause.CANCELLED, error=model.cancelled(reason))
            return then(ended, lambda status: status)
        self._dispatcher.cancel(record)
        return then(self._ledger.note_cancel(record, reason), lambda kept: self._ledger.status(record), translate)

    def _refusal(self, pending: int) -> RequestError | None:
        """Why no new job is taken now, if so."""
        if self._draining:
            message = "the server is shutting down; submit the job again, with the same id, when it is back"
            return RequestError(ErrorCode.DRAINING, message, retry_after_ms=DRAINING_RETRY_MS)
        limit = self._settings.queue_limit
        if self.queued + pending >= limit:
            message = f"the queue is full ({limit} jobs wait); submit the job again later"
            return RequestError(ErrorCode.QUEUE_FULL, message, {"allowed": limit}, self._pace.retry_after_ms())
        return None

    def _check_recovered(self, record: Record) -> None:
        """The model may be another one than when the job was accepted."""
        if record.job.state is not JobState.QUEUED or record.settling is not None:
            return
        try:
            resolve.check(record.job.params, self.card)
        except RequestError as error:
            self._table.queue.take(record.job.position)
            self._ledger.settle(record, Cause.FAILED, error=model.error(error.code, error.message))

    def _engine_lost(self) -> None:
        self._dispatcher.engine_lost()
        self._notify()

    def _settled(self) -> None:
        self._pace.ended(self._clock.monotonic())
        self._notify()

    def _store_changed(self) -> None:
        if not self._retry.troubled:
            self._dispatcher.plan()
        self._notify()

    def _notify(self) -> None:
        """Wake those who wait in `_until`."""
        self._moved.set()
        self._moved.clear()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._moved.wait()


def _release(future: asyncio.Future[Watch]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().release()


def _artifact(job: model.Job, index: int, etag: str | None) -> ArtifactInfo:
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


def _opened(job_id: str, info: ArtifactInfo, blob: Blob | None) -> OpenArtifact:
    if blob is None or len(blob.data) != info.size:
        if blob is not None:
            blob.close()
        raise RequestError(
            ErrorCode.ARTIFACT_NOT_FOUND,
            f"the file of artifact {info.artifact} of job {job_id!r} is missing or damaged on the server's disk",
            {"field": "artifact", "value": info.artifact},
        )
    return OpenArtifact(info, blob)
