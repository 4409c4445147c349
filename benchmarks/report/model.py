"""What a report is made of, before it has a form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure or word of a table; `spread` is the range of the rounds."""

    text: str
    spread: str = ""
    figure: bool = False

    def __str__(self) -> str:
        return f"{self.text} ({self.spread})" if self.spread else self.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as long as the columns. The first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def figures(self, column: int) -> bool:
        """Whether a column holds figures, which stand to the right."""
        cells = [row[column] for row in self.rows if row[column].text not in ("", "-")]
        return bool(cells) and all(cell.figure for cell in cells)


class Verdict(Enum):
    """Of a target."""

    MET = "met"
    MISSED = "missed"
    OPEN = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A target and what came of it. `margin` says in words by how much; `share` is how far the figure is of its limit,
    above 1 when it is better than that."""

    name: str
    limit: str
    measured: Cell
    verdict: Verdict
    margin: str
    share: float
    source: str
    section: str


@dataclass(frozen=True, slots=True)
class Section:
    """One record, readable."""

    key: str
    title: str
    about: str
    command: str
    quick: bool
    recorded: str
    machine: Mapping[str, str]
    tables: Sequence[Table]
    goals: Sequence[Goal]
    notes: Sequence[str]
    plots: Sequence[Path]


@dataclass(frozen=True, slots=True)
class Missing:
    """A benchmark of which there is no result. `reason` says why: never run, or what is wrong with the file."""

    key: str
    title: str
    command: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is known."""

    sections: Sequence[Section]
    missing: Sequence[Missing]
    why: Sequence[Table] = field(default=())
    """The table that answers "why not HTTP?"; none without the results it comes from."""

    @property
    def goals(self) -> list[Goal]:
        return [goal for section in self.sections for goal in section.goals]

    def count(self, verdict: Verdict) -> int:
        return sum(goal.verdict is verdict for goal in self.goals)
