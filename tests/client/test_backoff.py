"""When to connect again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire.core.backoff import Backoff
from pixwire.core.deadlines import Deadlines


@pytest.mark.req("PXW-DRN-009")
def test_the_bound_doubles_with_every_failure_up_to_the_longest() -> None:
    backoff = Backoff()
    bounds = []
    for _ in range(10):
        bounds.append(backoff.bound)
        backoff.next(0.0, 0.5)
    assert bounds == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0, 10.0]


@pytest.mark.req("PXW-DRN-009")
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_the_wait_is_random_between_zero_and_the_bound(chance: float, failures: int) -> None:
    backoff = Backoff(failures=failures)
    bound = backoff.bound
    assert backoff.next(100.0, chance) == pytest.approx(100.0 + chance * bound)
    assert bound <= 10.0


@pytest.mark.req("PXW-DRN-008")
def test_never_before_the_server_wants_us() -> None:
    backoff = Backoff()
    backoff.hold_off(50.0)
    backoff.hold_off(40.0)
    assert backoff.next(10.0, 0.0) == 50.0
    assert backoff.next(10.0, 0.5) == pytest.approx(50.2)
    assert backoff.next(60.0, 0.5) == pytest.approx(60.4)


def test_a_connection_that_lasted_forgives() -> None:
    backoff = Backoff(failures=5)
    backoff.lasted(29.9)
    assert backoff.failures == 5
    backoff.lasted(30.0)
    assert backoff.failures == 0


# --- deadlines


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["set", "drop", "due"]), st.integers(0, 100))))
def test_deadlines_are_like_a_dictionary_that_is_searched(steps: list[tuple[int, str, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, int] = {}
    for key, what, time in steps:
        if what == "set":
            deadlines.set(key, time)
            model[key] = time
        elif what == "drop":
            deadlines.drop(key)
            model.pop(key, None)
        else:
            due = list(deadlines.due(time))
            assert sorted(due) == sorted(key for key, at in model.items() if at <= time)
            assert [model[key] for key in due] == sorted(model[key] for key in due)
            model = {key: at for key, at in model.items() if at > time}
        assert deadlines.next() == min(model.values(), default=None)
        assert len(deadlines) == len(model)


def test_deadlines_that_are_dropped_soon_are_never_put_in_order() -> None:
    deadlines: Deadlines[int] = Deadlines()
    deadlines.set(-1, 5.0)
    assert deadlines.next() == deadlines.soonest == 5.0
    for number in range(1000):
        deadlines.set(number, 3.0)
        deadlines.drop(number)
    assert len(deadlines._heap) == 1
    assert deadlines.soonest == 3.0, "too early is fine until somebody asks"
    assert deadlines.next() == deadlines.soonest == 5.0
    deadlines.drop(-1)
    assert deadlines.next() is None
    assert deadlines.soonest == math.inf


def test_replaced_deadlines_do_not_pile_up() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for number in range(10_000):
        deadlines.set("one", number)
        deadlines.set("other", number)
    assert len(deadlines._heap) < 200
    assert deadlines.next() == 9_999
