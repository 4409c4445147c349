"""Gives queued jobs to the engine and turns its reports into changes of jobs.

Every run has a handle of its own, never used twice, also not after a restart of the engine: a report with a handle that
is not current comes from a run that was given up and is ignored.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixwire_server.engine import api
from pixwire_server.scheduling.admission import admit
from pixwire_server.scheduling.data import Capacity, Waiting

from . import model, resolve
from .clock import Clock
from .events import PreviewShown, Progressed
from .ledger import Ledger
from .outcomes import Outcomes
from .record import Record
from .state import Cause
from .table import JobTable


@dataclass(slots=True)
class Run:
    """One attempt that the engine works on."""

    handle: int
    record: Record
    alone: bool
    holds_place: bool = True
    """Until the engine reports Left: then its last step is done, though its image is not."""


class Dispatcher:
    """Decides nothing itself: who starts is `scheduling.admission`, what a change means is the ledger."""

    def __init__(
        self,
        table: JobTable,
        ledger: Ledger,
        outcomes: Outcomes,
        send: Callable[[api.Command], None],
        path: Callable[[str], Path],
        *,
        places: int,
        max_attempts: int,
        clock: Clock,
        may_start: Callable[[], bool],
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._outcomes = outcomes
        self._send = send
        self._path = path
        self._places = places
        self._max_attempts = max_attempts
        self._clock = clock
        self._may_start = may_start
        self._runs: dict[int, Run] = {}
        self._last_handle = 0
        self._pump_planned = False
        self._handlers: dict[type[api.Report], Callable[[Run, Any], None]] = {
            api.Progress: self._progress,
            api.PreviewReady: self._preview,
            api.Left: self._left,
            api.Finished: self._over,
            api.Failed: self._over,
            api.Cancelled: self._over,
        }

    @property
    def running(self) -> int:
        """Runs the engine works on."""
        return len(self._runs)

    def plan(self) -> None:
        """Start what can be started, in the next turn of the loop: after the callbacks of whatever led here."""
        if not self._pump_planned:
            self._pump_planned = True
            asyncio.get_running_loop().call_soon(self._pump)

    def report(self, report: api.Report) -> None:
        """A report of the current engine."""
        handler = self._handlers.get(type(report))
        if handler is not None and (run := self._runs.get(getattr(report, "handle", 0))) is not None:
            try:
                handler(run, report)
            except Exception as defect:
                self._broken(run, defect)

    def cancel(self, record: Record) -> None:
        """Ask the engine to stop this running job; its report decides how it ended."""
        if record.run is not None:
            self._send(api.Cancel(record.run))

    def previews_wanted(self, record: Record, wanted: bool) -> None:
        """Somebody begins, or nobody goes on, to watch the previews of this job."""
        if record.run is not None:
            self._send(api.SetPreviews(record.run, wanted))

    def engine_lost(self) -> None:
        """The engine is dead: what it worked on is tried again, or ends."""
        for run in self._give_up():
            cause, fields = model.lost(run.record.job, self._max_attempts)
            self._back(run.record, cause, fields)

    def recall(self) -> None:
        """Stop what runs without counting the attempt: the server itself ends it."""
        for run in self._give_up():
            self._send(api.Cancel(run.handle))
            if run.record.job.cancel_reason is None:
                self._back(run.record, Cause.REQUEUED, {"step": 0})
            else:
                self._back(run.record, *model.lost(run.record.job, self._max_attempts))

    def _pump(self) -> None:
        self._pump_planned = False
        if self._may_start():
            waiting = (Waiting(record.job.position, self._suspect(record)) for record in self._table.queue)
            for position in admit(waiting, self._capacity()):
                self._start(self._table.queue.take(position))

    def _capacity(self) -> Capacity:
        runs = self._runs.values()
        occupied = sum(run.holds_place for run in runs)
        return Capacity(self._places, occupied, len(runs), any(run.alone for run in runs))

    def _suspect(self, record: Record) -> bool:
        """Its last attempt is made alone: if the engine dies again, it was this job, and no other job pays for it."""
        return 1 < self._max_attempts <= record.job.attempt

    def _start(self, record: Record) -> None:
        self._last_handle += 1
        run = Run(self._last_handle, record, self._suspect(record))
        self._runs[run.handle] = run
        record.run = run.handle
        record.started_at = self._clock.monotonic()
        try:
            self._ledger.change(record, Cause.ADMITTED)
            self._send(api.Submit(self._task(run.handle, record.job)))
            if record.watched_for_previews:
                self._send(api.SetPreviews(run.handle, True))
        except Exception as defect:
            self._broken(run, defect)

    def _task(self, handle: int, job: model.Job) -> api.GenerateTask:
        inputs = tuple(api.TaskInput(one.name, str(self._path(one.sha256)), one.media_type) for one in job.attachments)
        return resolve.task(handle, job.params, job.kind, inputs)

    def _progress(self, run: Run, report: api.Progress) -> None:
        job = run.record.job = model.progressed(run.record.job, report.step, report.steps)
        run.record.emit(Progressed(job.id, job.seq, job.step, job.steps, job.attempt))

    def _preview(self, run: Run, report: api.PreviewReady) -> None:
        job = run.record.job = model.progressed(run.record.job, run.record.job.step, run.record.job.steps)
        size = report.width, report.height
        run.record.emit(
            PreviewShown(job.id, job.seq, report.step, report.steps, report.media_type, *size, report.image)
        )

    def _left(self, run: Run, report: api.Left) -> None:
        run.holds_place = False
        self.plan()

    def _over(self, run: Run, report: api.Finished | api.Failed | api.Cancelled) -> None:
        self._forget(run)
        self._outcomes.end(run.record, report)
        self.plan()

    def _broken(self, run: Run, defect: Exception) -> None:
        """A defect met while handling this run: its job ends, and no other is touched."""
        if run.handle in self._runs:
            self._forget(run)
            self._send(api.Cancel(run.handle))
        self._outcomes.broken(run.record, defect)
        self.plan()

    def _forget(self, run: Run) -> None:
        del self._runs[run.handle]
        run.record.run = None

    def _give_up(self) -> list[Run]:
        runs = list(self._runs.values())
        for run in runs:
            self._forget(run)
        return runs

    def _back(self, record: Record, cause: Cause, fields: dict[str, Any]) -> None:
        if cause is not Cause.REQUEUED:
            self._ledger.settle(record, cause, **fields)
            return
        self._table.queue.add(record)
        self._ledger.change(record, cause, **fields)
        self.plan()
