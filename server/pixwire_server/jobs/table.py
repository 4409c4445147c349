"""The jobs in memory: all that have not ended, those that ended lately, and the order in which the queued ones wait."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import cast

from pixwire_server.scheduling.data import Capacity, Entry, Limits, Refusal
from pixwire_server.scheduling.queue import Feasible, WaitQueue

from .record import Record

Key = tuple[str, str]

Decided = tuple[list[Record], list[Record]]
"""Who starts now, and who has waited in vain."""


class JobQueue:
    """The queued jobs: `scheduling.queue.WaitQueue`, in terms of records. `planner.Planner.wait` puts them in."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._waiting = WaitQueue(limits)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Record]:
        """In about the order of starting. Not to be changed meanwhile."""
        return map(_record, self._waiting.in_turns())

    @property
    def cost(self) -> float:
        """Seconds of the device for all that wait."""
        return self._waiting.cost

    @property
    def changes(self) -> int:
        """How often a job has come or gone."""
        return self._waiting.changes

    def add(self, entry: Entry) -> None:
        """A job waits from now on; the record is the entry's `ticket`."""
        self._waiting.add(entry)

    def remove(self, record: Record) -> None:
        """The job waits no longer. Raises KeyError when it does not wait."""
        self._waiting.remove(record.position)

    def take(self, now: float, capacity: Capacity, running: Mapping[str, int], feasible: Feasible) -> Decided:
        """See `WaitQueue.take`."""
        decision = self._waiting.take(now, capacity, running, feasible)
        return [_record(entry) for entry in decision.started], [_record(entry) for entry in decision.expired]

    def age(self, now: float) -> list[Record]:
        """See `WaitQueue.age`: instead of `take` when there is no place."""
        return [_record(entry) for entry in self._waiting.age(now)]

    def expire(self, now: float) -> list[Record]:
        """See `WaitQueue.expire`."""
        return [_record(entry) for entry in self._waiting.expire(now)]

    def next_expiry(self) -> float | None:
        """When `expire` will have something to do."""
        return self._waiting.next_expiry()

    def refusal(self, principal: str, pending: int, own_pending: int) -> Refusal | None:
        """Why no more job of this principal is taken, if so."""
        return self._waiting.refusal(principal, pending, own_pending)

    def of(self, principal: str) -> int:
        """How many jobs of this principal wait."""
        return self._waiting.of(principal)

    def rank(self, record: Record) -> int | None:
        """About 1 for the next to start; None for a job that does not wait."""
        position = record.position
        return self._waiting.position(position) if position in self._waiting else None

    # ------------------------------------------------------------------------------- for those who look on

    def first(self, count: int) -> list[Record]:
        """The `count` next to start, about."""
        return list(islice(self, count))

    def counts(self) -> dict[str, int]:
        """How many wait in each class."""
        return {priority.name.lower(): count for priority, count in self._waiting.classes().items()}

    def oldest_s(self, now: float) -> float | None:
        """How long the job waits that came first, about (one that came back counts as late); None: nobody waits."""
        return None if (first := self._waiting.oldest()) is None else max(0.0, now - first.arrived)

    def principals(self) -> Mapping[str, int]:
        """How many jobs wait, of each principal that has some."""
        return self._waiting.principals()


def _record(entry: Entry) -> Record:
    return cast("Record", entry.ticket)


class JobTable:
    """Finds jobs by (principal, id). Of the ended ones it keeps the `recent_limit` used last; the others are in the
    journal only.
    """

    def __init__(self, recent_limit: int, limits: Limits | None = None) -> None:
        self.live: dict[Key, Record] = {}
        self.queue = JobQueue(limits)
        self._recent: OrderedDict[Key, Record] = OrderedDict()
        self._recent_limit = recent_limit

    @property
    def recent(self) -> int:
        return len(self._recent)

    def ended(self) -> Iterable[Record]:
        """Those that have ended and are kept in memory."""
        return self._recent.values()

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
            self.live[record.key] = record

    def drop(self, key: Key, position: int) -> None:
        """Keep this ended job no longer. Harmless when it is not kept, or another one has its key."""
        record = self._recent.get(key)
        if record is not None and record.job.position == position:
            del self._recent[key]
