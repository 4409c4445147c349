"""Due times: small jobs get a head start, a limited one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling import ranking
from pixwire_server.scheduling.ranking import DueTimes, Priority

costs = st.floats(0.01, 100)
backlogs = st.floats(0, 10_000)


@given(costs, costs, backlogs)
def test_of_two_that_arrive_together_the_smaller_is_due_first(one: float, other: float, backlog: float) -> None:
    small, large = sorted((one, other))
    dues = [ranking.due(Priority.NORMAL, 7.0, cost, cost, backlog) for cost in (small, large)]
    assert dues[0] <= dues[1]


@given(costs, costs, backlogs, st.sampled_from(list(Priority)), st.sampled_from(list(Priority)))
def test_nothing_can_be_due_before_a_job_that_waits_long_enough(
    cost: float, other: float, backlog: float, own: Priority, its: Priority
) -> None:
    """After `head start + stretch` whoever comes is due later: that is the bound on being overtaken."""
    first = ranking.due(own, 0.0, cost, cost, 0.0)
    head_start = -ranking.due(its, 0.0, 0.0, other, backlog, deadline=1e9)
    later = first + head_start + 1e-6
    assert ranking.due(its, later, other, other, backlog, deadline=later + 1e9) >= first


def test_a_job_is_due_at_its_deadline_at_the_latest() -> None:
    assert ranking.due(Priority.LOW, 0.0, 100.0, 1.0, 0.0, deadline=30.0) == 30.0


@pytest.mark.parametrize(
    ("priority", "now", "expected"),
    [
        (Priority.LOW, 5.0, Priority.LOW),
        (Priority.LOW, 11.0, Priority.NORMAL),
        (Priority.NORMAL, 11.0, Priority.NORMAL),
        (Priority.HIGH, 11.0, Priority.HIGH),
    ],
)
def test_what_is_overdue_counts_as_normal_at_least(priority: Priority, now: float, expected: Priority) -> None:
    assert ranking.level(priority, 10.0, now) == expected


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1000)), max_size=30), st.integers(0, 2))
def test_equal_jobs_are_due_in_the_order_of_their_arrival(arrivals: list[tuple[float, float]], priority: int) -> None:
    """However the backlog changes between them."""
    times = DueTimes()
    given_out = [times.give("kind", priority, now, 2.0, 1.0, backlog) for now, backlog in sorted(arrivals)]
    assert given_out == sorted(given_out)
    other = times.give("other", priority, 0.0, 2.0, 1.0)
    assert other == ranking.due(priority, 0.0, 2.0, 1.0), "of another kind nothing is known"


def test_a_deadline_is_not_put_off_for_the_sake_of_order() -> None:
    times = DueTimes()
    late = times.give("kind", Priority.NORMAL, 0.0, 2.0, 1.0, 0.0, 100.0)
    assert times.give("kind", Priority.NORMAL, 0.0, 2.0, 1.0, 50.0, 10.0) < late


def test_kinds_that_come_no_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "REMEMBERED", 2)
    times = DueTimes()
    for kind in range(50):
        times.give(kind, Priority.NORMAL, 0.0, 2.0, 1.0)
    assert len(times._last) == 2
