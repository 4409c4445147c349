"""What passes cost: learnt while serving, by shape, stage and rows. Pure: seconds come in, predictions go out.

    known                                           prediction
    this shape and stage at these rows              the median of the last `KEPT` passes
    this shape and stage at other rows              between two: along the line; beyond them: in proportion to the rows,
                                                    below them: as the cold start's curve falls
    another shape of this stage                     its curve, scaled by the number of cells (pixels of one row)
    nothing                                         the cold start: `COLD` seconds a megapixel and row

A median of a few passes does not move for a slow one (a compilation, a neighbour on the machine), and follows a real
change within `KEPT` / 2 passes. Times are made monotone in rows before they are used: a pass of more rows never costs
less.
"""

import math
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Any

KEPT = 9
"""Passes remembered of each (stage, shape, rows)."""

SHAPES = 256
"""Curves remembered; the one unused longest is forgotten."""

ERRORS = 512
"""Predictions whose error is remembered."""

SURE = 3
"""Passes of a size that make its time count for the knee."""

MARGIN = 0.08
"""Least gain in rows a second that makes twice the rows worth it; below, sharing only makes everybody late."""

COLD: Mapping[str, float] = MappingProxyType({"encode": 0.05, "denoise": 0.5, "decode": 0.3})
"""Seconds of a pass of one row of one megapixel, before anything was measured."""

COLD_ROW = 0.6
"""What a further row costs, in the first one's time, before anything was measured."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What passes are told apart by: a name (model, kind, size, adapters), and how large one row is, in pixels."""

    name: str
    cells: int


@dataclass(frozen=True, slots=True)
class Work:
    """What one job asks of the engine."""

    shape: Shape
    steps: int
    rows: int = 1
    """Rows of its denoiser passes: images, twice with guidance."""
    images: int = 1
    also: tuple[Shape, ...] = ()
    """Other denoiser modules that are called in every step (a ControlNet)."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far off predictions were: quantiles of actual / predicted over the last `count`."""

    count: int
    p10: float
    p50: float
    p90: float
    p99: float


Points = tuple[tuple[int, float], ...]
"""(rows, seconds), rows rising, seconds never falling."""


class _Curve:
    """The passes of one shape and stage."""

    __slots__ = ("cells", "knee", "passes", "points", "seen")

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.seen: dict[int, deque[float]] = {}
        self.points: Points = ()
        self.knee: int | None = None
        self.passes = 0

    def observe(self, rows: int, seconds: float) -> None:
        self.passes += 1
        self.seen.setdefault(rows, deque(maxlen=KEPT)).append(seconds)
        self.points = monotone({rows: (median(seen), len(seen)) for rows, seen in self.seen.items()})
        self.knee = knee([(rows, seconds) for rows, seconds in self.points if len(self.seen[rows]) >= SURE])


def monotone(medians: Mapping[int, tuple[float, int]]) -> Points:
    """Neighbours that fall are pooled: both get their mean, weighed by the number of passes behind them."""
    pools: list[tuple[float, int, list[int]]] = []
    for rows in sorted(medians):
        seconds, weight = medians[rows]
        members = [rows]
        while pools and pools[-1][0] > seconds:
            before, heavy, others = pools.pop()
            seconds = (before * heavy + seconds * weight) / (heavy + weight)
            weight += heavy
            members = others + members
        pools.append((seconds, weight, members))
    return tuple((rows, seconds) for seconds, _, members in pools for rows in members)


def knee(points: Sequence[tuple[int, float]]) -> int | None:
    """The least size than which no size at least twice as large does `MARGIN` more rows a second; None: not seen."""
    rates = [(rows, rows / seconds) for rows, seconds in points]
    for index, (rows, rate) in enumerate(rates):
        beyond = [other for larger, other in rates[index + 1 :] if larger >= 2 * rows]
        if beyond and max(beyond) < rate * (1 + MARGIN):
            return rows
    return None


def at(points: Points, rows: int) -> float:
    """Seconds of a pass of `rows` rows, read off measured points (at least one)."""
    sizes = [size for size, _ in points]
    index = bisect_left(sizes, rows)
    if index < len(points) and sizes[index] == rows:
        return points[index][1]
    if index == len(points):
        size, seconds = points[-1]
        return seconds * rows / size
    if index == 0:
        size, seconds = points[0]
        return seconds * _cold_rows(rows) / _cold_rows(size)
    (left, low), (right, high) = points[index - 1], points[index]
    return low + (high - low) * (rows - left) / (right - left)


class CostModel:
    """The curves of one engine. A small mutable object; no method looks at a clock."""

    def __init__(self) -> None:
        self.observed = 0
        """Passes seen since the start."""
        self._curves: OrderedDict[tuple[str, str], _Curve] = OrderedDict()
        self._errors: deque[float] = deque(maxlen=ERRORS)
        self._job_errors: deque[float] = deque(maxlen=ERRORS)

    def observe(self, stage: str, shape: Shape, rows: int, seconds: float) -> None:
        """A pass took `seconds`. Its prediction is judged first, then improved."""
        if not (rows > 0 and 0 < seconds < math.inf):
            return
        self.observed += 1
        self._errors.append(seconds / self.seconds(stage, shape, rows))
        key = stage, shape.name
        curve = self._curves.get(key) or self._curves.setdefault(key, _Curve(shape.cells))
        self._curves.move_to_end(key)
        curve.observe(rows, seconds)
        if len(self._curves) > SHAPES:
            self._curves.popitem(last=False)

    def finished(self, predicted: float, actual: float) -> None:
        """A job took `actual` seconds from the moment in which `predicted` was foretold for it."""
        if predicted > 0 and actual > 0:
            self._job_errors.append(actual / predicted)

    def seconds(self, stage: str, shape: Shape, rows: int) -> float:
        """Of one pass."""
        curve = self._curves.get((stage, shape.name))
        if curve is not None:
            return at(curve.points, rows)
        scale = self._like(stage, shape)
        if scale is None:
            return COLD[stage] * max(shape.cells, 1) / 1e6 * _cold_rows(rows)
        return scale[1] * at(scale[0], rows)

    def knee(self, shape: Shape, most: int) -> int:
        """Rows of a denoiser pass above which more gain less than `MARGIN`; `most` while nothing says otherwise.

        Sizes that were not measured (`SURE` passes) are no evidence, so every size is tried once by itself.
        """
        curve = self._curves.get(("denoise", shape.name))
        return most if curve is None or curve.knee is None else min(curve.knee, most)

    def passes(self, shape: Shape) -> int:
        """Denoiser passes of this shape that were seen."""
        curve = self._curves.get(("denoise", shape.name))
        return 0 if curve is None else curve.passes

    def latency(self, work: Work) -> float:
        """Seconds from start to end with the engine for itself."""
        return self._ends(work) + work.steps * self.step(work, work.rows)

    def sure(self, work: Work) -> bool:
        """Whether what is said of this work rests on passes of its own shape, and not on a guess."""
        curve = self._curves.get(("denoise", work.shape.name))
        return curve is not None and any(len(seen) >= SURE for seen in curve.seen.values())

    def step(self, work: Work, rows: int) -> float:
        """Seconds of one step in passes of `rows` rows."""
        return sum(self.seconds("denoise", shape, rows) for shape in (work.shape, *work.also))

    def cost(self, work: Work, most: int, steps: int | None = None) -> float:
        """Device seconds, when its passes are shared up to the knee. `steps`: those still to be done; None: all."""
        rows = max(work.rows, self.knee(work.shape, most))
        share = self.step(work, rows) * work.rows / rows
        return self._ends(work, steps is None) + (work.steps if steps is None else steps) * share

    def errors(self) -> Errors:
        """Of passes."""
        return _quantiles(self._errors)

    def job_errors(self) -> Errors:
        """Of the times foretold for whole jobs."""
        return _quantiles(self._job_errors)

    def _ends(self, work: Work, encode: bool = True) -> float:
        text = self.seconds("encode", work.shape, 1) if encode else 0.0
        return text + work.images * self.seconds("decode", work.shape, 1)

    def _like(self, stage: str, shape: Shape) -> tuple[Points, float] | None:
        """The curve of the shape nearest in size, and what to multiply it by."""
        known = [curve for (of, _), curve in self._curves.items() if of == stage]
        if not known or shape.cells <= 0:
            return None
        near = min(known, key=lambda curve: abs(math.log(max(curve.cells, 1) / shape.cells)))
        return near.points, shape.cells / max(near.cells, 1)

    # ---------------------------------------------------------------------------------------------- on disk

    def to_map(self) -> dict[str, Any]:
        """Plain data for JSON: under 100 bytes for each (stage, shape, rows)."""
        curves = [
            [
                stage,
                name,
                curve.cells,
                {str(rows): [float(f"{s:.4g}") for s in seen] for rows, seen in curve.seen.items()},
            ]
            for (stage, name), curve in self._curves.items()
        ]
        return {"format": FORMAT, "curves": curves}

    @classmethod
    def from_map(cls, data: Mapping[str, Any]) -> "CostModel":
        """What `to_map` gave. Anything else is a ValueError: the caller starts cold."""
        model = cls()
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}, expected {FORMAT}")
            for stage, name, cells, sizes in data["curves"][-SHAPES:]:
                for rows, seen in sizes.items():
                    for seconds in seen:
                        model.observe(str(stage), Shape(str(name), int(cells)), int(rows), float(seconds))
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:  # JSON knows 1e400, too
            raise ValueError(f"not a cost model: {error!r}") from error
        model._errors.clear()
        model.observed = 0
        return model


def _cold_rows(rows: int) -> float:
    return 1 + (rows - 1) * COLD_ROW


def _quantiles(ratios: "deque[float]") -> Errors:
    if not ratios:
        return Errors(0, 1.0, 1.0, 1.0, 1.0)
    ordered = sorted(ratios)
    p10, p50, p90, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.1, 0.5, 0.9, 0.99))
    return Errors(len(ordered), p10, p50, p90, p99)
