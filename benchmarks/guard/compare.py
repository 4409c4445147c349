"""Found figures against expected ones: what grew too much, as a table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

LIMIT = 0.2
SMALL = {"peak memory, KiB": 4.0, "calls": 1.0, "instructions": 20.0, "writes": 0.5, "bytes sent": 8.0}
"""A difference that is no more than this is none: a fifth of almost nothing is almost nothing."""

Figures = Mapping[str, Mapping[str, float]]


class Judgement(Enum):
    """Of one figure."""

    SAME = ""
    WORSE = "WORSE"
    BETTER = "better: record it with --update"
    NEW = "new: record it with --update"
    GONE = "GONE: not measured any more"


BAD = (Judgement.WORSE, Judgement.GONE)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one scenario. `expected` or `found` is None when only the other is known."""

    scenario: str
    figure: str
    expected: float | None
    found: float | None
    judgement: Judgement

    @property
    def change(self) -> float | None:
        """0.25: a quarter more than expected."""
        if self.expected is None or self.found is None or not self.expected:
            return None
        return self.found / self.expected - 1


def compare(expected: Figures, found: Figures, limit: float = LIMIT) -> list[Line]:
    """Every figure that is expected or was found."""
    lines = []
    for scenario in dict.fromkeys([*expected, *found]):
        before, now = expected.get(scenario, {}), found.get(scenario, {})
        for figure in dict.fromkeys([*before, *now]):
            pair = before.get(figure), now.get(figure)
            lines.append(Line(scenario, figure, *pair, _judge(figure, *pair, limit)))
    return lines


def _judge(figure: str, expected: float | None, found: float | None, limit: float) -> Judgement:
    if expected is None:
        return Judgement.NEW
    if found is None:
        return Judgement.GONE
    if abs(found - expected) <= SMALL.get(figure, 0.0):
        return Judgement.SAME
    if found > expected * (1 + limit):
        return Judgement.WORSE
    return Judgement.BETTER if found < expected * (1 - limit) else Judgement.SAME


def bad(lines: Sequence[Line]) -> list[Line]:
    """Those for which the guard fails."""
    return [line for line in lines if line.judgement in BAD]


def rows(lines: Sequence[Line]) -> list[dict[str, object]]:
    """For a table."""
    return [
        {
            "scenario": line.scenario,
            "figure": line.figure,
            "expected": "-" if line.expected is None else f"{line.expected:,.1f}",
            "found": "-" if line.found is None else f"{line.found:,.1f}",
            "change": "" if line.change is None else f"{line.change:+.1%}",
            "": line.judgement.value,
        }
        for line in lines
    ]
