"""The queue: who starts next, who never starts, and that nobody waits for ever."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling.data import Capacity, Entry, Group, Limits, Refusal
from pixwire_server.scheduling.lanes import MANY
from pixwire_server.scheduling.queue import WaitQueue
from pixwire_server.scheduling.ranking import AGED_TURN, Priority

ROOM = Capacity(places=1)


def entry(
    key: int,
    principal: str = "a",
    priority: int = Priority.NORMAL,
    *,
    due: float | None = None,
    cost: float = 1.0,
    deadline: float | None = None,
    rows: int = 1,
    memory: int = 0,
    shape: str = "s",
    alone: bool = False,
) -> Entry:
    """A job; without a due time it is due in the order of arrival, far in the future."""
    when = 1e6 + key if due is None else due
    return Entry(key, principal, priority, 0.0, when, cost, cost, deadline, rows, memory, shape, alone)


def queue_of(*entries: Entry, limits: Limits | None = None) -> WaitQueue:
    queue = WaitQueue(limits)
    for one in entries:
        queue.add(one)
    return queue


def drain(queue: WaitQueue, now: float = 0.0) -> list[int]:
    """One place, freed at once each time."""
    order: list[int] = []
    while len(queue):
        order += queue.take(now, ROOM).start
    return order


entries = st.builds(
    entry,
    st.just(0),
    st.sampled_from("abc"),
    st.sampled_from(list(Priority)),
    due=st.integers(0, 50).map(float),
    cost=st.integers(1, 9).map(float),
    deadline=st.none() | st.integers(5, 60).map(float),
    rows=st.integers(1, 3),
    memory=st.integers(0, 4),
    shape=st.sampled_from("xy"),
    alone=st.integers(0, 9).map(lambda n: n == 0),
)


@st.composite
def queues(draw: st.DrawFn) -> list[Entry]:
    drawn = draw(st.lists(entries, max_size=25))
    return [
        Entry(key, e.principal, e.priority, 0.0, e.due, e.cost, e.cost, e.deadline, e.rows, e.memory, e.shape, e.alone)
        for key, e in enumerate(drawn)
    ]


@st.composite
def capacities(draw: st.DrawFn) -> Capacity:
    in_flight = draw(st.integers(0, 6))
    group = draw(
        st.none() | st.builds(Group, st.sampled_from("xy"), st.integers(0, 2), st.floats(0, 50), st.integers(0, 4))
    )
    occupied = draw(st.integers(0, in_flight))
    memory = draw(st.none() | st.integers(0, 12))
    return Capacity(draw(st.integers(1, 8)), occupied, in_flight, in_flight == 1 and draw(st.booleans()), memory, group)


# -------------------------------------------------------------------------------------------- order


def test_alike_jobs_start_in_the_order_of_arrival() -> None:
    assert drain(queue_of(*(entry(key) for key in range(20)))) == list(range(20))


def test_a_higher_class_goes_first() -> None:
    low, normal, high = entry(0, priority=2), entry(1, priority=1), entry(2, priority=0)
    assert drain(queue_of(low, normal, high)) == [2, 1, 0]


def test_the_nearest_due_time_goes_first_inside_a_class() -> None:
    assert drain(queue_of(entry(0, due=300), entry(1, due=100), entry(2, due=200))) == [1, 2, 0]


def test_a_low_job_that_is_overdue_counts_as_normal() -> None:
    queue = queue_of(entry(0, priority=Priority.LOW, due=10), entry(1), entry(2))
    assert queue.take(11.0, ROOM).start == (0,)


def test_principals_share_device_time_not_turns() -> None:
    """One sends jobs three times as large as the other: it starts a third as many."""
    large = [entry(key, "large", cost=3.0) for key in range(20)]
    small = [entry(key, "small", cost=1.0) for key in range(20, 80)]
    queue = queue_of(*large, *small)
    started = [queue.take(0.0, ROOM).start[0] for _ in range(40)]
    assert sum(key < 20 for key in started) == pytest.approx(10, abs=1)


def test_who_floods_the_queue_makes_only_itself_wait() -> None:
    queue = queue_of(*(entry(key, "flood") for key in range(1000)), entry(1000, "other"))
    assert 1000 in [queue.take(0.0, ROOM).start[0] for _ in range(3)]


def test_no_credit_is_saved_up_by_staying_away() -> None:
    queue = queue_of(*(entry(key, "a") for key in range(50)))
    for _ in range(30):
        queue.take(0.0, ROOM)
    for key in range(50, 100):
        queue.add(entry(key, "late"))
    started = [queue.take(0.0, ROOM).start[0] for _ in range(20)]
    assert sum(key >= 50 for key in started) == pytest.approx(10, abs=1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=60))
def test_busy_principals_differ_by_less_than_two_jobs(jobs: list[tuple[str, int]]) -> None:
    """While two principals both wait, what they were given differs by at most their largest jobs' costs."""
    made = [entry(key, name, cost=float(cost)) for key, (name, cost) in enumerate(jobs)]
    queue, given_to = queue_of(*made), Counter[str]()
    waiting = Counter(name for name, _ in jobs)
    while len(queue):
        (key,) = queue.take(0.0, ROOM).start
        given_to[made[key].principal] += int(made[key].cost)
        waiting[made[key].principal] -= 1
        busy = [given_to[name] for name in "abc" if waiting[name]]
        assert not busy or max(busy) - min(busy) <= 2 * 9


# -------------------------------------------------------------------------------------------- bounds


@given(queues(), capacities(), st.floats(0, 70), st.none() | st.integers(1, 3))
def test_a_decision_keeps_every_bound(jobs: list[Entry], capacity: Capacity, now: float, cap: int | None) -> None:
    queue = queue_of(*jobs, limits=Limits(running_per_principal=cap))
    decision = queue.take(now, capacity)
    started = [jobs[key] for key in decision.start]
    assert len(started) <= max(0, capacity.places - capacity.occupied)
    assert len(queue) == len(jobs) - len(decision.start) - len(decision.expire)
    assert not set(decision.start) & set(decision.expire)
    if capacity.alone:
        assert not started
    if any(one.alone for one in started):
        assert len(started) == 1
        assert capacity.in_flight == 0
    if capacity.memory is not None and (capacity.in_flight or len(started) > 1):
        first_may_be_too_large = not capacity.in_flight and started[0].memory > capacity.memory
        assert first_may_be_too_large or sum(one.memory for one in started) <= capacity.memory
    if cap is not None:
        assert all(count <= cap for count in Counter(one.principal for one in started).values())
    for key in decision.expire:
        deadline = jobs[key].deadline
        assert deadline is not None
        assert now > deadline - jobs[key].latency


@given(queues(), st.integers(1, 4), st.data())
def test_everybody_starts_or_expires(jobs: list[Entry], places: int, data: st.DataObject) -> None:
    """Whatever the order in which jobs leave the engine, the queue drains."""
    queue, inside, seen = queue_of(*jobs), list[Entry](), set[int]()
    while len(queue) or inside:
        memory = max(0, 6 - sum(one.memory for one in inside))
        capacity = Capacity(places, len(inside), len(inside), any(one.alone for one in inside), memory)
        decision = queue.take(60.0, capacity)
        inside += [jobs[key] for key in decision.start]
        seen |= {*decision.start, *decision.expire}
        assert inside or not len(queue), "the queue is stuck"
        if inside:
            inside.remove(data.draw(st.sampled_from(inside)))
    assert seen == set(range(len(jobs)))


@pytest.mark.req("PXW-JOB-023")
@given(st.integers(0, 12), st.sampled_from(list(Priority)), st.data())
def test_nothing_starves(older: int, priority: Priority, data: st.DataObject) -> None:
    """An overdue job starts within `AGED_TURN` starts for each one that is longer overdue, and one turn more, though
    ever new jobs of every class, of any principal, come in without end.
    """
    queue = queue_of(
        *(entry(key, data.draw(st.sampled_from("ab")), Priority.LOW, due=float(key)) for key in range(older))
    )
    queue.add(entry(older, "victim", priority, due=50.0, cost=1000.0))
    bound = AGED_TURN * (older + 1)
    for turn in range(bound):
        for fresh in range(2):
            queue.add(
                entry(1000 + 2 * turn + fresh, data.draw(st.sampled_from("cde")), Priority.HIGH, due=200.0 + turn)
            )
        if older in queue.take(100.0, ROOM).start:
            return
    pytest.fail(f"it still waits after {bound} starts")


def test_a_job_that_is_skipped_for_memory_is_let_in_when_it_is_overdue() -> None:
    queue = queue_of(entry(0, memory=10, due=50), entry(2, "b", memory=1), entry(3, "b", memory=1))
    assert queue.take(0.0, Capacity(2, 1, 1, memory=5)).start == (2,)
    assert queue.take(60.0, Capacity(2, 1, 1, memory=5)).start == ()
    assert queue.take(60.0, Capacity(2, 0, 0, memory=10)).start[0] == 0


def test_a_job_larger_than_the_memory_runs_when_the_engine_is_empty() -> None:
    assert queue_of(entry(0, memory=99)).take(0.0, Capacity(2, memory=5)).start == (0,)


def test_a_principal_with_its_fill_of_places_lets_others_pass() -> None:
    queue = queue_of(*(entry(key, "a") for key in range(5)), entry(9, "b"), limits=Limits(running_per_principal=2))
    assert queue.take(0.0, Capacity(4)).start == (0, 9, 1)
    assert queue.take(0.0, Capacity(4, 3, 3), {"a": 2}).start == ()


def test_a_flood_that_has_its_fill_of_places_holds_up_nobody() -> None:
    """Also in the turns that go by age, where all the oldest jobs are its."""
    flood = [entry(key, "flood", due=float(key)) for key in range(500)]
    others = [entry(key, f"p{key}", due=1000.0 + key) for key in range(500, 520)]
    queue = queue_of(*flood, *others, limits=Limits(running_per_principal=2))
    started = [queue.take(5000.0, Capacity(4, 3, 3), {"flood": 2}).start for _ in range(20)]
    assert sorted(key for (key,) in started) == list(range(500, 520))


def test_a_full_queue_says_when_to_come_back() -> None:
    queue = queue_of(*(entry(key, "a", cost=2.0) for key in range(3)), limits=Limits(queued=4, queued_per_principal=3))
    assert queue.refusal("a") == Refusal(3, True, 2.0)
    assert queue.refusal("b") is None
    queue.add(entry(9, "b", cost=6.0))
    assert queue.refusal("a") == Refusal(3, True, 6.0)
    assert queue.refusal("c") == Refusal(4, False, 3.0)
    assert queue_of(limits=Limits(queued=2)).refusal("c", pending=2) == Refusal(2, False, 0.0)


def test_urgent_places_are_for_the_high_class() -> None:
    queue = queue_of(entry(0), entry(1, priority=Priority.HIGH), limits=Limits(urgent_places=1))
    assert queue.take(0.0, Capacity(4, 4, 4)).start == (1,)
    assert queue.take(0.0, Capacity(4, 5, 5)).start == ()


# -------------------------------------------------------------------------------------------- deadlines, riders


def test_what_cannot_meet_its_deadline_is_expired_not_started() -> None:
    queue = queue_of(entry(0, cost=5.0, deadline=10.0), entry(1, cost=5.0, deadline=30.0))
    assert queue.next_expiry() == 5.0
    decision = queue.take(6.0, Capacity(4))
    assert (decision.start, decision.expire) == ((1,), (0,))


def test_what_is_not_feasible_beside_the_others_is_expired() -> None:
    queue = queue_of(entry(0, deadline=100.0), entry(1))
    decision = queue.take(0.0, Capacity(4), feasible=lambda one, now, beside: False)
    assert (decision.start, decision.expire) == ((1,), (0,))


def test_riders_fill_a_pass_before_a_less_urgent_job_gets_its_turn() -> None:
    queue = queue_of(entry(0, shape="other"), entry(1), entry(2, "b"), entry(3))
    group = Group("s", Priority.NORMAL, 0.0, missing=2)
    assert queue.take(0.0, Capacity(8, 1, 1, group=group)).start[:3] == (1, 2, 0)


def test_nobody_rides_past_a_more_urgent_job() -> None:
    queue = queue_of(entry(0, priority=Priority.HIGH, shape="other"), entry(1))
    group = Group("s", Priority.NORMAL, 0.0, missing=2)
    assert queue.take(0.0, Capacity(2, 1, 1, group=group)).start == (0,)


# -------------------------------------------------------------------------------------------- size


def test_position_counts_who_is_before() -> None:
    queue = queue_of(*(entry(key, "a") for key in range(5)), entry(9, "b"), entry(10, "c", Priority.HIGH))
    assert [queue.position(key) for key in (10, 0, 9)] == [1, 3, 3]
    assert queue.position(4) == 7


def test_a_hundred_thousand_jobs_take_little_memory_and_few_comparisons() -> None:
    """Memory is counted, and so is work, in moves of the queue: no clock is looked at."""
    tracemalloc.start()
    queue = WaitQueue()
    before = tracemalloc.get_traced_memory()[0]
    for key in range(100_000):
        queue.add(entry(key, f"p{key % 50}", key % 3, due=1e6 + key * 7919 % 100_003, deadline=1e9 + key))
    bytes_each = (tracemalloc.get_traced_memory()[0] - before) / 100_000
    tracemalloc.stop()
    assert bytes_each < 1024
    assert len(queue.take(0.0, Capacity(16)).start) == 16


def test_a_job_is_not_started_after_the_moment_it_had_to_start_by() -> None:
    """A time to live in the queue is no deadline: what starts in time is not asked whether it will be done in time."""
    queue = queue_of(
        replace(entry(0, cost=50.0), start_by=10.0),
        replace(entry(1, cost=50.0, deadline=100.0), start_by=20.0),
        replace(entry(2, cost=5.0, deadline=12.0), start_by=20.0),
    )
    assert queue.next_expiry() == 7.0
    assert [one.key for one in queue.expire(7.5)] == [2]
    assert queue.expire(10.0) == []
    assert [one.key for one in queue.expire(10.5)] == [0]
    assert queue.take(20.0, Capacity(1)).start == (1,)
    never = queue_of(replace(entry(0), start_by=10.0))
    assert never.take(10.0, Capacity(1), feasible=lambda one, now, beside: False).start == (0,)


def test_jobs_started_together_are_seen_by_the_forecast() -> None:
    seen: list[list[int]] = []

    def feasible(one: Entry, now: float, beside: Sequence[Entry]) -> bool:
        seen.append([other.key for other in beside])
        return True

    queue = queue_of(entry(0), entry(1, deadline=90.0), entry(2), entry(3, deadline=90.0))
    drained = queue.take(0.0, Capacity(4), feasible=feasible).start
    assert sorted(drained) == [0, 1, 2, 3]
    assert seen == [list(drained[: drained.index(key)]) for key in drained if key in (1, 3)]


@given(queues())
def test_what_waits_is_told_completely_and_in_order_of_class(jobs: list[Entry]) -> None:
    queue = queue_of(*jobs)
    listed = list(queue.in_turns())
    assert sorted(one.key for one in listed) == [one.key for one in jobs]
    assert [one.priority for one in listed] == sorted(one.priority for one in jobs)
    assert queue.classes() == {priority: sum(one.priority == priority for one in jobs) for priority in Priority}
    assert queue.principals() == Counter(one.principal for one in jobs)


def test_many_principals_do_not_make_a_place_in_the_queue_expensive() -> None:
    """Of lanes beyond `MANY` only the number counts; the place is never beyond the end of the class."""
    queue = queue_of(*(entry(key, f"p{key % (2 * MANY)}") for key in range(6 * MANY)))
    places = [queue.position(key) for key in range(6 * MANY)]
    assert places[0] == 2 * MANY
    assert places[-1] <= 6 * MANY
    assert places[0] <= places[2 * MANY] <= places[4 * MANY]
