"""How jobs come in: new ones through submit and uploads, old ones from the journal.

Submitting is idempotent on (principal, job id, fingerprint of kind, parameters and attachments as they were sent). The
first submit is acknowledged after its commit; every other one attaches to it, also while that commit is still under
way.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from pixwire_protocol.params import GenerateParams
from pixwire_protocol.registry import ErrorCode
from pixwire_server.store import JobRow, JobStore

from . import deadlines, model, resolve
from .catalogue import Catalogue
from .clock import Clock
from .errors import RequestError, translate
from .events import Submitted
from .futures import Answer, fail, give, resolved, then, unheard
from .ledger import Ledger
from .model import Job
from .planner import Estimate, Planner
from .record import Record
from .request import Request
from .resolver import Resolver
from .retention import Fate, Retention
from .table import JobTable, Key

PACKED_ABOVE = 1000
"""Jobs in the queue above which one more is held in few bytes, as soon as its submit is answered."""


class Arrival:
    """A new job on its way into the journal, and who waits for it."""

    __slots__ = ("_kept", "accepted_at", "answer", "job")

    def __init__(self, job: Job, accepted_at: float) -> None:
        self.job = job
        self.accepted_at = accepted_at
        """Monotonic seconds."""
        self.answer: Answer[Submitted] = Answer()
        """For who submitted it."""
        self._kept: asyncio.Future[Record] | None = None

    @property
    def kept(self) -> asyncio.Future[Record]:
        """For whoever else wants the job: resolved once it is in the journal. Fails with RequestError."""
        if self._kept is None:
            self._kept = unheard(asyncio.get_running_loop().create_future())
        return self._kept

    def arrived(self, record: Record) -> None:
        """It is in the journal."""
        if self._kept is not None:
            give(self._kept, record)

    def refused(self, error: BaseException) -> None:
        """It is not, and `answer` gets to know why; or it is, but belongs to somebody else's request."""
        if self._kept is not None:
            fail(self._kept, error)
        self.answer.refuse(error)


class Intake:
    """Brings jobs into the table. Lives in the event loop."""

    def __init__(
        self,
        store: JobStore,
        table: JobTable,
        ledger: Ledger,
        clock: Clock,
        retention: Retention,
        *,
        models: Catalogue,
        draw_seed: Callable[[], int],
        refusal: Callable[[str, bool], RequestError | None],
        on_queued: Callable[[], None],
        planner: Planner,
        last_position: int,
    ) -> None:
        self.pending: dict[Key, Arrival] = {}
        """New jobs whose commit is under way."""
        self._store = store
        self._table = table
        self._ledger = ledger
        self._clock = clock
        self._retention = retention
        self._resolver = Resolver(models, draw_seed)
        self._refusal = refusal
        self._on_queued = on_queued
        self._planner = planner
        self._last_position = last_position

    def submit(self, request: Request) -> Answer[Submitted]:
        """See `Jobs.submit`."""
        if (known := self.attach(request)) is not None:
            return known
        asked = self._resolver.of(request.kind, request.tail)
        if (refused := self.refuse(request)) is not None:
            return refused
        return self.create(request, asked.params, asked.text)

    def attach(self, request: Request) -> Answer[Submitted] | None:
        """The answer to a request for a job that is in memory, or on its way into the journal; None: it is neither."""
        if (pending := self.pending.get(request.key)) is not None:
            return then(pending.kept, lambda record: self._submitted(request.mark, record, True))
        if (record := self.kept(request.key)) is not None:
            return then(resolved(record), lambda record: self._submitted(request.mark, record, True))
        return None

    def lookup(self, request: Request) -> Answer[Submitted | None]:
        """As `attach`, for a job that may be in the journal only."""

        def found(row: JobRow | None) -> Submitted | None:
            return None if row is None or self._fate(row) is Fate.FORGOTTEN else self._told(request.mark, row)

        return then(self._store.find(*request.key), found, translate)

    def refuse(self, request: Request, *, begun: bool = False) -> Answer[Submitted] | None:
        """The answer if no new job is taken now: this may be an old one, whose client wants to know how it went.

        `begun`: its upload was let in before; a drain that has begun since does not refuse it (SPEC 12.1).
        """
        refusal = self._refusal(request.principal, begun)
        return None if refusal is None else self._unless_known(request, refusal)

    def _unless_known(self, request: Request, refusal: RequestError) -> Answer[Submitted]:
        def looked(known: Submitted | None) -> Submitted:
            if known is None:
                raise refusal
            return known

        return then(self.lookup(request), looked)

    def create(self, request: Request, params: GenerateParams, text: str | None = None) -> Answer[Submitted]:
        """Make a new job; resolves when it is on disk. It may turn out to be an old one after all. `text`: see
        `model.to_row`.

        Fails with DEADLINE_EXCEEDED when it could not be done in its time even with the engine for itself.
        """
        now_ms, now = self._clock.wall_ms(), self._clock.monotonic()
        terms = request.terms
        job = Job(
            position=self._last_position + 1,
            principal=request.principal,
            id=request.job,
            kind=request.kind,
            fingerprint=request.mark,
            params=params,
            submitted_ms=now_ms,
            steps=resolve.steps(params),
            attachments=request.attachments,
            trace=request.trace,
            terms=terms,
        )
        if terms.timeout_ms is not None:
            least_ms = round(self._planner.least(job, now) * 1000)
            if terms.timeout_ms < least_ms:
                return self._unless_known(request, deadlines.refusal(terms, least_ms))
        row = model.to_row(job, text)
        self._last_position += 1
        arrival = self.pending[request.key] = Arrival(job, now)
        files = request.files if request.attachments else ()
        told = partial(self._created, arrival)
        self._store.enter(told, row, files, self._retention.forgotten_ms(now_ms), terms.tags)
        return arrival.answer

    def find(self, principal: str, job_id: str) -> asyncio.Future[Record]:
        """The job, from memory if it is there. Fails with RequestError(JOB_NOT_FOUND or JOB_EXPIRED)."""
        key = principal, job_id
        if (record := self.kept(key)) is not None:
            return resolved(record)
        if (pending := self.pending.get(key)) is not None:
            return then(pending.kept, lambda record: record, partial(_not_accepted, job_id))
        return then(self._store.find(*key), partial(self._read, job_id), translate)

    def keep(self, job: Job) -> Record:
        """Take a job that was in the journal before into memory, and into the queue when it has not ended.

        When it came is known by the wall clock only.
        """
        now = self._clock.monotonic()
        record = Record(job, now - max(0, self._clock.wall_ms() - job.submitted_ms) / 1000)
        self._table.add(record)
        if not job.state.terminal:
            self._planner.wait(record, now, fresh=False)
            if len(self._table.queue) > PACKED_ABOVE:
                record.pack()
        return record

    def kept(self, key: Key) -> Record | None:
        """The job if it is in memory, and its results were not given up meanwhile."""
        if (record := self._table.live.get(key)) is not None:
            return record
        record = self._table.get(key)
        if record is None or (finished_ms := record.job.finished_ms) is None:
            return record
        if self._retention.fate(finished_ms, None, self._clock.wall_ms()) is Fate.KEPT:
            return record
        self._table.drop(key, record.job.position)
        return None

    def _fate(self, row: JobRow) -> Fate:
        return self._retention.fate(row.finished_ms, row.gone_ms, self._clock.wall_ms())

    def _created(self, arrival: Arrival, existing: JobRow | None, error: BaseException | None) -> None:
        """The journal has the job, or had it before, or refuses it. The answer is told at once; what need not be done
        before comes after it.
        """
        job = arrival.job
        del self.pending[job.key]
        if error is not None:
            arrival.refused(translate(error))
            return
        try:
            # Somebody may have asked for it just now, and have found it in the journal already.
            record = self._known(existing) if existing is not None else self._table.get(job.key)
            estimate: Estimate | None = None
            if record is None:
                record = Record(job, arrival.accepted_at)
                self._table.add(record)
                estimate = self._planner.wait(record, self._clock.monotonic())
            arrival.arrived(record)
            submitted = self._submitted(job.fingerprint, record, existing is not None, estimate)
        except Exception as defect:
            arrival.refused(translate(defect))
            return
        arrival.answer.give(submitted)
        self._on_queued()
        if existing is None and len(self._table.queue) > PACKED_ABOVE:
            record.pack()  # it will wait for a while

    def _known(self, row: JobRow) -> Record:
        """A row of the journal whose job is not in memory: it has ended, or its creation was reported as failed."""
        if self._fate(row) is not Fate.KEPT:
            _refuse_expired(row.job)
        record = self._table.get((row.principal, row.job))
        if record is None:
            record = self.keep(model.from_row(row))
            self._on_queued()
        return record

    def _read(self, job_id: str, row: JobRow | None) -> Record:
        if row is None or self._fate(row) is Fate.FORGOTTEN:
            _refuse_unknown(job_id)
        return self._known(row)

    def _told(self, mark: str, row: JobRow) -> Submitted:
        return self._submitted(mark, self._known(row), True)

    def _submitted(self, mark: str, record: Record, duplicate: bool, estimate: Estimate | None = None) -> Submitted:
        job = record.job
        if job.fingerprint != mark:
            raise RequestError(
                ErrorCode.JOB_CONFLICT,
                f"job {job.id!r} belongs to a different request; choose a new id for this one",
                {"field": "job", "value": job.id, "allowed": "an id that was not used before"},
            )
        return Submitted(self._ledger.status(record, estimate=estimate), duplicate)


def _refuse_unknown(job_id: str) -> NoReturn:
    raise RequestError(ErrorCode.JOB_NOT_FOUND, f"there is no job {job_id!r}", {"field": "job", "value": job_id})


def _refuse_expired(job_id: str) -> NoReturn:
    raise RequestError(
        ErrorCode.JOB_EXPIRED,
        f"job {job_id!r} has ended and its results are not kept any more; submit the request again with a new id",
        {"field": "job", "value": job_id, "allowed": "an id that was not used before"},
    )


def _not_accepted(job_id: str, error: BaseException) -> BaseException:
    return RequestError(ErrorCode.JOB_NOT_FOUND, f"job {job_id!r} was not accepted: {error}")
