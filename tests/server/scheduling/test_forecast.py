"""When jobs will be finished."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling import forecast
from pixwire_server.scheduling.cost import CostModel, Shape, Work
from pixwire_server.scheduling.data import Entry
from pixwire_server.scheduling.forecast import Resident

SHAPE = Shape("s", 4096)


def model() -> CostModel:
    made = CostModel()
    for _ in range(5):
        made.observe("encode", SHAPE, 1, 1.0)
        made.observe("decode", SHAPE, 1, 2.0)
        for rows in (1, 2, 4, 8):
            made.observe("denoise", SHAPE, rows, max(1.0, rows / 2))
    return made


def entry(key: int, cost: float, latency: float, deadline: float | None = None) -> Entry:
    return Entry(key, "a", 1, 0.0, 100.0 + key, cost, latency, deadline)


def resident(key: int, left: int, due: float = 0.0, deadline: float | None = None) -> Resident:
    return Resident(key, 1, due, Work(SHAPE, 10), left, deadline=deadline)


def test_what_is_left_shrinks_with_every_step() -> None:
    assert forecast.cost_left(model(), resident(1, 10), 8) == pytest.approx(2 + 10 * 0.5)
    assert forecast.cost_left(model(), resident(1, 4), 8) == pytest.approx(2 + 4 * 0.5)
    assert forecast.latency_left(model(), resident(1, 4)) == pytest.approx(1 + 2 + 4)


def test_a_job_waits_for_those_before_it_and_is_never_faster_than_alone() -> None:
    assert forecast.finish(10.0, 0.0, 2.0, 5.0) == 15.0
    assert forecast.finish(10.0, 20.0, 2.0, 5.0) == 32.0


@given(st.lists(st.floats(0.1, 9), max_size=20), st.lists(st.integers(0, 10), max_size=6), st.floats(0, 100))
def test_etas_follow_the_order(costs: list[float], steps: list[int], now: float) -> None:
    """Nobody later in the queue, of the same shape of job, is promised an earlier end; all are promised some end."""
    residents = [resident(1000 + index, left) for index, left in enumerate(steps)]
    queue = [entry(key, cost, cost) for key, cost in enumerate(costs)]
    found = forecast.etas(model(), residents, queue, now, 8)
    assert set(found) == {*range(len(costs)), *(1000 + index for index in range(len(steps)))}
    ends = [found[key] for key in range(len(costs))]
    assert ends == sorted(ends)
    assert all(end > now for end in found.values())


def test_which_deadlines_can_be_met() -> None:
    ahead = [resident(1, 10)]
    assert forecast.can_meet(model(), entry(2, 2.0, 5.0, deadline=9.5), 0.0, ahead, 8, slack=1.0)
    assert not forecast.can_meet(model(), entry(2, 2.0, 5.0, deadline=8.5), 0.0, ahead, 8, slack=1.0)
    assert not forecast.can_meet(model(), entry(2, 2.0, 5.0, deadline=9.5), 0.0, ahead, 8, slack=2.0)
    assert forecast.can_meet(model(), entry(2, 2.0, 5.0), 1e9, ahead, 8)
    assert forecast.hopeless(model(), resident(1, 4, deadline=6.0), 0.0)
    assert not forecast.hopeless(model(), resident(1, 4, deadline=8.0), 0.0)


def test_those_who_are_less_urgent_are_not_waited_for() -> None:
    assert forecast.ahead(model(), [resident(1, 4, due=50.0), resident(2, 4, due=5.0)], 1, 10.0, 8) == pytest.approx(
        4.0
    )
