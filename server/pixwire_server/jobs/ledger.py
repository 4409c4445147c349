"""The only writer of the journal: every change of a job passes through here.

There are two kinds. A change on the way (started, sent back) takes effect at once and is journalled behind it: if the
process dies in between, the restart decides the same again. An end is journalled first and takes effect when it is on
disk: whoever hears of it can rely on it, and it is written again and again until it is.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pixwire_protocol.status import JobState, JobStatus
from pixwire_server.store import JobRow, JobStore, StoreError

from . import deadlines, model
from .clock import Clock
from .errors import from_store
from .events import StateChanged
from .futures import fail, give, unheard
from .model import Job
from .planner import Estimate, Planner
from .record import Record
from .retention import Retention
from .retry import StoreRetry
from .shown import Shown
from .state import Cause
from .table import JobTable

_log = logging.getLogger(__name__)


class Ledger:
    """Changes jobs, in memory and in the journal, and tells their watchers. Lives in the event loop."""

    def __init__(
        self,
        store: JobStore,
        table: JobTable,
        retry: StoreRetry,
        clock: Clock,
        retention: Retention,
        planner: Planner,
    ) -> None:
        self._store = store
        self._planner = planner
        self._table = table
        self._retry = retry
        self._clock = clock
        self._retention = retention
        self._writes: set[asyncio.Future[Any]] = set()
        self._unsettled = 0
        self.shown = Shown(partial(self.status, with_params=True), table, clock)
        """`status` with the parameters, as the wire has it."""
        self.on_settled: Callable[[Job], None] = lambda job: None

    @property
    def unsettled(self) -> int:
        """Jobs whose end is known and not on disk yet."""
        return self._unsettled

    def change(self, record: Record, cause: Cause, **fields: Any) -> None:
        """A change on the way."""
        record.job = model.change(record.job, cause, **fields)
        self._write(record.job).add_done_callback(_log_failure)
        record.emit(StateChanged(self.status(record)))

    def note_cancel(self, record: Record, reason: str) -> asyncio.Future[bool]:
        """Journal that this running job is to be cancelled, so that no restart runs it again. A repeat changes nothing.

        The future fails with StoreError.
        """
        if record.job.cancel_reason is None:
            record.job = replace(record.job, cancel_reason=reason, seq=record.job.seq + 1)
        return self._write(record.job)

    def settle(self, record: Record, cause: Cause, **fields: Any) -> asyncio.Future[JobStatus]:
        """The end. `record.settling` is set until it is on disk; then the job is terminal and its watchers know.

        The future fails with RequestError when the store refuses; the write is tried again nevertheless, and
        `record.settling` is then the future of the next try.
        """
        settling = record.settling or self.begin_end(record)
        job = model.change(record.job, cause, finished_ms=self._clock.wall_ms(), **fields)

        def refused(error: StoreError) -> None:
            waiting, record.settling = record.settling, _new_settling()
            if waiting is not None:
                fail(waiting, from_store(error))

        def kept(fresh: bool) -> None:
            if fresh:
                self._settled(record, job)
            else:
                self._adopt(record, job)

        def broken(defect: Exception) -> None:
            """Not on disk, so that a restart runs the job again; but nobody shall wait for it until then."""
            self._settled(record, replace(job, state=JobState.FAILED, artifacts=(), error=model.broken(defect)))

        self._retry.run(lambda: self._write(job), kept, broken, refused)
        return settling

    def begin_end(self, record: Record) -> asyncio.Future[JobStatus]:
        """The job's end is known, but something has to be done before `settle` (its images are being stored)."""
        record.settling = _new_settling()
        self._unsettled += 1
        return record.settling

    def status(self, record: Record, *, with_params: bool = False, estimate: Estimate | None = None) -> JobStatus:
        """The job as the wire shows it now. `estimate`: what the planner said of it just now."""
        job = record.job
        if job.finished_ms is None:
            return model.status(job, self._outlook(record, job, estimate), with_params=with_params)
        retain_ms = self._retention.left_ms(job.finished_ms, self._clock.wall_ms())
        return model.status(job, retain_ms=retain_ms, with_params=with_params)

    def _outlook(self, record: Record, job: Job, estimate: Estimate | None) -> model.Outlook:
        now, rank = self._clock.monotonic(), self._table.queue.rank(record)
        eta_ms = round(self._planner.eta(record, job, rank, now, estimate) * 1000)
        left_ms = None if job.terms.timeout_ms is None else deadlines.left_ms(record, now)
        return model.Outlook(rank, eta_ms, left_ms)

    async def flush(self) -> None:
        """Wait until no write is under way. Cancelling it stops the waiting only."""
        while self._writes:
            await asyncio.wait(self._writes)

    def _write(self, job: Job) -> asyncio.Future[bool]:
        future = unheard(self._store.update(model.to_row(job), model.artifact_files(job)))
        self._writes.add(future)
        future.add_done_callback(self._writes.discard)
        return future

    def _adopt(self, record: Record, job: Job) -> None:
        """The journal has an end already: a write that was reported as failed had arrived after all."""

        def found(row: JobRow | None) -> None:
            self._settled(record, job if row is None else model.from_row(row))

        self._retry.run(lambda: self._store.find(*record.job.key), found, lambda defect: self._settled(record, job))

    def _settled(self, record: Record, job: Job) -> None:
        if record.job.state.terminal:
            return
        record.job = job
        self._table.add(record)
        self._unsettled -= 1
        settling, record.settling = record.settling, None
        if record.let_go is not None:
            record.let_go()
            record.let_go = None
        status = self.status(record)
        record.emit(StateChanged(status))
        if settling is not None:
            give(settling, status)
        self.on_settled(job)


def _new_settling() -> asyncio.Future[JobStatus]:
    return unheard(asyncio.get_running_loop().create_future())


def _log_failure(future: asyncio.Future[bool]) -> None:
    """A change on the way need not be on disk; the end of the job will be."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.warning("a change of a job was not journalled: %s", error)
