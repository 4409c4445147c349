"""Exact mode: the bits of an image depend neither on its neighbours nor on the number of threads' share of rows."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, QUIET, run_all
from torch.nn import functional

from pixwire_server.engine.exactness import CANONICAL_ROWS, Exactness, SteadyLayers, same_bits

pytestmark = QUIET


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# ---------------------------------------------------------------------------------------------- whole pipelines


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_gives_the_bits_of_the_lone_request(name: str) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    mix = (0, 2, 3)
    together = run_all(pipeline, [family.job(k) for k in mix], exact=True)
    for handle, k in enumerate(mix):
        alone = run_all(pipeline, [family.job(k)], exact=True)
        assert torch.equal(together.images(handle), alone.images(0))


@pytest.mark.parametrize("name", ["flux", "pixart"])
def test_threads_that_share_the_rows_of_a_pass_change_no_bit(name: str, threads: int) -> None:
    family = FAMILIES[name]
    pipeline = family.pipeline()
    short = {"num_inference_steps": 2}
    together = run_all(pipeline, [family.job(k, **short) for k in range(4)], exact=True)
    for k in (1, 3):
        alone = run_all(pipeline, [family.job(k, **short)], exact=True)
        assert torch.equal(together.images(k), alone.images(0))


def test_a_pass_has_no_more_rows_than_its_requests() -> None:
    family = FAMILIES["sd15"]
    lab = run_all(family.pipeline(), [family.job(0)], exact=True, max_rows=16)
    assert lab.runner.rows == 2 * lab.runner.passes, "a request with guidance has two rows"


def test_running_out_of_memory_in_a_check_lowers_the_rows() -> None:
    family = FAMILIES["sd15"]
    pipeline = family.pipeline()
    expected = run_all(pipeline, [family.job(0)], exact=True).images(0)
    forward = pipeline.unet.forward

    def small(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(sample) > 2:
            raise torch.OutOfMemoryError
        return forward(sample, *args, **kwargs)

    pipeline.unet.forward = small
    assert torch.allclose(run_all(pipeline, [family.job(0)], exact=True).images(0), expected, atol=1e-5)


# ---------------------------------------------------------------------------------------------- verdicts


class Machine:
    """Computes rows; `bits(size, place)` is what the last bit of a row becomes in such a pass."""

    def __init__(self, rows: int, bits: Any) -> None:
        self.rows = rows
        self.bits = bits
        self.sizes: list[tuple[int, bool]] = []

    def __call__(self, size: int, *, checking: bool = False) -> torch.Tensor:
        self.sizes.append((size, checking))
        return torch.tensor([float(row) + self.bits(size, row % size) / 4 for row in range(self.rows)])

    def copies(self, size: int) -> list[torch.Tensor]:
        self.sizes.append((size, True))
        return [torch.tensor([self.bits(size, place) / 4]) for place in range(size)]


def outcome(rows: int, bits: Any, cap: int = 16) -> tuple[torch.Tensor, list[tuple[int, bool]], list[tuple[int, bool]]]:
    """The answer, the passes of the first time and of the second."""
    exactness, machine = Exactness(), Machine(rows, bits)
    first = exactness.compute("key", rows, cap, machine)
    learning, machine.sizes = machine.sizes, []
    assert same_bits(exactness.compute("key", rows, cap, machine), first)
    return first, learning, machine.sizes


def test_rows_that_make_no_difference_are_computed_as_they_are() -> None:
    answer, learning, later = outcome(3, lambda size, place: 0)
    assert answer.tolist() == [0, 1, 2]
    assert [size for size, checking in learning if not checking] == [3], "checks are nobody's passes"
    assert later == [(3, False)]


def test_rows_that_make_a_difference_are_filled_up() -> None:
    answer, _, later = outcome(3, lambda size, place: size % 4)
    assert answer.tolist() == [0, 1, 2]
    assert later == [(4, False)]


def test_rows_that_cannot_be_filled_up_are_computed_in_canonical_passes() -> None:
    answer, _, later = outcome(7, lambda size, place: size != CANONICAL_ROWS)
    assert answer.tolist() == list(range(7))
    assert later == [(CANONICAL_ROWS, False)]
    assert outcome(3, lambda size, place: size % 4, cap=3)[2] == [(3, False)], "never more rows than the cap"


def test_where_the_place_makes_a_difference_every_row_is_computed_alone() -> None:
    answer, _, later = outcome(3, lambda size, place: place)
    assert answer.tolist() == [0, 1, 2]
    assert later == [(1, False)]


def test_a_number_of_rows_is_judged_for_each_key() -> None:
    exactness = Exactness()
    exactness.compute("one", 3, 16, Machine(3, lambda size, place: 0))
    other = Machine(3, lambda size, place: size % 4)
    assert exactness.compute("other", 3, 16, other).tolist() == [0, 1, 2]


def test_a_lower_cap_finds_canonical_passes_anew() -> None:
    exactness, machine = Exactness(), Machine(2, lambda size, place: 0)
    exactness.compute("key", 2, 16, machine)
    machine.sizes.clear()
    exactness.compute("key", 2, 2, machine)
    assert max(size for size, _ in machine.sizes) <= 2


def test_bits_are_compared_and_not_values() -> None:
    nan = torch.tensor([float("nan")])
    assert same_bits((nan,), (nan.clone(),))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same_bits([torch.zeros(2)], [torch.zeros(2), torch.zeros(2)])


@pytest.mark.parametrize("count", [1, 7, 24, 100, 320])
@pytest.mark.parametrize("function", [functional.silu, functional.gelu, torch.sigmoid, torch.Tensor.tanh])
def test_activations_give_the_same_bits_for_any_number_of_rows(function: Any, count: int) -> None:
    values = drawn(16, 2 * count)
    with SteadyLayers():
        for given in (values, values[:, :count], values[:, count:]):
            whole = function(given)
            assert torch.allclose(whole, function(given.double()).float(), atol=1e-5)
            for rows in range(1, 17):
                assert torch.equal(function(given[:rows]), whole[:rows])


# ---------------------------------------------------------------------------------------------- layers


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(320,), (1, 320), (3, 320), (16, 320)])
def test_linear_layers_give_the_same_bits_for_any_number_of_rows(shape: tuple[int, ...], threads: int) -> None:
    values, weight, bias = drawn(17, *shape), drawn(640, shape[-1]), drawn(640)
    with SteadyLayers():
        alone = [functional.linear(values[i : i + 1], weight, bias) for i in range(17)]
        for rows in range(1, 18):
            assert torch.equal(functional.linear(values[:rows], weight, bias), torch.cat(alone[:rows]))
    assert torch.allclose(alone[0], functional.linear(values[:1], weight, bias), atol=1e-3)


@pytest.mark.parametrize(("side", "kernel"), [(8, 1), (8, 3), (16, 1), (16, 3)])
def test_convolutions_give_the_same_bits_for_any_number_of_rows(side: int, kernel: int, threads: int) -> None:
    values, weight = drawn(16, 64, side, side), drawn(96, 64, kernel, kernel)
    with SteadyLayers():
        whole = functional.conv2d(values, weight, None, 1, kernel // 2)
        for rows in range(1, 17):
            assert torch.equal(functional.conv2d(values[:rows], weight, None, 1, kernel // 2), whole[:rows])


def test_layers_over_many_vectors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "pad", lambda *_: pytest.fail("filled up"))
    with SteadyLayers():
        functional.linear(drawn(1, 1001, 32), drawn(32, 32))


def test_functions_keep_their_named_arguments() -> None:
    values, weight, bias = drawn(3, 8), drawn(4, 8), drawn(4)
    with SteadyLayers():
        assert torch.equal(
            functional.linear(values, weight, bias=bias), functional.linear(input=values, weight=weight, bias=bias)
        )
