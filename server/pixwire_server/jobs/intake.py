"""How jobs come in: new ones through submit, old ones from the journal.

Submitting is idempotent on (principal, job id, fingerprint of kind and parameters as they were sent). The first submit
is acknowledged after its commit; every other one attaches to it, also while that commit is still under way.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from pixwire_protocol.params import fingerprint
from pixwire_protocol.registry import ErrorCode
from pixwire_server.engine.api import ModelCard
from pixwire_server.store import JobRow, JobStore

from . import model, resolve
from .clock import Clock
from .errors import RequestError, translate
from .events import Submitted
from .futures import resolved, then, unheard
from .ledger import Ledger
from .model import Job
from .record import Record
from .table import JobTable, Key

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
        *,
        card: Callable[[], ModelCard],
        draw_seed: Callable[[], int],
        refusal: Callable[[int], RequestError | None],
        on_queued: Callable[[], None],
        last_position: int,
    ) -> None:
        self._store = store
        self._table = table
        self._ledger = ledger
        self._clock = clock
        self._card = card
        self._draw_seed = draw_seed
        self._refusal = refusal
        self._on_queued = on_queued
        self._last_position = last_position
        self._pending: dict[Key, asyncio.Future[Kept]] = {}

    def submit(self, principal: str, job_id: str, kind: str, tail: bytes) -> asyncio.Future[Submitted]:
        """See `Jobs.submit`."""
        key, mark = (principal, job_id), fingerprint(kind, tail)
        if (pending := self._pending.get(key)) is not None:
            return then(pending, lambda kept: self._submitted(mark, kept[0], True))
        if (record := self._table.get(key)) is not None:
            return then(resolved(record), lambda record: self._submitted(mark, record, True))
        params = resolve.resolve(resolve.parse(kind, tail), self._card(), self._draw_seed)
        if (refusal := self._refusal(len(self._pending))) is not None:
            return self._attach_or_refuse(key, mark, refusal)
        self._last_position += 1
        job = Job(
            position=self._last_position,
            principal=principal,
            id=job_id,
            kind=kind,
            fingerprint=mark,
            params=params,
            submitted_ms=self._clock.wall_ms(),
            steps=params.steps or 0,
        )
        kept = unheard(then(self._store.create(model.to_row(job)), partial(self._created, job), translate))
        self._pending[key] = kept
        kept.add_done_callback(lambda done: self._pending.pop(key, None))
        return then(kept, lambda kept: self._submitted(mark, *kept))

    def find(self, principal: str, job_id: str) -> asyncio.Future[Record]:
        """The job, from memory if it is there. Fails with RequestError(JOB_NOT_FOUND)."""
        key = principal, job_id
        if (record := self._table.get(key)) is not None:
            return resolved(record)
        if (pending := self._pending.get(key)) is not None:
            return then(pending, lambda kept: kept[0], partial(_not_accepted, job_id))
        return then(self._store.find(*key), partial(self._read, job_id), translate)

    def keep(self, job: Job) -> Record:
        """Take a job that is in the journal into memory, and into the queue when it has not ended."""
        waited_s = max(0, self._clock.wall_ms() - job.submitted_ms) / 1000
        record = Record(job, self._clock.monotonic() - waited_s)
        self._table.add(record)
        if not job.state.terminal:
            self._table.queue.add(record)
        return record

    def _created(self, job: Job, existing: JobRow | None) -> Kept:
        del self._pending[job.key]
        if existing is None:  # somebody may have asked for it just now, and have found it in the journal already
            kept = self._table.get(job.key) or self.keep(job), False
        else:
            kept = self._known(existing), True
        asyncio.get_running_loop().call_soon(self._on_queued)  # later, so that the answer comes before the first event
        return kept

    def _known(self, row: JobRow) -> Record:
        """A row of the journal whose job is not in memory: it has ended, or its creation was reported as failed."""
        record = self._table.get((row.principal, row.job))
        if record is None:
            record = self.keep(model.from_row(row))
            self._on_queued()
        return record

    def _read(self, job_id: str, row: JobRow | None) -> Record:
        if row is None:
            _refuse_unknown(job_id)
        return self._known(row)

    def _submitted(self, mark: str, record: Record, duplicate: bool) -> Submitted:
        if record.job.fingerprint != mark:
            raise RequestError(
                ErrorCode.JOB_CONFLICT,
                f"job {record.job.id!r} belongs to a different request; choose a new id for this one",
                {"field": "job", "value": record.job.id, "allowed": "an id that was not used before"},
            )
        return Submitted(self._ledger.status(record), duplicate)

    def _attach_or_refuse(self, key: Key, mark: str, refusal: RequestError) -> asyncio.Future[Submitted]:
        """No new job is taken now, but this may be an old one: its client wants to know how it went."""

        def found(row: JobRow | None) -> Submitted:
            if row is None:
                raise refusal
            return self._submitted(mark, self._known(row), True)

        return then(self._store.find(*key), found, translate)


def _refuse_unknown(job_id: str) -> NoReturn:
    raise RequestError(ErrorCode.JOB_NOT_FOUND, f"there is no job {job_id!r}", {"field": "job", "value": job_id})


def _not_accepted(job_id: str, error: BaseException) -> BaseException:
    return RequestError(ErrorCode.JOB_NOT_FOUND, f"job {job_id!r} was not accepted: {error}")
