"""The choice of the next forward pass."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling.composition import ENCODE, MAX_STREAK, Streak, Waiting, choose
from pixwire_server.scheduling.ranking import AGED_PASS

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


# ------------------------------------------------------------------------------- urgency, knee, fairness


ranked = st.builds(
    Waiting,
    order=st.just(0),
    stage=st.just("denoise"),
    key=st.sampled_from("abc"),
    rows=st.integers(1, 4),
    cap=st.just(8),
    level=st.integers(0, 2),
    due=st.integers(0, 9).map(float),
    knee=st.none() | st.integers(1, 8),
)


@st.composite
def ranked_sets(draw: st.DrawFn) -> list[Waiting]:
    drawn = draw(st.lists(ranked, min_size=1, max_size=10))
    knees = {key: draw(st.none() | st.integers(1, 8)) for key in "abc"}
    return [dataclasses.replace(call, order=order, knee=knees[str(call.key)]) for order, call in enumerate(drawn)]


@given(ranked_sets(), st.integers(0, AGED_PASS - 1))
def test_a_pass_ends_at_the_knee(waiting: list[Waiting], turn: int) -> None:
    chosen = [waiting[index] for index in choose(waiting, Streak(turn=turn))]
    assert len({call.key for call in chosen}) == 1
    assert len(chosen) == 1 or sum(call.rows for call in chosen) <= chosen[0].limit


@given(ranked_sets())
def test_the_most_urgent_call_is_in_the_pass(waiting: list[Waiting]) -> None:
    chosen = choose(waiting, Streak())
    urgency = [(call.level, call.due, call.order) for call in waiting]
    assert urgency[chosen[0]] == min(urgency)
    mates = [urgency[index] for index in chosen]
    assert mates == sorted(mates)


def test_urgent_work_displaces_and_what_it_displaced_goes_on_afterwards() -> None:
    running = [Waiting(order, "denoise", "large", 1, 8, level=1, due=float(order), knee=1) for order in range(3)]
    urgent = Waiting(9, "denoise", "small", 1, 8, level=0, due=100.0)
    assert choose([*running, urgent], Streak(), now=0.0) == [3]
    assert choose(running, Streak(), now=0.0) == [0]


def test_a_saturated_key_runs_one_to_its_end_and_then_the_next() -> None:
    """Where sharing gains nothing, the one that is due first keeps its turn though it parks again behind the others."""
    waiting = [Waiting(order, "denoise", "k", 1, 8, due=100.0 + order, knee=1) for order in range(3)]
    streak = Streak()
    for order in range(3, 20):
        (index,) = choose(waiting, streak, now=0.0)
        assert index == 0
        streak = streak.then("denoise")
        waiting[0] = dataclasses.replace(waiting[0], order=order)


def test_an_aged_pass_goes_to_whom_is_longest_overdue() -> None:
    low = Waiting(5, "denoise", "a", 1, 8, level=2, due=10.0)
    high = Waiting(1, "denoise", "b", 1, 8, level=0, due=50.0)
    aged = Streak(turn=AGED_PASS - 1)
    assert choose([low, high], aged, now=20.0) == [0]
    assert choose([low, high], aged, now=5.0) == [1]
    assert choose([low, high], Streak(), now=20.0) == [1]


@given(ranked_sets(), st.integers(1, 6), st.data())
def test_no_call_starves_whatever_comes(waiting: list[Waiting], steps: int, data: st.DataObject) -> None:
    """A job of `steps` passes is done within `AGED_PASS` passes for each pass that those due before it still need,
    though ever new jobs of the highest class, on any key, come in without end.
    """
    victim = dataclasses.replace(waiting[0], level=2, due=50.0)
    older = [dataclasses.replace(call, due=min(call.due, 9.0)) for call in waiting[1:]]
    left = {index: data.draw(st.integers(1, 4)) for index in range(len(older))}
    bound = AGED_PASS * (steps + sum(left.values())) + AGED_PASS
    streak, order = Streak(), 100
    pool: list[tuple[int, Waiting]] = [(-1, victim), *enumerate(older)]
    for turn in range(bound):
        pool.append((1000, Waiting(order, "denoise", data.draw(st.sampled_from("abc")), 1, 8, 0, 60.0 + turn)))
        order += 1
        chosen = choose([call for _, call in pool], streak, now=1e9)
        streak = streak.then("denoise")
        for index in chosen:
            name, call = pool[index]
            pool[index] = name, dataclasses.replace(call, order=order)
            order += 1
            if name == -1:
                steps -= 1
            elif name < 1000:
                left[name] -= 1
        if steps == 0:
            return
        pool = [(name, call) for name, call in pool if name in (-1, 1000) or left[name] > 0]
    raise AssertionError(f"{steps} steps are not done after {bound} passes")
