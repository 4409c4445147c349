"""The server at one moment, for those who look after it: what ADMIN's `overview` answers (SPEC 8.19).

Cheap, since it is asked every second: nothing here looks at more jobs than are shown, however many wait. Parameters of
jobs are left out: an operator need not see prompts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from heapq import nlargest

from pixwire_protocol.overview import (
    CostOverview,
    EngineOverview,
    FailedOverview,
    JobOverview,
    ModelOverview,
    Overview,
    PrincipalOverview,
    QueueOverview,
)
from pixwire_protocol.status import JobState

from .catalogue import Catalogue
from .clock import Clock
from .dispatcher import Dispatcher
from .ledger import Ledger
from .model import Job
from .record import Record
from .run import Run
from .supervisor import Phase, Supervisor
from .table import JobTable

_ENGINE_STATES: Mapping[Phase, str] = {
    Phase.STARTING: "starting",
    Phase.READY: "ready",
    Phase.DYING: "lost",
    Phase.WAITING: "lost",
    Phase.STOPPED: "lost",
    Phase.BROKEN: "refused",
}
_FAILED = (JobState.FAILED, JobState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Mood:
    """What the program around the jobs knows of itself: `reason` is that of a pause, None when there is none."""

    reason: str | None
    draining: bool
    uptime_s: float
    connections: int


class Overlook:
    """Puts an overview together. Lives in the event loop."""

    def __init__(
        self,
        table: JobTable,
        dispatcher: Dispatcher,
        ledger: Ledger,
        supervisor: Supervisor,
        catalogue: Catalogue,
        clock: Clock,
        cost_errors: Callable[[], tuple[float | None, float | None, float]],
        queue_limit: int,
    ) -> None:
        self._table = table
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._supervisor = supervisor
        self._catalogue = catalogue
        self._clock = clock
        self._cost_errors = cost_errors
        self._queue_limit = queue_limit

    def look(self, mood: Mood, limit: int) -> Overview:
        """The server now; of jobs that wait, jobs that failed, principals and models at most `limit` each."""
        now = self._clock.monotonic()
        runs = tuple(self._dispatcher.runs())
        running = [run.record for run in runs]
        p50, p90, slack = self._cost_errors()
        return Overview(
            paused=mood.reason is not None,
            reason=mood.reason or None,
            draining=mood.draining,
            uptime_ms=_ms(mood.uptime_s),
            connections=mood.connections,
            queue=self._queue(now),
            running=tuple(self._job(record, now) for record in running),
            waiting=tuple(self._job(record, now) for record in self._table.queue.first(limit)),
            failed=self._failed(limit),
            engine=self._engine(runs, now),
            models=tuple(
                ModelOverview(info.name, str(info.state), info.bytes or None)
                for info in self._catalogue.infos()[:limit]
            ),
            principals=self._principals(running, limit),
            cost=CostOverview(float(slack), p50, p90),
        )

    def _queue(self, now: float) -> QueueOverview:
        queue = self._table.queue
        return QueueOverview(**queue.counts(), oldest_ms=_ms(queue.oldest_s(now) or 0.0), limit=self._queue_limit)

    def _job(self, record: Record, now: float) -> JobOverview:
        job, status = record.job, self._ledger.status(record)
        return JobOverview(
            job=job.id,
            principal=job.principal,
            kind=job.kind,
            model=job.params.model or "",
            state=status.state.value,
            step=status.step,
            steps=status.steps,
            age_ms=_ms(now - record.accepted_at),
            priority=status.priority,
            eta_ms=status.eta_ms,
            pass_id=None if record.run is None else self._dispatcher.gauges.last_pass(record.run),
            tags=status.tags,
        )

    def _failed(self, limit: int) -> tuple[FailedOverview, ...]:
        """Of those that are in memory; an older one can be found by its owner, who lists jobs by their state."""
        ended = [record.job for record in self._table.ended() if record.job.state in _FAILED]
        now_ms = self._clock.wall_ms()
        return tuple(_failure(job, now_ms) for job in nlargest(limit, ended, key=lambda job: job.finished_ms or 0))

    def _engine(self, runs: Collection[Run], now: float) -> EngineOverview:
        gauges = self._dispatcher.gauges
        readings = gauges.read(now)
        return EngineOverview(
            state=_ENGINE_STATES[self._supervisor.phase],
            restarts=self._supervisor.restarts,
            resident=readings.resident,
            parked=sum(run.holds_place and gauges.is_parked(run.handle) for run in runs),
            passes=readings.passes,
            images_per_minute=readings.images_per_minute,
            rows=readings.rows,
            step_ms=readings.step_ms,
        )

    def _principals(self, running: list[Record], limit: int) -> tuple[PrincipalOverview, ...]:
        """Those with most jobs first."""
        queued = self._table.queue.principals()
        runs = Counter(record.job.principal for record in running)
        jobs = Counter(queued) + runs
        return tuple(PrincipalOverview(name, queued.get(name, 0), runs[name]) for name, _ in jobs.most_common(limit))


def _failure(job: Job, now_ms: int) -> FailedOverview:
    return FailedOverview(
        job=job.id,
        principal=job.principal,
        kind=job.kind,
        model=job.params.model or "",
        state=job.state.value,
        error="" if job.error is None else job.error.name,
        message="" if job.error is None else job.error.message,
        ended_ms=max(0, now_ms - (job.finished_ms or now_ms)),
        tags=job.terms.tags,
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
