"""Jobs: what the doors call. Owns every job from its acceptance to its end (SPEC 9)."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from functools import partial

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.status import JobState, JobStatus, ModelInfo
from pixwire_server.engine import api, cost_file
from pixwire_server.scheduling.data import Limits
from pixwire_server.store import Store, StoreError

from . import deadlines, model, resolve
from .admin import Admin
from .catalogue import Catalogue
from .clock import Clock
from .cost_keeper import CostKeeper
from .dispatcher import Dispatcher
from .errors import StartupError, translate
from .events import PREVIEW, JobPage, Listener, OpenArtifact, Submitted, Watch
from .fetching import Fetcher
from .fitness import Fitness
from .futures import Answer, chain, resolved, then
from .gate import Gate
from .gauges import Gauges
from .intake import Intake
from .ledger import Ledger
from .listing import Lister
from .model_admin import ModelAdmin
from .outcomes import Outcomes
from .overview import Overlook
from .planner import Bounds, Planner
from .record import Record
from .request import Terms, Trace, make_request
from .requeue import Requeue
from .retry import StoreRetry
from .settings import JobsSettings
from .state import Cause
from .supervisor import Supervisor
from .sweeper import Sweeper
from .table import JobTable
from .uploads import Upload, Uploads
from .works import Works

_log = logging.getLogger(__name__)


TAKEN_UP = 500
"""Jobs of the last run that are taken up in one turn of the loop."""


class Jobs:
    """The jobs of one server. Made by `open_jobs`; lives in one event loop and is called from there only.

    Every operation returns a future; only uploads need a task. It is done on return when the answer is in memory;
    otherwise it is resolved in a later turn of the loop, from the journal. Refusals are its exception, a RequestError,
    or are raised at once by `submit`, `begin_upload` and `list_jobs` for a request that is wrong in itself. Cancelling
    a future gives up the answer, not the operation.
    """

    def __init__(
        self,
        settings: JobsSettings,
        store: Store,
        supervisor: Supervisor,
        clock: Clock,
        draw_seed: Callable[[], int] = resolve.draw_seed,
        gauges: Gauges | None = None,
    ) -> None:
        self.server_id = store.journal.server_id
        """The name of this data directory's server, the same after each restart."""
        self.secret = store.journal.secret
        """For signing what is given to clients and comes back from them."""
        self.fatal = supervisor.fatal
        """Fails with EngineLostError when there will be no engine any more: the server should end."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self.catalogue = Catalogue()
        """The models and their states."""
        self._closed = False
        self._moved = asyncio.Event()
        limits = Limits(settings.queue_limit, settings.principal_queue_limit, settings.principal_running_limit)
        self._table = JobTable(settings.recent_limit, limits)
        self._gate = Gate(self._table.queue, lambda: self._intake.pending, settings.principal_queue_limit)
        self.gauges = gauges or Gauges()
        """What the engine did lately."""
        self._planner = self._make_planner()
        self._cost_keeper = CostKeeper(settings.engine, self._planner.costs, settings.cost_save_s)
        self._retry = StoreRetry(settings.store_retry_s, self._store_changed)
        self.retention = settings.retention
        """How long what has ended is kept."""
        self._ledger = Ledger(store.journal, self._table, self._retry, clock, self.retention, self._planner)
        self._ledger.on_settled = self._settled
        self._fitness = Fitness(self._table.queue, self._ledger, self.catalogue)
        self._supervisor = supervisor
        self._dispatcher = Dispatcher(
            self._table,
            self._ledger,
            Outcomes(self._ledger, store.artifacts, self._retry, clock),
            supervisor.send,
            store.attachments.path,
            self._planner,
            self.gauges,
            max_attempts=settings.max_attempts,
            clock=clock,
            may_start=lambda: supervisor.ready and not self._gate.draining and not self._retry.troubled,
        )
        self._intake = self._make_intake(draw_seed)
        self._uploads = self._make_uploads(draw_seed)
        self._uploads.on_idle = self._notify
        self._fetcher = Fetcher(self._intake, store.artifacts)
        self._lister = Lister(store.journal, self._table, self.retention, clock, store.journal.secret)
        self._sweeper = Sweeper(store.journal, store.keeper, self._table, self.retention, clock, settings.sweep_s)
        self.admin = self._make_admin()
        """For the operators."""
        self._gate.paused = self.admin.refusal
        supervisor.on_report = self._report
        supervisor.on_ready = self._dispatcher.plan
        supervisor.on_lost = self._engine_lost

    def _make_planner(self) -> Planner:
        """The scheduler's view of jobs, with what earlier runs of this server have learnt."""
        settings, engine = self._settings, self._settings.engine
        costs = cost_file.load(engine)
        works = Works(self.catalogue.where)
        bounds = Bounds(engine.max_resident, engine.max_rows, settings.resident_bytes, settings.max_attempts)
        return Planner(self._table.queue, costs, works, bounds)

    def _make_intake(self, draw_seed: Callable[[], int]) -> Intake:
        return Intake(
            self._store.journal,
            self._table,
            self._ledger,
            self._clock,
            self.retention,
            models=self.catalogue,
            draw_seed=draw_seed,
            refusal=self._gate.refusal,
            on_queued=self._dispatcher.plan,
            planner=self._planner,
            last_position=self._store.last_position,
        )

    def _make_uploads(self, draw_seed: Callable[[], int]) -> Uploads:
        return Uploads(
            self._intake,
            self._store.journal,
            self._store.attachments,
            self._store.keeper,
            models=self.catalogue,
            draw_seed=draw_seed,
            max_upload_bytes=self._settings.max_upload_bytes,
            upload_bytes=self._settings.upload_bytes,
        )

    def _make_admin(self) -> Admin:
        store, supervisor, table, clock = self._store, self._supervisor, self._table, self._clock
        limit, pattern = self._settings.queue_limit, self._settings.engine.models[0]
        return Admin(
            table,
            self._intake,
            clock,
            Overlook(table, self._dispatcher, self._ledger, supervisor, self.catalogue, clock, self.cost_errors, limit),
            Requeue(self._intake, store.attachments, store.keeper, self._fitness.check, store.journal.secret),
            ModelAdmin(self.catalogue, supervisor.send, lambda: supervisor.ready, pattern),
            self._cancel,
            draining=lambda: self._gate.draining,
        )

    @property
    def queued(self) -> int:
        return len(self._table.queue)

    @property
    def running(self) -> int:
        return self._dispatcher.running

    def cost_errors(self) -> tuple[float | None, float | None, float]:
        """How far off the times foretold for jobs were: median and 90th percentile of actual / foretold (None: none has
        ended yet); and the slack that deadlines are judged with, which is learnt from that.
        """
        errors = self._planner.costs.job_errors()
        return *((errors.p50, errors.p90) if errors.count else (None, None)), self._planner.slack

    # ------------------------------------------------------------------------------------------- operations

    def submit(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> Answer[Submitted]:
        """Accept a job; the future resolves when it is on disk and will survive the death of the server.

        The same submit again (same principal, id, kind and parameters) attaches to the job, whatever its state:
        `duplicate` is then true. Raises RequestError at once for a wrong parameter (INVALID_ARGUMENT, UNSUPPORTED). The
        future fails with JOB_CONFLICT (the id belongs to another request), JOB_EXPIRED (to one whose results are gone),
        QUEUE_FULL (also: no room on the disk), QUOTA_EXCEEDED (too many jobs of this principal wait) and DRAINING,
        which say when to try again, DEADLINE_EXCEEDED (it could not be done in its `terms.timeout_ms`), or INTERNAL
        (the store failed); nothing was accepted then. `trace` and `terms` are those of the submit which made the job.
        """
        request = make_request(principal, job_id, kind, params_tail, (), trace, terms)
        if terms is not None:
            deadlines.check(terms)
        return self._intake.submit(request)

    def begin_upload(
        self,
        principal: str,
        job_id: str,
        kind: str,
        params_tail: bytes,
        attachments: tuple[Attachment, ...],
        *,
        trace: Trace | None = None,
        terms: Terms | None = None,
    ) -> asyncio.Future[Submitted | Upload]:
        """As `submit`, for a job with attachments, whose bytes are then written to the `Upload`.

        The answer is a Submitted when no bytes are needed: the job is known, or this principal has sent all of them
        before. Also fails with QUOTA_EXCEEDED when too many bytes are under way. Whoever gets an Upload finishes or
        aborts it; when the future was cancelled, it is aborted.
        """
        request = make_request(principal, job_id, kind, params_tail, attachments, trace, terms)
        deadlines.check(request.terms)
        return self._uploads.begin(request)

    def status(self, principal: str, job_id: str, with_params: bool = True) -> asyncio.Future[JobStatus]:
        """The job now. Fails with JOB_NOT_FOUND, also for a job of another principal, or JOB_EXPIRED."""
        return then(
            self._intake.find(principal, job_id), lambda record: self._ledger.status(record, with_params=with_params)
        )

    def status_body(self, principal: str, job_id: str) -> bytes | asyncio.Future[bytes]:
        """The same with its parameters, as the map that goes over the wire, packed. It is up to 0.1 s old.

        At once, without a future, when the job is in memory.
        """
        key = principal, job_id
        if (fresh := self._ledger.shown.fresh(key)) is not None:
            return fresh
        if (record := self._intake.kept(key)) is not None:
            return self._ledger.shown.body(record)
        return then(self._intake.find(principal, job_id), self._ledger.shown.body)

    def watch(
        self, principal: str, job_id: str, listener: Listener, want: frozenset[str] = frozenset()
    ) -> asyncio.Future[Watch]:
        """Follow a job: a snapshot, then every event after it is passed to `listener`, in the event loop.

        `want` may hold "progress" and "preview"; changes of state are always told. The listener must not block and is
        not called before the callbacks of the returned future. Of a job that has ended there is only the snapshot.
        Fails with JOB_NOT_FOUND or JOB_EXPIRED.
        """
        future = then(self._intake.find(principal, job_id), lambda record: self._watch(record, listener, want))
        if future.done():
            _release(future)
        else:
            future.add_done_callback(lambda done: asyncio.get_running_loop().call_soon(_release, done))
        return future

    def cancel(self, principal: str, job_id: str, reason: str = "") -> asyncio.Future[JobStatus]:
        """Stop a job. Harmless for one that has ended; fails with JOB_NOT_FOUND or JOB_EXPIRED.

        A queued job is answered "cancelled", on disk. For a running one the future resolves when the wish is on disk,
        with the state of that moment; how the job ended is in its terminal event, for it may finish first.
        """
        return chain(self._intake.find(principal, job_id), lambda record: self._cancel(record, reason))

    def artifact(
        self, principal: str, job_id: str, index: int, etag: str | None = None
    ) -> asyncio.Future[OpenArtifact]:
        """Open an image of a succeeded job; the caller closes it. `etag` refuses another image than the one meant.

        What was opened stays readable when the job's time runs out meanwhile. Fails with JOB_NOT_FOUND, JOB_EXPIRED,
        ARTIFACT_NOT_FOUND or ARTIFACT_CHANGED.
        """
        return self._fetcher.open(principal, job_id, index, etag)

    def list_jobs(
        self,
        principal: str,
        limit: int,
        after: str | None = None,
        states: Collection[str] = (),
        tag: str | None = None,
    ) -> asyncio.Future[JobPage]:
        """At most `limit` jobs of this principal that are in one of `states` (any, when none are named) and have this
        `tag`, if one is asked for, newest first; `after` is the `next` of the page before. Those whose results are gone
        are left out.

        Raises RequestError(INVALID_ARGUMENT) at once for a state that does not exist and an `after` that was not given.
        """
        return self._lister.page(principal, limit, after, states, tag)

    def models(self) -> tuple[ModelInfo, ...]:
        """What is served, the default first."""
        return self.catalogue.listed()

    # -------------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Take up the jobs the journal holds, start the engine, wait until it is ready. Raises StartupError."""
        rows, attempts, now_ms = self._store.unfinished, self._settings.max_attempts, self._clock.wall_ms()
        ran = [model.recovered(model.from_row(row), attempts, now_ms) for row in rows if row.state != JobState.QUEUED]
        try:
            await self._store.journal.raise_seq(model.RECOVERY_GAP)  # of all at once: there may be very many
            await asyncio.gather(*(self._store.journal.update(model.to_row(job)) for job in ran))
        except StoreError as error:
            raise StartupError(f"the jobs of the last run cannot be taken up: {error}") from error
        if rows:
            _log.info("jobs: %d of the last run are taken up", len(rows))
        await self._supervisor.start()
        rows.reverse()
        while rows:  # one by one: never there twice; not earlier: what a job takes depends on the model
            job = model.recovered(model.from_row(rows.pop()), attempts, now_ms)
            self._fitness.settle(self._intake.keep(job))
            if len(rows) % TAKEN_UP == TAKEN_UP - 1:
                await asyncio.sleep(0)  # the engine's reports and signals get their turn
        self._dispatcher.plan()
        self._sweeper.start()
        self._cost_keeper.start()

    async def drain(self, grace_s: float) -> None:
        """Take no new jobs and start none; return when those that run have ended and the uploads that were let in
        before are complete, at the latest after `grace_s` seconds: what still runs then goes back to the queue, without
        counting the attempt. All of it is on disk then.
        """
        self._gate.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._until(lambda: not (self.running or self._ledger.unsettled or self._uploads.busy))
        self._dispatcher.recall()
        await self._until(lambda: not self._ledger.unsettled or self._retry.troubled)
        await self._ledger.flush()

    async def close(self) -> None:
        """End the engine and close the store. Jobs that still run go back to the queue. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._gate.draining = True
        await self._sweeper.stop()
        await self.admin.close()
        await self._uploads.close()
        await self.drain(0)
        self._dispatcher.close()
        self._retry.stop()
        await self._cost_keeper.stop()
        await self._supervisor.stop()
        await self._store.close()

    # ------------------------------------------------------------------------------------------- details

    def _watch(self, record: Record, listener: Listener, want: frozenset[str]) -> Watch:
        closing = partial(self._unwatch, record)
        watch = Watch(self._ledger.status(record), listener, want, closing, record.known_timesteps)
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
            self._table.queue.remove(record)
            ended = self._ledger.settle(record, Cause.CANCELLED, error=model.cancelled(reason))
            return then(ended, lambda status: status)
        self._dispatcher.cancel(record)
        return then(self._ledger.note_cancel(record, reason), lambda kept: self._ledger.status(record), translate)

    def _report(self, report: api.Report) -> None:
        self.catalogue.report(report)
        if isinstance(report, api.ModelRemoved):
            self._fitness.removed(report.name)
        else:
            self._dispatcher.report(report)

    def _engine_lost(self) -> None:
        self._dispatcher.engine_lost()
        self.admin.engine_lost()
        self._notify()

    def _settled(self, job: model.Job) -> None:
        for hear in self.gauges.on_end:
            hear(job)
        self._gate.pace.ended(self._clock.monotonic())
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
