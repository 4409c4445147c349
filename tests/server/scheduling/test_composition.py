"""The choice of the next forward pass."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling.composition import ENCODE, MAX_STREAK, Streak, Waiting, choose

calls = st.builds(
    Waiting,
    order=st.just(0),
    stage=st.sampled_from(["encode", "denoise", "decode"]),
    key=st.sampled_from("abc"),
    rows=st.integers(1, 6),
    cap=st.integers(1, 8),
)


@st.composite
def waiting_sets(draw: st.DrawFn) -> list[Waiting]:
    """Calls of distinct age in any order; one key belongs to one stage and has one cap."""
    drawn = draw(st.lists(calls, max_size=12))
    kinds: dict[str, Waiting] = {}
    for call in drawn:
        kinds.setdefault(str(call.key), call)
    orders = draw(st.permutations(range(len(drawn))))
    return [
        dataclasses.replace(call, order=order, stage=kinds[str(call.key)].stage, cap=kinds[str(call.key)].cap)
        for call, order in zip(drawn, orders, strict=True)
    ]


streaks = st.builds(Streak, st.sampled_from(["", "encode", "denoise", "decode"]), st.integers(0, MAX_STREAK + 1))


@given(waiting_sets(), streaks)
def test_a_pass_has_one_key_and_fits_its_cap(waiting: list[Waiting], streak: Streak) -> None:
    chosen = [waiting[index] for index in choose(waiting, streak)]
    assert bool(chosen) == bool(waiting)
    assert len({call.key for call in chosen}) <= 1
    if len(chosen) > 1:
        assert sum(call.rows for call in chosen) <= chosen[0].cap


@given(waiting_sets(), streaks)
def test_nobody_overtakes_inside_a_key(waiting: list[Waiting], streak: Streak) -> None:
    chosen = choose(waiting, streak)
    assert len(set(chosen)) == len(chosen)
    orders = [waiting[index].order for index in chosen]
    assert orders == sorted(orders)
    if chosen:
        same = sorted(call.order for call in waiting if call.key == waiting[chosen[0]].key)
        assert orders == same[: len(orders)]


@given(waiting_sets())
def test_the_oldest_call_is_in_the_pass_unless_a_newcomer_waits(waiting: list[Waiting]) -> None:
    chosen = choose(waiting, Streak())
    if waiting:
        first = [call for call in waiting if call.stage == ENCODE] or waiting
        assert waiting[chosen[0]].order == min(call.order for call in first)


@given(waiting_sets())
def test_what_fits_is_not_left_out(waiting: list[Waiting]) -> None:
    chosen = choose(waiting, Streak())
    if chosen:
        first = waiting[chosen[0]]
        following = [call for call in waiting if call.key == first.key and call.order > waiting[chosen[-1]].order]
        if following:
            rows = sum(waiting[index].rows for index in chosen)
            assert rows + min(following, key=lambda call: call.order).rows > first.cap


@given(waiting_sets())
def test_nothing_starves_while_everybody_comes_back(waiting: list[Waiting]) -> None:
    """Served calls park again at the end, newcomers go first: still everybody gets a pass within a known number."""
    if not waiting:
        return
    streak, order = Streak(), len(waiting)
    served = dict.fromkeys(range(len(waiting)), -1)
    state = list(waiting)
    bound = (len(waiting) + 1) * (MAX_STREAK + 1)
    rounds = 2 * bound
    longest = 0
    for turn in range(rounds):
        chosen = choose(state, streak)
        streak = streak.then(state[chosen[0]].stage)
        for index in chosen:
            longest = max(longest, turn - served[index])
            served[index] = turn
            state[index] = dataclasses.replace(state[index], order=order)
            order += 1
    assert max(longest, *(rounds - turn for turn in served.values())) <= bound


def test_another_stage_gets_its_turn_in_a_burst() -> None:
    decodes = [Waiting(order, "decode", f"d{order}", 1, 8) for order in range(20)]
    step = Waiting(99, "denoise", "k", 2, 8)
    streak = Streak()
    passes = 0
    while decodes:
        chosen = choose([*decodes, step], streak)
        streak = streak.then([*decodes, step][chosen[0]].stage)
        if chosen == [len(decodes)]:
            break
        del decodes[chosen[0]]
        passes += 1
    assert passes == MAX_STREAK


def test_a_long_streak_alone_goes_on() -> None:
    assert choose([Waiting(1, "denoise", "k", 1, 4)], Streak("denoise", 1000)) == [0]


def test_a_call_larger_than_the_cap_runs_alone() -> None:
    waiting = [Waiting(0, "denoise", "k", 9, 4), Waiting(1, "denoise", "k", 1, 4)]
    assert choose(waiting, Streak()) == [0]
    assert choose(waiting[1:], Streak()) == [0]


def test_a_large_call_is_not_passed_by_smaller_ones() -> None:
    waiting = [Waiting(0, "denoise", "k", 2, 4), Waiting(1, "denoise", "k", 4, 4), Waiting(2, "denoise", "k", 1, 4)]
    assert choose(waiting, Streak()) == [0]
