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
from .futures import fail, give, resolved, then, unheard
from .ledger import Ledger
from .model import Job
from .planner import Planner
from .record import Record
from .request import Request
from .retention import Fate, Retention
from .table import JobTable, Key

PACKED_ABOVE = 1000
"""Jobs in the queue above which one more is held in few bytes, as soon as its submit is answered."""

Kept = tuple[Record, bool]
"""A job in the journal, and whether it had been there before."""


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
        self.pending: dict[Key, asyncio.Future[Kept]] = {}
        """New jobs whose commit is under way."""
        self._store = store
        self._table = table
        self._ledger = ledger
        self._clock = clock
        self._retention = retention
        self._models = models
        self._draw_seed = draw_seed
        self._refusal = refusal
        self._on_queued = on_queued
        self._planner = planner
        self._last_position = last_position

    def submit(self, request: Request) -> asyncio.Future[Submitted]:
        """See `Jobs.submit`."""
        if (known := self.attach(request)) is not None:
            return known
        asked = resolve.parse(request.kind, request.tail, (), self._models)
        params = resolve.resolve(asked, self._models.card(asked.model), self._draw_seed)
        if (refused := self.refuse(request)) is not None:
            return refused
        return self.create(request, params)

    def attach(self, request: Request) -> asyncio.Future[Submitted] | None:
        """The answer to a request for a job that is in memory, or on its way into the journal; None: it is neither."""
        if (pending := self.pending.get(request.key)) is not None:
            return then(pending, lambda kept: self._submitted(request.mark, kept[0], True))
        if (record := self.kept(request.key)) is not None:
            return then(resolved(record), lambda record: self._submitted(request.mark, record, True))
        return None

    def lookup(self, request: Request) -> asyncio.Future[Submitted | None]:
        """As `attach`, for a job that may be in the journal only."""

        def found(row: JobRow | None) -> Submitted | None:
            return None if row is None or self._fate(row) is Fate.FORGOTTEN else self._told(request.mark, row)

        return then(self._store.find(*request.key), found, translate)

    def refuse(self, request: Request, *, begun: bool = False) -> asyncio.Future[Submitted] | None:
        """The answer if no new job is taken now: this may be an old one, whose client wants to know how it went.

        `begun`: its upload was let in before; a drain that has begun since does not refuse it (SPEC 12.1).
        """
        refusal = self._refusal(request.principal, begun)
        return None if refusal is None else self._unless_known(request, refusal)

    def _unless_known(self, request: Request, refusal: RequestError) -> asyncio.Future[Submitted]:
        def looked(known: Submitted | None) -> Submitted:
            if known is None:
                raise refusal
            return known

        return then(self.lookup(request), looked)

    def create(self, request: Request, params: GenerateParams) -> asyncio.Future[Submitted]:
        """Make a new job; resolves when it is on disk. It may turn out to be an old one after all.

        Fails with DEADLINE_EXCEEDED when it could not be done in its time even with the engine for itself.
        """
        now_ms, now = self._clock.wall_ms(), self._clock.monotonic()
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
            terms=request.terms,
        )
        timeout_ms, least_ms = request.terms.timeout_ms, round(self._planner.least(job, now) * 1000)
        if timeout_ms is not None and timeout_ms < least_ms:
            return self._unless_known(request, deadlines.refusal(request.terms, least_ms))
        self._last_position += 1
        forgotten_ms = self._retention.forgotten_ms(now_ms)
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[Kept] = loop.create_future()
        answer: asyncio.Future[Submitted] = loop.create_future()
        self.pending[job.key] = kept
        creating = self._store.create(model.to_row(job), request.files, forgotten_ms, request.terms.tags)
        creating.add_done_callback(partial(self._created, job, now, kept, answer))
        return answer

    def find(self, principal: str, job_id: str) -> asyncio.Future[Record]:
        """The job, from memory if it is there. Fails with RequestError(JOB_NOT_FOUND or JOB_EXPIRED)."""
        key = principal, job_id
        if (record := self.kept(key)) is not None:
            return resolved(record)
        if (pending := self.pending.get(key)) is not None:
            return then(pending, lambda kept: kept[0], partial(_not_accepted, job_id))
        return then(self._store.find(*key), partial(self._read, job_id), translate)

    def keep(self, job: Job, accepted_at: float | None = None) -> Record:
        """Take a job that is in the journal into memory, and into the queue when it has not ended.

        `accepted_at`: when it came, in monotonic seconds; None for one that is from before: the wall clock has to do.
        """
        now, fresh = self._clock.monotonic(), accepted_at is not None
        if accepted_at is None:
            accepted_at = now - max(0, self._clock.wall_ms() - job.submitted_ms) / 1000
        record = Record(job, accepted_at)
        self._table.add(record)
        if not job.state.terminal:
            self._planner.wait(record, now, fresh=fresh)
            if not fresh and len(self._table.queue) > PACKED_ABOVE:
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

    def _created(
        self,
        job: Job,
        now: float,
        kept: asyncio.Future[Kept],
        answer: asyncio.Future[Submitted],
        creating: asyncio.Future[JobRow | None],
    ) -> None:
        """The journal has the job, or had it before, or refuses it: `kept` for those who wait as well, `answer` for
        who submitted it. No chain of futures: with many submits each link costs as much as the decision.
        """
        del self.pending[job.key]
        if creating.cancelled():  # the journal was closed under it
            kept.cancel()
            answer.cancel()
            return
        try:
            record, known = self._entered(job, now, creating.result())
            give(kept, (record, known))
            submitted = self._submitted(job.fingerprint, record, known)
        except Exception as error:
            refusal = translate(error)
            for future in (kept, answer):
                fail(future, refusal)
            unheard(kept)
            return
        self._on_queued()  # takes effect in the next turn of the loop, where the answer is told as well
        give(answer, submitted)
        if not known and len(self._table.queue) > PACKED_ABOVE:
            record.pack()  # it will wait for a while

    def _entered(self, job: Job, now: float, existing: JobRow | None) -> Kept:
        if existing is not None:
            return self._known(existing), True
        # Somebody may have asked for it just now, and have found it in the journal already.
        return self._table.get(job.key) or self.keep(job, now), False

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

    def _submitted(self, mark: str, record: Record, duplicate: bool) -> Submitted:
        job = record.job
        if job.fingerprint != mark:
            raise RequestError(
                ErrorCode.JOB_CONFLICT,
                f"job {job.id!r} belongs to a different request; choose a new id for this one",
                {"field": "job", "value": job.id, "allowed": "an id that was not used before"},
            )
        return Submitted(self._ledger.status(record), duplicate)


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
