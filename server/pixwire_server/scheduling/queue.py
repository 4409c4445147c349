"""The queue of one engine: who waits, who is next, who waits in vain. No clock, no I/O: time is an argument.

The order of starting, by rule:

    1  of `AGED_TURN` starts one goes by age: to the job whose due time is longest past     nothing starves
    2  otherwise the highest class that has a job goes first                                priorities
    3  in a class the principal that had the least device time goes first                   fair shares
    4  of a principal's jobs the one that is due first goes first                           deadlines, short jobs
    5  but before a job that is less urgent than those whose passes run now, riders go      full passes
       that fill these passes: they are charged like everybody

    skipped, and looked at again next time:  a job whose principal has its fill of places; one whose memory is not free
                                             (until it has aged: then nobody passes it, and room is made)
    holding the door:                        a job that must be alone, once it is next
    taken out, to be expired:                a job that cannot meet its deadline any more

Every operation is a few binary searches (see `sorted_blocks`). All collections hold the same few objects of a job: its
entry, and one pair of due time and key.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from .data import Capacity, Decision, Entry, Group, Limits, Refusal
from .lanes import Lanes, Turn
from .ranking import AGED_TURN, Priority, last_start
from .sorted_blocks import SortedBlocks

MAX_SKIPPED = 64
"""Jobs looked at, one by one, in a search that has another way to go on."""

Feasible = Callable[[Entry, float, Sequence[Entry]], bool]
"""Whether this job, started at this time beside those that run and these that are being started, is likely to meet its
deadline.
"""


def always(entry: Entry, now: float, beside: Sequence[Entry]) -> bool:
    """Where nothing is known of those that run."""
    return True


class WaitQueue:
    """Entries in, decisions out. A job is in here from its acceptance until it is started, removed or expired."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._entries: dict[int, Entry] = {}
        self.changes = 0
        """How often a job has come or gone."""
        self._classes: dict[int, Lanes] = {priority: Lanes() for priority in Priority}  # the first to start first
        self._promoted: set[int] = set()
        self._by_due: SortedBlocks[Turn] = SortedBlocks()
        self._by_start: SortedBlocks[Turn] = SortedBlocks()
        self._low: SortedBlocks[Turn] = SortedBlocks()
        self._by_shape: dict[tuple[str, int], SortedBlocks[Turn]] = {}
        self._principals: Counter[str] = Counter()
        self._turn = 0
        self._cost = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: int) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Entry]:
        """In order of due time, whatever the class."""
        return (self._entries[key] for _, key in self._by_due)

    def in_turns(self) -> Iterator[Entry]:
        """In about the order of starting: shares and age are decided when it comes to it. Take as many as are needed;
        the queue must not be changed meanwhile.
        """
        return (self._entries[key] for lanes in self._classes.values() for key in lanes.in_turns())

    def oldest(self) -> Entry | None:
        """The job that has been in the queue longest; None: nobody waits."""
        return next(iter(self._entries.values()), None)

    def classes(self) -> dict[Priority, int]:
        """How many jobs wait of each class, as it was asked for: a LOW job that is overdue is still one."""
        counts = {priority: len(self._classes[priority]) for priority in Priority}
        counts[Priority.NORMAL] -= len(self._promoted)
        counts[Priority.LOW] += len(self._promoted)
        return counts

    def principals(self) -> Mapping[str, int]:
        """How many jobs of each principal wait."""
        return self._principals

    @property
    def cost(self) -> float:
        """Device seconds of all that wait."""
        return max(0.0, self._cost)

    def of(self, principal: str) -> int:
        """How many jobs of this principal wait."""
        return self._principals.get(principal, 0)

    def refusal(self, principal: str, pending: int = 0, own_pending: int = 0) -> Refusal | None:
        """Why no more job of this principal is taken, if so. `pending`: jobs that are on their way into the queue."""
        own = self._limits.queued_per_principal
        if own is not None and self.of(principal) + own_pending >= own:
            return Refusal(own, True, retry_after(self._cost, len(self), len(self._principals)))
        if len(self) + pending >= self._limits.queued:
            return Refusal(self._limits.queued, False, retry_after(self._cost, len(self)))
        return None

    def add(self, entry: Entry) -> None:
        """A job waits from now on. One that comes back (its engine died) has its old key and due time, so its turn."""
        turn = entry.due, entry.key
        self.changes += 1
        self._entries[entry.key] = entry
        self._principals[entry.principal] += 1
        self._cost += entry.cost
        self._classes[entry.priority].add(entry, turn)
        if entry.priority > Priority.NORMAL:
            self._low.add(turn)
        self._by_due.add(turn)
        alike = self._by_shape.get((entry.shape, entry.priority))
        if alike is None:
            alike = self._by_shape[entry.shape, entry.priority] = SortedBlocks()
        alike.add(turn)
        if (start := last_start(entry)) is not None:
            self._by_start.add((start, entry.key))

    def remove(self, key: int) -> Entry:
        """A job waits no longer: it was started, cancelled or expired. Raises KeyError."""
        entry = self._entries.pop(key)
        self.changes += 1
        self._promoted.discard(key)
        turn = entry.due, key
        self._principals[entry.principal] -= 1
        if not self._principals[entry.principal]:
            del self._principals[entry.principal]
        self._cost = self._cost - entry.cost if self._entries else 0.0
        self._classes[entry.priority].remove(entry)
        if entry.priority > Priority.NORMAL:
            self._low.remove(turn)
        self._by_due.remove(turn)
        alike = self._by_shape[entry.shape, entry.priority]
        alike.remove(turn)
        if not alike:
            del self._by_shape[entry.shape, entry.priority]
        if (start := last_start(entry)) is not None:
            self._by_start.remove((start, key))
        return entry

    def take(
        self, now: float, capacity: Capacity, running: Mapping[str, int] | None = None, feasible: Feasible = always
    ) -> Decision:
        """Decide, and take what is decided out of the queue. `running`: places held, by principal.

        Starts as many as there are places, never one beside a job that must be alone, never beyond the memory.
        """
        expired = self.age(now)
        started: list[Entry] = []
        held = Counter(running or {})
        while (entry := self._next(now, capacity, held)) is not None:
            entry = self._rider(entry, capacity, held) or entry
            if not entry.alone and entry.deadline is not None and not feasible(entry, now, started):
                expired.append(self.remove(entry.key))
                continue
            self._start(entry, now)
            started.append(entry)
            held[entry.principal] += 1
            capacity = _less(capacity, entry)
        return Decision(tuple(started), tuple(expired))

    def expire(self, now: float) -> list[Entry]:
        """Take out all that cannot meet their deadline any more, even with the engine for themselves."""
        expired: list[Entry] = []
        while self._by_start and self._by_start.first()[0] < now:
            expired.append(self.remove(self._by_start.first()[1]))
        return expired

    def age(self, now: float) -> list[Entry]:
        """What time alone brings about, as `take` does before it looks for places: `expire`, and promotions."""
        expired = self.expire(now)
        self._promote(now)
        return expired

    def next_expiry(self) -> float | None:
        """When `expire` will have something to do, if nothing is started before: set the alarm clock to it."""
        return self._by_start.first()[0] if self._by_start else None

    def position(self, key: int) -> int:
        """1 for the next to start; an estimate, for shares and age are decided when it comes to it. Raises KeyError."""
        entry = self._entries[key]
        own, place = entry.priority, 1
        for priority, lanes in self._classes.items():
            if priority == own:
                break
            place += len(lanes)
        return place + lanes.before(entry)

    # ---------------------------------------------------------------------------------------------- details

    def _promote(self, now: float) -> None:
        """LOW jobs that are overdue count as NORMAL from now on."""
        while self._low and self._low.first()[0] < now:
            self.add(replace(overdue := self.remove(self._low.first()[1]), priority=Priority.NORMAL))
            self._promoted.add(overdue.key)

    def _next(self, now: float, capacity: Capacity, held: Counter[str]) -> Entry | None:
        """The job whose turn it is and that may start now, still in the queue; None when there is none."""
        free = capacity.places - capacity.occupied
        if capacity.alone or free + self._limits.urgent_places <= 0:
            return None
        for entry in self._candidates(now, Priority if free > 0 else (Priority.HIGH,)):
            if self._full(entry, held):
                continue
            if entry.alone:
                return None if capacity.in_flight else entry
            if capacity.memory is None or entry.memory <= capacity.memory or not capacity.in_flight:
                return entry
            if entry.due < now:
                return None
        return None

    def _rider(self, turn: Entry, capacity: Capacity, held: Counter[str]) -> Entry | None:
        """Who goes before the one whose turn it is: a job that joins passes which will be run in any case, as they are
        more urgent than that one, and have rows to spare.
        """
        group = capacity.group
        if group is None or turn.alone or (turn.priority, turn.due) < (group.priority, group.due):
            return None
        alike = chain.from_iterable(self._by_shape.get((group.shape, priority), ()) for priority in Priority)
        for _, key in islice(alike, MAX_SKIPPED):
            entry = self._entries[key]
            fits = capacity.memory is None or entry.memory <= capacity.memory
            if entry.rows <= group.missing and fits and not entry.alone and not self._full(entry, held):
                return entry
        return None

    def _candidates(self, now: float, classes: Iterable[Priority]) -> Iterator[Entry]:
        """Whose turn it would be, the first first: rules 1 to 4. Of a principal that has its fill one job is enough to
        see it, so after `MAX_SKIPPED` overdue jobs in vain only the first of each lane is looked at.
        """
        if self._ages(now):
            yield from (self._entries[key] for due, key in islice(self._by_due, MAX_SKIPPED) if due < now)
            heads = sorted(turn for lanes in self._classes.values() for turn in lanes.heads())
            yield from (self._entries[key] for due, key in heads if due < now)
        for priority in classes:
            for _, key in self._classes[priority].heads():
                yield self._entries[key]

    def _ages(self, now: float) -> bool:
        return self._turn % AGED_TURN == AGED_TURN - 1 and bool(self._by_due) and self._by_due.first()[0] < now

    def _start(self, entry: Entry, now: float) -> None:
        self.remove(entry.key)
        self._classes[entry.priority].charge(entry.principal, entry.cost)
        self._turn += 1

    def _full(self, entry: Entry, held: Counter[str]) -> bool:
        limit = self._limits.running_per_principal
        return limit is not None and held[entry.principal] >= limit


def retry_after(cost: float, waiting: int, shares: int = 1) -> float:
    """Seconds until one of `waiting` jobs that cost `cost` device seconds in all has left the queue, when only every
    `shares`-th that leaves is one of them.
    """
    return max(1, shares) * cost / waiting if waiting else 0.0


def _less(capacity: Capacity, entry: Entry) -> Capacity:
    """What is left when this job has been started."""
    return replace(
        capacity,
        occupied=capacity.occupied + 1,
        in_flight=capacity.in_flight + 1,
        alone=entry.alone,
        memory=None if capacity.memory is None else max(0, capacity.memory - entry.memory),
        group=_joined(capacity.group, entry),
    )


def _joined(group: Group | None, entry: Entry) -> Group | None:
    """The group when this job has become resident. One that is more urgent leads from now on, and nobody rides with
    it before the next decision: how many could is not known here.
    """
    if group is None:
        return None
    if entry.shape == group.shape:
        return replace(group, missing=max(0, group.missing - entry.rows))
    return None if (entry.priority, entry.due) < (group.priority, group.due) else group
