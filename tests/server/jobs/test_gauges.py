"""What the engine did lately: counted by the second, forgotten after a minute."""

from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.jobs.gauges import DENOISE, LATEST, WINDOW_S, Gauges, Readings


def test_means_are_of_the_denoising_passes_of_the_last_minute() -> None:
    gauges = Gauges()
    assert gauges.read(5.0) == Readings(0, None, None, 0.0, 0)
    gauges.passed(1, DENOISE, 4, 10.0, (1, 2), 100.0)
    gauges.passed(2, DENOISE, 1, 20.0, (3,), 130.0)
    gauges.passed(3, "decode", 9, 999.0, (1,), 130.0)
    gauges.made(3, 130.5)
    gauges.beat(3)
    assert gauges.read(131.0) == Readings(2, 2.5, 15.0, 3.0, 3)
    assert gauges.read(165.0) == Readings(2, 1.0, 20.0, 3.0, 3)
    assert gauges.read(191.0) == Readings(2, None, None, 0.0, 3)


def test_tasks_of_one_pass_have_its_number_until_they_leave() -> None:
    gauges = Gauges()
    gauges.passed(7, DENOISE, 2, 1.0, (1, 2), 0.0)
    gauges.passed(8, DENOISE, 1, 1.0, (2,), 0.0)
    gauges.passed(9, "encode", 1, 1.0, (3,), 0.0)
    assert [gauges.last_pass(handle) for handle in (1, 2, 3)] == [7, 8, None]
    gauges.left(2)
    gauges.left(2)
    assert gauges.last_pass(2) is None
    gauges.beat(2)
    gauges.lost()
    assert gauges.last_pass(1) is None
    assert (gauges.read(0.0).resident, gauges.read(0.0).passes) == (0, 2)


def test_who_was_in_none_of_the_last_passes_is_parked() -> None:
    gauges = Gauges()
    assert not gauges.is_parked(1)  # nobody had a turn yet
    gauges.passed(1, DENOISE, 1, 1.0, (1,), 0.0)
    for number in range(2, 2 + LATEST):
        assert not gauges.is_parked(1)
        assert gauges.is_parked(9) == (number > LATEST)
        gauges.passed(number, DENOISE, 1, 1.0, (2,), 0.0)
    assert gauges.is_parked(1)
    assert not gauges.is_parked(2)
    gauges.lost()  # the next engine counts from the beginning
    gauges.passed(1, DENOISE, 1, 1.0, (3,), 0.0)
    assert not gauges.is_parked(3)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 16), st.floats(0.1, 100)), max_size=200))
def test_the_rates_are_those_of_a_list_that_is_kept_whole(steps: list[tuple[float, int, float]]) -> None:
    gauges, now, kept = Gauges(), 0.0, []
    for wait, rows, ms in steps:
        now += wait
        kept.append((now, rows, ms))
        gauges.passed(len(kept), DENOISE, rows, ms, (), now)
    recent = [(rows, ms) for at, rows, ms in kept if int(at) > int(now) - WINDOW_S]
    found = gauges.read(now)
    assert found.passes == len(kept)
    if recent:
        assert found.rows == round(sum(rows for rows, _ in recent) / len(recent), 2)
        assert found.step_ms is not None
        assert abs(found.step_ms - sum(ms for _, ms in recent) / len(recent)) < 0.01
    else:
        assert (found.rows, found.step_ms) == (None, None)
    assert len(gauges._seconds) <= WINDOW_S
