"""Many points in time, one of which is the next. Nearly all of them are forgotten long before they come, so a key is
put in order (in a heap) only when somebody asks for the next one; until then it costs one step in a dictionary.
"""

import heapq
from collections.abc import Hashable, Iterator
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLACK = 100  # forgotten entries that may lie around


class Deadlines(Generic[K]):
    """At most one point in time for each key, those of equal time in order. `set` and `drop` are O(1), the others
    O(log n) for each key that was set since."""

    def __init__(self) -> None:
        self._fresh: dict[K, float] = {}
        """Not in the heap yet."""
        self._times: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0
        self.soonest = inf
        """No key is due earlier than this. It may be too early, until `next` is asked: that makes it exact."""

    def __len__(self) -> int:
        return len(self._times) + len(self._fresh)

    def __contains__(self, key: K) -> bool:
        return key in self._times or key in self._fresh

    def set(self, key: K, time: float) -> None:
        """The key is due at `time`, and not when it was due before."""
        if key in self._fresh or key in self._times:
            self.drop(key)
        self._fresh[key] = time
        if time < self.soonest:
            self.soonest = time

    def drop(self, key: K) -> None:
        """The key is never due, whether or not it was to be."""
        if self._fresh.pop(key, None) is None:
            self._times.pop(key, None)

    def next(self) -> float | None:
        """When the next key is due; None: never."""
        if self._fresh:
            self._put_in_order()
        if len(self._heap) > 2 * len(self._times) + SLACK:  # what is forgotten would pile up till its time comes
            self._heap = [(at, serial, other) for other, (at, serial) in self._times.items()]
            heapq.heapify(self._heap)
        while self._heap and self._stale(self._heap[0]):
            heapq.heappop(self._heap)
        self.soonest = self._heap[0][0] if self._heap else inf
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[K]:
        """The keys whose time has come, taken out one by one; others may be set and dropped meanwhile."""
        while (time := self.next()) is not None and time <= now:
            key = heapq.heappop(self._heap)[2]
            del self._times[key]
            yield key

    def _put_in_order(self) -> None:
        fresh, self._fresh = self._fresh, {}
        for key, time in fresh.items():
            self._serial += 1
            self._times[key] = time, self._serial
            heapq.heappush(self._heap, (time, self._serial, key))

    def _stale(self, entry: tuple[float, int, K]) -> bool:
        time, serial, key = entry
        return self._times.get(key) != (time, serial)
