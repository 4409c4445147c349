"""Exact mode: the bits of a row depend neither on its neighbours nor on how many there are.

Kernels choose their order of summation by the shape of the whole batch. Measured on CPUs (`python -m
benchmarks.engine.exactness`), a handful of layers is all that differs: linear layers over few vectors (the embedding
of time: one, two to three, four and more rows), some convolutions of a single row, 1x1 convolutions of multiples of 16
rows, activations of which the last numbers do not fill a vector register. `SteadyLayers` gives those another shape and
leaves all others alone.

What is left to chance is checked: the first pass of a batch key with a number of rows is compared, bit by bit, with
the same rows in passes of `CANONICAL_ROWS`. Where they differ, that number of rows is never used again for that key:
such rows are filled up to a multiple of the canonical number, or else computed in canonical passes. So the promise
rests on comparisons on the machine itself: processors, libraries and numbers of threads that behave in another way
cost time, not exactness.
"""

import logging
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

log = logging.getLogger(__name__)

CANONICAL_ROWS = 4
"""Rows of the passes that others are compared with: the least that kernels treat like many."""

_FEW_VECTORS = 256
"""Linear layers over fewer vectors than this are filled up; larger ones are computed alike for any number."""

_MULTIPLE = 16
_NUMBERS = 64
"""A multiple of what vector code computes at once, for each thread."""

_NAMES = ("silu", "gelu", "mish", "softplus", "sigmoid", "tanh", "exp", "erf", "sin", "cos", "log", "rsqrt")
_ACTIVATIONS = frozenset(
    found
    for name in _NAMES
    for home in (torch, torch.Tensor, functional)
    if (found := getattr(home, name, None)) is not None
)
"""Functions of single numbers of which there is vector code and scalar code."""

_REMEMBERED = 1024


class Passes(Protocol):
    """Computes the rows at hand."""

    def __call__(self, size: int, *, checking: bool = False) -> Any:
        """The answer for all rows, in passes of exactly `size` rows, the last one filled up with copies.

        Passes of `checking` are nobody's: they are not accounted for.
        """

    def copies(self, size: int) -> Sequence[Any]:
        """One answer for each of `size` copies of the first row in one pass. Nobody's, too."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is known of one batch key: the rows of a canonical pass, and the size of passes for numbers of rows."""

    canonical: int
    sizes: dict[int, int] = field(default_factory=dict)


class Exactness:
    """Verdicts on numbers of rows, by batch key. Belongs to the thread that runs the passes."""

    def __init__(self) -> None:
        self.layers = SteadyLayers()
        self._verdicts: OrderedDict[Hashable, Verdicts] = OrderedDict()

    def compute(self, key: Hashable, rows: int, cap: int, passes: Passes) -> Any:
        """The answer for so many rows of a key, in passes of at most `cap` rows. Raises what a pass raises."""
        known = self._verdicts.get(key)
        if known is None or known.canonical > cap:
            known = self._verdicts[key] = _first(cap, passes)
            if len(self._verdicts) > _REMEMBERED:
                self._verdicts.popitem(last=False)
        if rows in known.sizes:
            return passes(known.sizes[rows])
        canonical = passes(known.canonical, checking=True)
        for attempt, size in enumerate(_candidates(rows, cap)):
            answer = passes(size, checking=attempt > 0)
            if same_bits(answer, canonical):
                known.sizes[rows] = size
                return answer
        known.sizes[rows] = known.canonical
        log.info("exact: %d rows give other bits than %d here, so they are computed apart", rows, known.canonical)
        return canonical


def _first(cap: int, passes: Passes) -> Verdicts:
    """The canonical passes of a new key: of a single row, where the place in a pass makes a difference."""
    size = min(CANONICAL_ROWS, cap)
    first, *others = passes.copies(size)
    if all(same_bits(first, other) for other in others):
        return Verdicts(size, {size: size})
    log.info("exact: bits depend on the place in a pass here, so every row is computed alone")
    return Verdicts(1, {1: 1})


def _candidates(rows: int, cap: int) -> list[int]:
    """Sizes of a pass to try for so many rows: as they are, then filled up to what suits vector units."""
    filled = rows + -rows % CANONICAL_ROWS
    return [rows, filled] if rows < filled <= cap else [rows]


def same_bits(one: Any, other: Any) -> bool:
    """Whether two answers are equal to the last bit; numbers that are not finite equal themselves."""
    leaves, others = pytree.tree_leaves(one), pytree.tree_leaves(other)
    return len(leaves) == len(others) and all(map(_equal, leaves, others))


def _equal(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return bool(one == other) if not hasattr(one, "parameters") else _equal(one.parameters, other.parameters)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


class SteadyLayers(TorchFunctionMode):
    """While entered, layers that are sensitive to the number of rows compute in shapes where they are not."""

    def __init__(self) -> None:
        super().__init__()
        self._plain: dict[Hashable, bool] = {}

    def __torch_function__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if function is functional.linear and not kwargs:
            return _linear(*args)
        if function is functional.conv2d and not kwargs:
            return self._conv2d(*args)
        if function in _ACTIVATIONS:
            return _activation(function, args, kwargs or {})
        return function(*args, **(kwargs or {}))

    def _conv2d(self, values: torch.Tensor, *rest: Any) -> torch.Tensor:
        rows = values.shape[0]
        if values.ndim != 4 or (rows != 1 and rows % _MULTIPLE):
            return functional.conv2d(values, *rest)
        key = (values.shape, values.stride(), values.dtype, rest[0].shape, *rest[2:])
        plain = self._plain.get(key)
        if plain:
            return functional.conv2d(values, *rest)
        steady = _lone(values, rest) if rows == 1 else _halves(values, rest)
        if plain is None:
            self._plain[key] = _equal(functional.conv2d(values, *rest), steady)
        return steady


def _linear(values: torch.Tensor, *rest: Any) -> torch.Tensor:
    """Vectors filled up to a multiple of 16."""
    vectors = values.numel() // values.shape[-1]
    missing = -vectors % _MULTIPLE
    if not missing or vectors >= _FEW_VECTORS:
        return functional.linear(values, *rest)
    filled = functional.pad(values.reshape(vectors, -1), (0, 0, 0, missing))
    answer = functional.linear(filled, *rest)[:vectors]
    return answer.reshape(*values.shape[:-1], -1)


def _activation(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Numbers filled up so that none is left over for the scalar code, which rounds in another way."""
    values = args[0] if args else None
    if not isinstance(values, torch.Tensor) or kwargs.get("inplace") or not values.is_floating_point():
        return function(*args, **kwargs)
    values = values.contiguous()  # a single row of a wider tensor is, several are not, and there are kernels for both
    missing = -values.numel() % (_NUMBERS * torch.get_num_threads())
    if not missing:
        return function(values, *args[1:], **kwargs)
    answer = function(functional.pad(values.flatten(), (0, missing)), *args[1:], **kwargs)
    return answer[: values.numel()].reshape(values.shape)


def _lone(values: torch.Tensor, rest: Sequence[Any]) -> torch.Tensor:
    return functional.conv2d(torch.cat([values, values]), *rest)[:1]


def _halves(values: torch.Tensor, rest: Sequence[Any]) -> torch.Tensor:
    return torch.cat([functional.conv2d(half, *rest) for half in torch.split(values, _MULTIPLE // 2)])
