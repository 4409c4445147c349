"""Round-trip times in numbers and as a histogram of text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, Final

_WIDTH: Final = 30
_BLOCKS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds, sorted. Never empty."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Times":
        """From measurements in any order."""
        return cls(tuple(sorted(values)))

    def percentile(self, share: float) -> float:
        """The nearest-rank percentile."""
        return self.values[max(0, ceil(share / 100 * len(self.values)) - 1)]

    def to_map(self) -> dict[str, Any]:
        """For --json."""
        return {
            "count": len(self.values),
            "min": round(self.values[0], 3),
            "p50": round(self.percentile(50), 3),
            "p99": round(self.percentile(99), 3),
            "max": round(self.values[-1], 3),
            "mean": round(sum(self.values) / len(self.values), 3),
        }

    def summary(self) -> str:
        """On one line."""
        return (
            f"{len(self.values)} round trips: p50 {self.percentile(50):.2f}, p99 {self.percentile(99):.2f}, "
            f"max {self.values[-1]:.2f} ms"
        )


def buckets(*series: Times) -> list[float]:
    """Upper bounds that hold all values, each twice the one before."""
    low = min(times.values[0] for times in series)
    high = max(times.values[-1] for times in series)
    first = 2.0 ** ceil(log2(max(low, 0.001)))
    bounds = [first]
    while bounds[-1] < high:
        bounds.append(bounds[-1] * 2)
    return bounds


def histogram(named: dict[str, Times]) -> list[str]:
    """Lines: one row per bucket, one column of bars per series."""
    bounds = buckets(*named.values())
    counts = {name: _counts(times, bounds) for name, times in named.items()}
    most = max(max(found) for found in counts.values())
    out = [" " * 14 + "".join(f"{name:<{_WIDTH + 8}}" for name in named).rstrip()]
    for row, bound in enumerate(bounds):
        cells = "".join(f"{found[row]:>5} {_bar(found[row], most):<{_WIDTH}}  " for found in counts.values())
        out.append(f"  <= {_label(bound):>8} {cells}".rstrip())
    return out


def _label(bound: float) -> str:
    return f"{bound:.3g} ms" if bound < 1000 else f"{bound / 1000:.3g} s"


def _counts(times: Times, bounds: list[float]) -> list[int]:
    found = [0] * len(bounds)
    row = 0
    for value in times.values:
        while value > bounds[row]:
            row += 1
        found[row] += 1
    return found


def _bar(count: int, most: int) -> str:
    eighths = round(count / most * _WIDTH * 8)
    return "█" * (eighths // 8) + _BLOCKS[eighths % 8].strip()
