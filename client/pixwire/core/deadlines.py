"""Many points in time, one of which is the next: a heap in which entries are replaced and forgotten cheaply."""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLACK = 100  # forgotten entries that may lie around


class Deadlines(Generic[K]):
    """At most one point in time for each key. All operations are O(log n) on average; those of equal time in order."""

    def __init__(self) -> None:
        self._times: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, key: K) -> bool:
        return key in self._times

    def set(self, key: K, time: float) -> None:
        """The key is due at `time`, and not when it was due before."""
        self._serial += 1
        self._times[key] = time, self._serial
        if len(self._heap) > 2 * len(self._times) + SLACK:  # what is forgotten would pile up till its time comes
            self._heap = [(at, serial, other) for other, (at, serial) in self._times.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (time, self._serial, key))

    def drop(self, key: K) -> None:
        """The key is never due, whether or not it was to be."""
        self._times.pop(key, None)

    def next(self) -> float | None:
        """When the next key is due; None: never."""
        while self._heap and self._stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[K]:
        """The keys whose time has come, taken out one by one; others may be set and dropped meanwhile."""
        while (time := self.next()) is not None and time <= now:
            key = heapq.heappop(self._heap)[2]
            del self._times[key]
            yield key

    def _stale(self, entry: tuple[float, int, K]) -> bool:
        time, serial, key = entry
        return self._times.get(key) != (time, serial)
