"""Gives queued jobs to the engine and turns its reports into changes of jobs.

Every run has a handle of its own, never used twice, also not after a restart of the engine: a report with a handle that
is not current comes from a run that was given up and is ignored.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pixwire_server.engine import api

from . import deadlines, model, resolve
from .alarm import Alarm
from .clock import Clock
from .events import PreviewShown, Progressed
from .gauges import Gauges
from .ledger import Ledger
from .outcomes import Outcomes
from .planner import Planner, standing
from .record import Record
from .run import Run
from .state import Cause
from .table import JobTable


class Dispatcher:
    """Decides nothing itself: who starts is the planner's queue, what a change means is the ledger."""

    def __init__(
        self,
        table: JobTable,
        ledger: Ledger,
        outcomes: Outcomes,
        send: Callable[[api.Command], None],
        path: Callable[[str], Path],
        planner: Planner,
        gauges: Gauges,
        *,
        max_attempts: int,
        clock: Clock,
        may_start: Callable[[], bool],
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._outcomes = outcomes
        self._send = send
        self._path = path
        self._planner = planner
        self.gauges = gauges
        self._max_attempts = max_attempts
        self._clock = clock
        self._may_start = may_start
        self._runs = planner.runs
        self._last_handle = 0
        self._pump_planned = False
        self._alarm = Alarm(clock, self.plan)
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

    def runs(self) -> Iterable[Run]:
        """What the engine works on."""
        return self._runs.values()

    def plan(self) -> None:
        """Start what can be started, in the next turn of the loop: after the callbacks of whatever led here."""
        if not self._pump_planned:
            self._pump_planned = True
            asyncio.get_running_loop().call_soon(self._pump)

    def report(self, report: api.Report) -> None:
        """A report of the current engine."""
        if isinstance(report, api.Passed):
            self._passed(report)
            return
        if isinstance(report, api.Heartbeat):
            self.gauges.beat(report.resident)
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
            self._planner.changed()

    def previews_wanted(self, record: Record, wanted: bool) -> None:
        """Somebody begins, or nobody goes on, to watch the previews of this job."""
        if record.run is not None:
            self._send(api.SetPreviews(record.run, wanted))

    def engine_lost(self) -> None:
        """The engine is dead: what it worked on is tried again, or ends."""
        self.gauges.lost()
        for run in self._give_up():
            self._lost(run)

    def recall(self) -> None:
        """Stop what runs without counting the attempt: the server itself ends it."""
        for run in self._give_up():
            self._send(api.Cancel(run.handle))
            if not run.ending:
                self._back(run.record, Cause.REQUEUED, {"step": 0})
            else:
                self._lost(run)

    def close(self) -> None:
        """Ring no more. What runs is recalled before."""
        self._alarm.stop()

    def _pump(self) -> None:
        self._pump_planned = False
        now = self._clock.monotonic()
        started: list[Record] = []
        if self._may_start():
            started, expired = self._planner.take(now)
        else:
            expired = self._table.queue.expire(now)
        for record in expired:
            self._expire(record, now)
        for record in started:
            self._start(record, now)
        for run in tuple(self._runs.values()):
            self._judge(run, now)
        self._alarm.set(self._next_alarm(now))

    def _start(self, record: Record, now: float) -> None:
        self._last_handle += 1
        record.started_at = now
        run = self._planner.began(self._last_handle, record, now)
        record.run = run.handle
        try:
            self._ledger.change(record, Cause.ADMITTED, started=True)
            self._send(api.Submit(self._task(run.handle, record.job), *standing(run)))
            if record.watched_for_previews:
                self._send(api.SetPreviews(run.handle, True))
        except Exception as defect:
            self._broken(run, defect)

    def _expire(self, record: Record, now: float) -> None:
        """It waited in vain."""
        error = deadlines.missed_in_queue(record, now, self._planner.least(record.job, now))
        self._ledger.settle(record, Cause.EXPIRED, error=error)

    def _judge(self, run: Run, now: float) -> None:
        """Stop a run whose time is over, or that cannot be done in time any more."""
        record = run.record
        if run.ending or record.settling is not None:
            return
        run.expiring = deadlines.missed_running(record, now)
        ends, left = deadlines.ends_by(record), self._planner.left(run, now)
        if run.expiring is None and ends is not None and now + left > ends:
            run.expiring = deadlines.hopeless_running(record, left)
        if run.expiring is not None:
            self._send(api.Cancel(run.handle))
            self._planner.changed()

    def _next_alarm(self, now: float) -> float | None:
        """When something has to be looked at again, if nothing happens before."""
        moments = [self._table.queue.next_expiry()]
        for run in self._runs.values():
            if not run.ending:
                moments.append(deadlines.attempt_ends_by(run.record))
                ends = deadlines.ends_by(run.record)
                moments.append(None if ends is None else ends - self._planner.left(run, now))
        return min((at for at in moments if at is not None), default=None)

    def _task(self, handle: int, job: model.Job) -> api.GenerateTask:
        inputs = tuple(api.TaskInput(one.name, str(self._path(one.sha256)), one.media_type) for one in job.attachments)
        return resolve.task(handle, job.params, job.kind, inputs)

    def _progress(self, run: Run, report: api.Progress) -> None:
        self._planner.changed()
        job = run.record.job = model.progressed(run.record.job, report.step, report.steps)
        run.record.note_timestep(report.step, report.timestep)
        run.record.emit(Progressed(job.id, job.seq, job.step, job.steps, job.attempt))

    def _preview(self, run: Run, report: api.PreviewReady) -> None:
        job = run.record.job = model.progressed(run.record.job, run.record.job.step, run.record.job.steps)
        size = report.width, report.height
        run.record.emit(
            PreviewShown(job.id, job.seq, report.step, report.steps, report.media_type, *size, report.image)
        )

    def _left(self, run: Run, report: api.Left) -> None:
        run.holds_place = False
        self._planner.changed()
        self.plan()

    def _passed(self, report: api.Passed) -> None:
        now = self._clock.monotonic()
        self._planner.passed(report.passes)
        for one in report.passes:
            self.gauges.passed(one.id, one.stage, one.rows, one.ms, one.handles, now)
            for handle in one.handles:
                if handle not in self._runs:  # passes are told together, so it may have ended before this is heard
                    self.gauges.left(handle)

    def _over(self, run: Run, report: api.Finished | api.Failed | api.Cancelled) -> None:
        now = self._clock.monotonic()
        self._forget(run)
        for hear in self.gauges.on_outcome:
            hear(run.record.key, report)
        late = run.expiring if isinstance(report, api.Cancelled) else deadlines.missed_running(run.record, now)
        if isinstance(report, api.Finished):
            self._planner.finished(run, report.stats, now)
            self._planner.judged(run, kept=late is None)
            self.gauges.made(len(report.images), now)
        elif late is not None:
            self._planner.judged(run, kept=False)
        self._outcomes.end(run.record, report, late)
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
        self.gauges.left(run.handle)
        self._planner.changed()

    def _give_up(self) -> list[Run]:
        runs = list(self._runs.values())
        for run in runs:
            self._forget(run)
        return runs

    def _lost(self, run: Run) -> None:
        """It runs no longer, and that counts."""
        if run.expiring is not None:
            self._ledger.settle(run.record, Cause.EXPIRED, error=run.expiring)
        else:
            self._back(run.record, *model.lost(run.record.job, self._max_attempts))

    def _back(self, record: Record, cause: Cause, fields: dict[str, Any]) -> None:
        if cause is not Cause.REQUEUED:
            self._ledger.settle(record, cause, **fields)
            return
        self._planner.wait(record, self._clock.monotonic(), attempt=fields.get("attempt"))
        self._ledger.change(record, cause, **fields)
        self.plan()
