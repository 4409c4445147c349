"""Admission is first come, first served, and never exceeds what the engine can take."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling.admission import admit
from pixwire_server.scheduling.data import Capacity, Waiting


def queue_of(marks: list[bool]) -> list[Waiting]:
    return [Waiting(key, alone) for key, alone in enumerate(marks)]


@st.composite
def capacities(draw: st.DrawFn) -> Capacity:
    in_flight = draw(st.integers(0, 12))
    occupied = draw(st.integers(0, in_flight))
    return Capacity(draw(st.integers(1, 12)), occupied, in_flight, in_flight == 1 and draw(st.booleans()))


queues = st.lists(st.booleans(), max_size=30).map(queue_of)


@given(queues, capacities())
def test_admits_a_prefix_that_fits(queue: list[Waiting], capacity: Capacity) -> None:
    admitted = admit(queue, capacity)
    assert admitted == list(range(len(admitted)))
    assert len(admitted) <= max(0, capacity.places - capacity.occupied)


@given(queues, capacities())
def test_a_job_alone_shares_with_nobody(queue: list[Waiting], capacity: Capacity) -> None:
    admitted = [queue[key] for key in admit(queue, capacity)]
    if capacity.alone:
        assert admitted == []
    if any(waiting.alone for waiting in admitted):
        assert len(admitted) == 1
        assert capacity.in_flight == 0


@given(queues, capacities())
def test_leaves_no_place_empty_without_a_reason(queue: list[Waiting], capacity: Capacity) -> None:
    admitted = admit(queue, capacity)
    full = capacity.alone or capacity.occupied + len(admitted) >= capacity.places
    alone_inside = any(queue[key].alone for key in admitted)
    next_is_alone = len(admitted) < len(queue) and queue[len(admitted)].alone
    assert full or alone_inside or next_is_alone or len(admitted) == len(queue)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 6), st.data())
def test_everybody_gets_in_and_in_order(marks: list[bool], places: int, data: st.DataObject) -> None:
    """Whatever the order in which jobs leave, the queue drains in the order it was filled."""
    waiting, inside, started = queue_of(marks), [], []
    while waiting or inside:
        capacity = Capacity(places, len(inside), len(inside), any(w.alone for w in inside))
        keys = admit(waiting, capacity)
        inside += waiting[: len(keys)]
        started += keys
        del waiting[: len(keys)]
        assert inside, "the queue is stuck"
        inside.remove(data.draw(st.sampled_from(inside)))
    assert started == list(range(len(marks)))


def test_looks_only_as_far_as_it_must() -> None:
    looked: list[int] = []

    def queue() -> Iterator[Waiting]:
        for key in range(1_000_000):
            looked.append(key)
            yield Waiting(key)

    assert admit(queue(), Capacity(places=4, occupied=1, in_flight=3)) == [0, 1, 2]
    assert looked == [0, 1, 2]
    assert admit(queue(), Capacity(places=4, occupied=4, in_flight=4)) == []
    assert looked == [0, 1, 2]
