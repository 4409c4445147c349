"""The jobs in memory: all that have not ended, those that ended lately, and the order in which the queued ones wait."""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Iterator

from .record import Record

Key = tuple[str, str]


class JobQueue:
    """The queued jobs in order of arrival. A job that comes back (its engine died) gets its old place again.

    Finding a place is a binary search; entering and leaving moves a tail of small integers, microseconds for ten
    thousand jobs.
    """

    def __init__(self) -> None:
        self._order: list[int] = []
        self._records: dict[int, Record] = {}
        self._principals: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Record]:
        return (self._records[position] for position in self._order)

    def add(self, record: Record) -> None:
        self._records[record.job.position] = record
        self._principals[record.job.principal] += 1
        insort(self._order, record.job.position)

    def take(self, position: int) -> Record:
        """Remove and return the job at this place in the order of arrival. Raises KeyError."""
        record = self._records.pop(position)
        self._principals[record.job.principal] -= 1
        if not self._principals[record.job.principal]:
            del self._principals[record.job.principal]
        del self._order[bisect_left(self._order, position)]
        return record

    def of(self, principal: str) -> int:
        """How many jobs of this principal wait."""
        return self._principals.get(principal, 0)

    def rank(self, record: Record) -> int | None:
        """1 for the next to start; None for a job that does not wait."""
        if record.job.position not in self._records:
            return None
        return bisect_left(self._order, record.job.position) + 1


class JobTable:
    """Finds jobs by (principal, id). Of the ended ones it keeps the `recent_limit` used last; the others are in the
    journal only.
    """

    def __init__(self, recent_limit: int) -> None:
        self.live: dict[Key, Record] = {}
        self.queue = JobQueue()
        self._recent: OrderedDict[Key, Record] = OrderedDict()
        self._recent_limit = recent_limit

    @property
    def recent(self) -> int:
        return len(self._recent)

    def get(self, key: Key) -> Record | None:
        record = self.live.get(key)
        if record is None and (record := self._recent.get(key)) is not None:
            self._recent.move_to_end(key)
        return record

    def peek(self, key: Key) -> Record | None:
        """As `get`, without counting as a use."""
        return self.live.get(key) or self._recent.get(key)

    def add(self, record: Record) -> None:
        """Keep a job: for ever while it lives, a while when it has ended."""
        if record.job.state.terminal:
            self.live.pop(record.job.key, None)
            self._recent[record.job.key] = record
            self._recent.move_to_end(record.job.key)
            while len(self._recent) > self._recent_limit:
                self._recent.popitem(last=False)
        else:
            self.live[record.job.key] = record

    def drop(self, key: Key, position: int) -> None:
        """Keep this ended job no longer. Harmless when it is not kept, or another one has its key."""
        record = self._recent.get(key)
        if record is not None and record.job.position == position:
            del self._recent[key]
