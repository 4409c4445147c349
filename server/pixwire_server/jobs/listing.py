"""Lists of jobs, page by page. A cursor is the place of the last job of a page, sealed so that only those that were
given out are taken back.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection

from pixwire_protocol.status import JobState, JobSummary
from pixwire_server.store import JobRow, JobStore

from . import model
from .clock import Clock
from .errors import invalid, translate
from .events import JobPage
from .futures import then
from .retention import Fate, Retention
from .table import JobTable

_END = 2**63 - 1
_PLACE_BYTES, _SEAL_BYTES = 8, 12


class Lister:
    """Answers from the journal, with the present state of what is in memory. Lives in the event loop."""

    def __init__(self, store: JobStore, table: JobTable, retention: Retention, clock: Clock, secret: bytes) -> None:
        self._store = store
        self._table = table
        self._retention = retention
        self._clock = clock
        self._secret = secret

    def page(
        self, principal: str, limit: int, after: str | None, states: Collection[str], tag: str | None = None
    ) -> asyncio.Future[JobPage]:
        """See `Jobs.list_jobs`."""
        wanted = _states(states)
        before = self._place(principal, after) if after else _END

        def found(rows: list[JobRow]) -> JobPage:
            jobs = (self._summary(row) for row in rows[:limit])
            following = self._cursor(principal, rows[limit - 1].position) if len(rows) > limit else None
            return JobPage(tuple(job for job in jobs if job is not None and job.state in wanted), following)

        return then(self._store.page(principal, before, wanted, limit + 1, tag), found, translate)

    def _summary(self, row: JobRow) -> JobSummary | None:
        """None for one that is as good as gone."""
        now_ms = self._clock.wall_ms()
        if self._retention.fate(row.finished_ms, row.gone_ms, now_ms) is not Fate.KEPT:
            return None
        record = self._table.peek((row.principal, row.job))
        return model.summary(model.from_row(row) if record is None else record.job, now_ms)

    def _cursor(self, principal: str, position: int) -> str:
        place = position.to_bytes(_PLACE_BYTES, "big")
        return base64.urlsafe_b64encode(place + self._seal(principal, place)).decode().rstrip("=")

    def _place(self, principal: str, cursor: str) -> int:
        """Raises RequestError for one that was not given to this principal."""
        try:
            whole = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            whole = b""
        place = whole[:_PLACE_BYTES]
        if not hmac.compare_digest(whole[_PLACE_BYTES:], self._seal(principal, place)):
            message = "after: this is no `next` of an earlier page; leave it out to begin with the newest job"
            raise invalid("after", cursor, "the `next` of an earlier page", message)
        return int.from_bytes(place, "big")

    def _seal(self, principal: str, place: bytes) -> bytes:
        return hmac.digest(self._secret, place + principal.encode(), hashlib.sha256)[:_SEAL_BYTES]


def _states(states: Collection[str]) -> frozenset[JobState]:
    """Those that are asked for: all, when none are named."""
    for state in states:
        if state not in set(JobState):
            message = f"states: {state!r} is no state of a job; use some of {', '.join(JobState)}"
            raise invalid("states", state, [str(state) for state in JobState], message)
    return frozenset(JobState(state) for state in states) or frozenset(JobState)
