"""The cost model: learns, is not fooled by outliers, never says that more rows cost less, and knows how wrong it is."""

import itertools
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixwire_server.scheduling import cost
from pixwire_server.scheduling.cost import CostModel, Shape, Work, at, knee, monotone

SMALL, LARGE = Shape("512", 512 * 512), Shape("1024", 1024 * 1024)


def taught(curve: dict[int, float], shape: Shape = SMALL, times: int = 5) -> CostModel:
    model = CostModel()
    for _ in range(times):
        for rows, seconds in curve.items():
            model.observe("denoise", shape, rows, seconds)
    return model


seconds = st.floats(1e-4, 1e3)
sightings = st.lists(st.tuples(st.integers(1, 32), seconds), min_size=1, max_size=60)


@given(sightings)
def test_more_rows_never_cost_less(seen: list[tuple[int, float]]) -> None:
    model = CostModel()
    for rows, took in seen:
        model.observe("denoise", SMALL, rows, took)
    predicted = [model.seconds("denoise", SMALL, rows) for rows in range(1, 40)]
    assert all(0 < low <= high * (1 + 1e-9) for low, high in itertools.pairwise(predicted))


@given(sightings)
def test_pooling_keeps_what_is_already_monotone(seen: list[tuple[int, float]]) -> None:
    medians = {rows: (took, 1) for rows, took in seen}
    points = monotone(medians)
    assert [rows for rows, _ in points] == sorted(medians)
    assert monotone({rows: (took, 1) for rows, took in points}) == points


@given(st.lists(st.sampled_from([0.1, 0.001, 100.0]), min_size=40, max_size=80), st.integers(0, 2**32))
def test_outliers_do_not_move_it(noise: list[float], seed: int) -> None:
    """One pass in ten takes a hundredth or a thousand times as long: what is predicted stays within the noise."""
    rng = random.Random(seed)
    model = CostModel()
    for _ in range(cost.KEPT):
        model.observe("denoise", SMALL, 4, 0.1)
    for index, value in enumerate(noise):
        model.observe("denoise", SMALL, 4, value if index % 10 == 0 else 0.1 * rng.uniform(0.95, 1.05))
        assert model.seconds("denoise", SMALL, 4) == pytest.approx(0.1, rel=0.06)


def test_it_follows_a_change() -> None:
    model = taught({4: 0.1}, times=20)
    for _ in range(cost.KEPT // 2 + 1):
        model.observe("denoise", SMALL, 4, 0.3)
    assert model.seconds("denoise", SMALL, 4) == 0.3


def test_between_sizes_beyond_them_and_of_unknown_shapes() -> None:
    model = taught({2: 0.2, 4: 0.3})
    assert model.seconds("denoise", SMALL, 3) == pytest.approx(0.25)
    assert model.seconds("denoise", SMALL, 8) == pytest.approx(0.6)
    assert 0.1 < model.seconds("denoise", SMALL, 1) < 0.2
    assert model.seconds("denoise", LARGE, 4) == pytest.approx(1.2)
    assert CostModel().seconds("denoise", LARGE, 1) > 0


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({1: 1.0, 2: 1.82, 4: 2.77, 8: 3.14, 16: 3.21}, 8),  # published, H200, 512 px
        ({1: 1.0, 2: 1.02, 4: 1.02, 8: 1.02}, 1),  # the same at 1024 px
        ({1: 1.0, 2: 1.80, 4: 2.68, 8: 3.70, 16: 4.58}, 16),  # a UNet of 8 x 8 latents on a CPU
        ({1: 1.0, 3: 1.05}, 1),
    ],
)
def test_the_knee_is_where_the_gain_ends(gains: dict[int, float], expected: int) -> None:
    model = taught({rows: 0.1 * rows / gain for rows, gain in gains.items()})
    assert model.knee(SMALL, 16) == expected


def test_what_was_not_measured_often_enough_does_not_bound_the_rows() -> None:
    assert CostModel().knee(SMALL, 16) == 16
    assert taught({1: 0.1, 2: 0.2}, times=cost.SURE - 1).knee(SMALL, 16) == 16
    assert taught({1: 0.1, 2: 0.2}, times=cost.SURE).knee(SMALL, 16) == 1
    assert knee([]) is None


@given(sightings)
def test_it_survives_being_written_and_read(seen: list[tuple[int, float]]) -> None:
    model = CostModel()
    for rows, took in seen:
        model.observe("denoise", SMALL, rows, took)
        model.observe("decode", LARGE, 1, took)
    text = json.dumps(model.to_map())
    again = CostModel.from_map(json.loads(text))
    for rows in range(1, 34):
        expected = model.seconds("denoise", SMALL, rows)
        assert again.seconds("denoise", SMALL, rows) == pytest.approx(expected, rel=2e-3)
    assert again.errors().count == 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"format": 2, "curves": []},
        {"format": 1, "curves": [[1]]},
        {"format": 1, "curves": 3},
        {"format": 1, "curves": [["denoise", "a", float("inf"), {"1": [1.0]}]]},
        {"format": 1, "curves": [["denoise", "a", 10**400, {"1": [1.0]}]]},
        {"format": 1, "curves": [["denoise", "a", 10**9, {"1": [1e-320]}], ["denoise", "b", 1, {"1": [1.0]}]]},
    ],
)
def test_what_is_no_model_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        CostModel.from_map(data)


def test_it_forgets_the_curve_unused_longest() -> None:
    model = CostModel()
    for index in range(cost.SHAPES + 5):
        model.observe("denoise", Shape(f"s{index}", 4096), 1, 0.1)
    assert len(model.to_map()["curves"]) == cost.SHAPES
    assert model.to_map()["curves"][0][1] == "s5"


@given(st.lists(st.sampled_from([0.0, -1.0, math.inf, math.nan]), max_size=5))
def test_nonsense_is_not_learnt(values: list[float]) -> None:
    model = CostModel()
    for value in values:
        model.observe("denoise", SMALL, 1, value)
    assert model.to_map()["curves"] == []


def test_it_knows_how_wrong_it_is() -> None:
    model = taught({4: 0.1}, times=20)
    for _ in range(20):
        model.observe("denoise", SMALL, 4, 0.2)
    errors = model.errors()
    assert errors.count == 40
    assert errors.p50 == pytest.approx(1.0)
    assert errors.p99 == pytest.approx(2.0, rel=1.0)
    model.finished(10.0, 12.0)
    assert model.job_errors().p50 == pytest.approx(1.2)


def test_the_cost_of_a_job_is_its_share_of_shared_passes() -> None:
    model = taught({1: 0.1, 2: 0.11, 4: 0.12, 8: 0.24})
    model.observe("encode", SMALL, 1, 0.01)
    model.observe("decode", SMALL, 1, 0.02)
    work = Work(SMALL, steps=10, rows=1)
    assert model.knee(SMALL, 16) == 4
    assert model.cost(work, 16) == pytest.approx(0.01 + 0.02 + 10 * 0.12 / 4)
    assert model.latency(work) == pytest.approx(0.01 + 0.02 + 10 * 0.1)
    assert at(((1, 2.0),), 1) == 2.0


def test_a_guess_is_not_sure_and_three_passes_are() -> None:
    model, work = CostModel(), Work(Shape("a", 4096), 10, 2)
    assert not model.sure(work)
    for _ in range(2):
        model.observe("denoise", work.shape, 2, 1.0)
        assert not model.sure(work)
    model.observe("denoise", work.shape, 2, 1.0)
    assert model.sure(work)
    assert not model.sure(Work(Shape("b", 4096), 10, 2)), "what is known of another shape is a guess for this one"


def test_further_modules_of_a_step_cost_their_own_time() -> None:
    model, unet, control = CostModel(), Shape("a", 4096), Shape("a+controlnet", 4096)
    for shape, seconds in ((unet, 1.0), (control, 0.5)):
        for _ in range(3):
            model.observe("denoise", shape, 2, seconds)
    ends = model.latency(Work(unet, 0, 2))
    assert model.latency(Work(unet, 10, 2)) == pytest.approx(ends + 10.0)
    assert model.latency(Work(unet, 10, 2, also=(control,))) == pytest.approx(ends + 15.0)
