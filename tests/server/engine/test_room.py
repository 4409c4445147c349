"""Which models leave memory for another one: the bound holds, the least number leave, and the right ones."""

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.engine.room import Held, Room, make_room

helds = st.lists(
    st.builds(Held, st.text(min_size=1), st.integers(0, 100), st.integers(0, 10), st.booleans(), st.booleans()),
    max_size=8,
    unique_by=lambda held: held.name,
)


@given(helds, st.integers(0, 200), st.integers(0, 300))
def test_there_is_room_afterwards_or_there_can_be_none(held: list[Held], need: int, budget: int) -> None:
    room = make_room(held, need, budget)
    by_name = {one.name: one for one in held}
    if room is None:
        assert sum(one.bytes for one in held if one.pinned) + need > budget
        return
    leaving = [by_name[name] for name in (*room.evict, *room.drain)]
    assert not any(one.pinned for one in leaving)
    assert all(by_name[name].idle for name in room.evict)
    assert not any(by_name[name].idle for name in room.drain)
    kept = sum(one.bytes for one in held) - sum(one.bytes for one in leaving)
    assert kept + need <= budget or not leaving
    if leaving:
        assert kept + leaving[-1].bytes + need > budget, "one more left than had to"
        assert sum(one.bytes for one in held) + need > budget
    if room.drain:
        assert {one.name for one in held if one.idle and not one.pinned} <= set(room.evict)


def test_those_used_longest_ago_leave_first_and_idle_ones_before_busy_ones() -> None:
    held = [
        Held("old and busy", 10, 1, idle=False, pinned=False),
        Held("pinned", 10, 0, idle=True, pinned=True),
        Held("new", 10, 9, idle=True, pinned=False),
        Held("old", 10, 2, idle=True, pinned=False),
    ]
    assert make_room(held, 0, 40) == Room()
    assert make_room(held, 10, 40) == Room(("old",))
    assert make_room(held, 20, 40) == Room(("old", "new"))
    assert make_room(held, 30, 40) == Room(("old", "new"), ("old and busy",))
    assert make_room(held, 31, 40) is None
