"""A sorted collection that stays quick at a hundred thousand items: short sorted lists, one after the other."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=_Ordered)

BLOCK = 512
"""Items of a block at most: above, moving its tail costs more than finding it."""


class SortedBlocks(Generic[T]):
    """Distinct items in order. Entering and leaving: two binary searches and moving at most `BLOCK` references."""

    __slots__ = ("_blocks", "_last", "_size")

    def __init__(self) -> None:
        self._blocks: list[list[T]] = []
        self._last: list[T] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from block

    def first(self) -> T:
        """The least item. Raises IndexError when there is none."""
        return self._blocks[0][0]

    def add(self, item: T) -> None:
        """Take in an item that is not there yet."""
        self._size += 1
        last = self._last
        if not last or last[-1] < item:  # mostly: who comes later is due later
            if last and len(block := self._blocks[-1]) < BLOCK:
                block.append(item)
                last[-1] = item
            else:
                self._blocks.append([item])
                last.append(item)
            return
        at = bisect_left(last, item)
        block = self._blocks[at]
        insort(block, item)
        if len(block) > BLOCK:
            self._blocks[at : at + 1] = [block[: BLOCK // 2], block[BLOCK // 2 :]]
            last[at : at + 1] = [block[BLOCK // 2 - 1], block[-1]]

    def remove(self, item: T) -> None:
        """Take out an item. Raises KeyError when it is not there."""
        at = bisect_left(self._last, item)
        block = self._blocks[at] if at < len(self._blocks) else []
        index = bisect_left(block, item)
        if index == len(block) or block[index] != item:
            raise KeyError(item)
        del block[index]
        self._size -= 1
        if block:
            self._last[at] = block[-1]
        else:
            del self._blocks[at]
            del self._last[at]

    def before(self, item: T) -> int:
        """How many items are less than this one. A few microseconds for a hundred thousand."""
        at = bisect_left(self._last, item)
        if at == len(self._blocks):
            return self._size
        block = self._blocks[at]
        if 2 * at < len(self._blocks):
            return sum(map(len, self._blocks[:at])) + bisect_left(block, item)
        return self._size - sum(map(len, self._blocks[at:])) + bisect_left(block, item)
