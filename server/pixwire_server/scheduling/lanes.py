"""Fair shares: the principals of one class take turns, weighed by the device time their jobs take.

This is deficit round robin with the deficit kept as an account: everybody's account is charged the cost of what was
started, and the least account is next. So a turn is one job, however different the jobs' sizes, and two principals
that both wait all the time never differ by more than the cost of one job each. An account that was idle is brought up
to the least of the busy ones: no credit is saved up by staying away, no debt outlives everybody else's.
"""

from collections.abc import Iterator

from .data import Entry
from .sorted_blocks import SortedBlocks

Turn = tuple[float, int]
"""(due, key): the order inside a lane."""

MANY = 256
"""Lanes above which a place in the queue is estimated from their number alone."""

REMEMBERED = 4096
"""Accounts of idle principals kept before those that no longer matter are dropped."""


class Lanes:
    """The waiting jobs of one class, one lane a principal. Every operation is O(log n)."""

    __slots__ = ("_accounts", "_floor", "_lanes", "_ring", "_size")

    def __init__(self) -> None:
        self._lanes: dict[str, SortedBlocks[Turn]] = {}
        self._ring: SortedBlocks[tuple[float, str]] = SortedBlocks()
        self._accounts: dict[str, float] = {}
        self._floor = 0.0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, entry: Entry, turn: Turn) -> None:
        """A job enters its principal's lane. `turn`: its due time and key, which the caller has at hand."""
        self._size += 1
        lane = self._lanes.get(entry.principal)
        if lane is None:
            lane = self._lanes[entry.principal] = SortedBlocks()
            self._open(entry.principal)
        lane.add(turn)

    def remove(self, entry: Entry) -> None:
        """A job leaves, whatever the reason. Raises KeyError when it is not there."""
        lane = self._lanes[entry.principal]
        lane.remove((entry.due, entry.key))
        self._size -= 1
        if not lane:
            del self._lanes[entry.principal]
            self._ring.remove((self._accounts[entry.principal], entry.principal))

    def charge(self, principal: str, cost: float) -> None:
        """A job of this principal was started: its next turn comes later by `cost`."""
        before = self._accounts.get(principal, self._floor)
        if principal in self._lanes:
            self._ring.remove((before, principal))
            self._ring.add((before + cost, principal))
        self._accounts[principal] = before + cost
        self._floor = max(self._floor, self._ring.first()[0] if self._ring else before)

    def heads(self) -> Iterator[Turn]:
        """The first job of each lane, the principal with the least account first."""
        return (self._lanes[principal].first() for _, principal in self._ring)

    def in_turns(self) -> Iterator[int]:
        """The keys in about the order of starting: one job of each lane, then the second of each. Not to be changed
        meanwhile.
        """
        lanes = [iter(self._lanes[principal]) for _, principal in self._ring]
        while lanes:
            left = []
            for lane in lanes:
                if (turn := next(lane, None)) is not None:
                    yield turn[1]
                    left.append(lane)
            lanes = left

    def before(self, entry: Entry) -> int:
        """About how many jobs of this class start before this one: each lane as far as this one's is ahead of it.

        Looks at every lane, up to `MANY` of them, so it is for one job's status, not for all of them.
        """
        lane = self._lanes[entry.principal]
        own = lane.before((entry.due, entry.key))
        if len(self._lanes) == 1:
            return own
        if len(self._lanes) > MANY:
            return own + min(self._size - len(lane), (own + 1) * (len(self._lanes) - 1))
        return own + sum(min(len(lane), own + 1) for name, lane in self._lanes.items() if name != entry.principal)

    def _open(self, principal: str) -> None:
        account = max(self._floor, self._accounts.get(principal, 0.0))
        self._accounts[principal] = account
        self._ring.add((account, principal))
        if len(self._accounts) > REMEMBERED + 2 * len(self._lanes):
            kept = {p: a for p, a in self._accounts.items() if p in self._lanes or a > self._floor}
            self._accounts = kept
