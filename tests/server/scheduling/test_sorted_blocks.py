"""A sorted collection in blocks is a sorted list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling import sorted_blocks
from pixwire_server.scheduling.sorted_blocks import SortedBlocks


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=300), st.integers(2, 9))
def test_it_is_a_sorted_list(moves: list[tuple[bool, int]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_blocks, "BLOCK", block)
        blocks: SortedBlocks[int] = SortedBlocks()
        model: set[int] = set()
        for enters, item in moves:
            if enters and item not in model:
                blocks.add(item)
                model.add(item)
            elif not enters and item in model:
                blocks.remove(item)
                model.remove(item)
            assert len(blocks) == len(model)
            assert not model or blocks.first() == min(model)
        assert list(blocks) == sorted(model)
        assert [blocks.before(item) for item in range(62)] == [sum(one < item for one in model) for item in range(62)]


def test_what_is_not_there_cannot_leave() -> None:
    blocks: SortedBlocks[int] = SortedBlocks()
    with pytest.raises(KeyError):
        blocks.remove(1)
    blocks.add(2)
    for item in (1, 3):
        with pytest.raises(KeyError):
            blocks.remove(item)
